"""uvicorn with limits on connections, timeouts and a graceful shutdown; imports nothing else of the gateway."""
