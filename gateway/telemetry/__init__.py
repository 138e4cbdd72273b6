"""Metrics for Prometheus, spans for OpenTelemetry, and the log of requests; every label comes from a closed set."""
