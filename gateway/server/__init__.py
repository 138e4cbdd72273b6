"""uvicorn with limits on connections, deadlines and a graceful shutdown; imports nothing else of the gateway."""
