"""Prometheus metrics, OpenTelemetry spans and the request log; every label comes from a closed set."""
