"""Pooled HTTP/1.1 GET requests to one host; imports nothing else of the gateway."""
