"""Who calls: API keys, tokens, and how often each caller may ask."""
