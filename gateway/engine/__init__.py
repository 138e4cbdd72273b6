"""A compiled executor for any Strawberry schema; imports nothing else of the gateway."""
