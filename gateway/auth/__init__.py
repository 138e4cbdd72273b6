"""Authentication by API keys and tokens, and rate limits."""
