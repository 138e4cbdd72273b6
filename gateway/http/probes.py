"""`/livez` and `/readyz`: whether the process runs, and whether it should get requests."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


async def livez(_: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "alive"}, headers={"cache-control": "no-store"})


async def readyz(_: Request) -> Response:
    """The server only takes requests once the application has started, so whoever gets here is served."""
    return JSONResponse({"status": "ready"}, headers={"cache-control": "no-store"})
