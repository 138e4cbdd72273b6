"""What the gateway tells OpenTelemetry: a span for each operation and each request to Leyr, for whoever installs it."""
