"""The way to one endpoint past the router, which takes 10 µs of processor time: a tenth of a warm answer."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Shortcut:
    """Middleware that hands requests for one path to its endpoint."""

    def __init__(self, app: ASGIApp, path: str, to: ASGIApp) -> None:
        self._app = app
        self._path = path
        self._to = to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        direct = scope["type"] == "http" and scope["path"] == self._path
        await (self._to if direct else self._app)(scope, receive, send)
