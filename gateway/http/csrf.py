"""Requests of other sites' pages: the check against CSRF, and CORS for the origins that are allowed.

A browser sends some requests across sites without a preflight: a GET without headers of its own, or a POST of a form
or of plain text. POST must be JSON here, which takes a preflight. A GET must show that it took one too, or that no
page of another site sent it: pages cannot set `Sec-Fetch-` headers (Fetch Metadata, section 2), and browsers send Mode
and Site together, so Mode alone comes from another program, such as fetch of Node.js.
"""

from collections.abc import Mapping

from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

_FORCES_PREFLIGHT = (
    b"x-requested-with",
    b"apollo-require-preflight",
    b"x-apollo-operation-name",
    b"graphql-require-preflight",
    b"x-api-key",
)
_OWN_SITE = frozenset({"same-origin", "none"})


def may_be_csrf(headers: Mapping[bytes, str]) -> bool:
    """Whether a GET may come from another site's page, without a preflight; header names are in lower case."""
    if any(name in headers for name in _FORCES_PREFLIGHT):
        return False
    # By the standard other types take a preflight too, but a browser sent some without: GHSA-9q82-xgwf-vj6h.
    if headers.get(b"content-type", "").partition(";")[0].strip().lower() == "application/json":
        return False
    # Bearer only: a browser adds credentials of Basic, Digest and Negotiate to the requests of every site's pages.
    scheme, _, token = headers.get(b"authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token:
        return False
    site = headers.get(b"sec-fetch-site")
    return site.strip().lower() not in _OWN_SITE if site is not None else b"sec-fetch-mode" not in headers


class AllowedOrigins(CORSMiddleware):
    """CORS for named origins; other origins get no CORS headers at all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        origin = next((value for name, value in scope.get("headers", ()) if name == b"origin"), None)
        if origin is not None and not self.is_allowed_origin(origin.decode("latin-1")):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"origin"]}
        await super().__call__(scope, receive, send)
