"""GET requests to one host, over a pool of HTTP/1.1 or over httpx2; imports nothing else of the gateway."""
