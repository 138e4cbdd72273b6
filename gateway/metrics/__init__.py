"""What the gateway counts and measures, for Prometheus; every label comes from a closed set."""
