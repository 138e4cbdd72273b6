"""Requests of other sites' pages: the check against CSRF, and CORS for the origins that are allowed.

A browser sends some requests across sites without a preflight: a GET without headers of its own, or a POST of a form
or of plain text. POST must be JSON here, which takes a preflight. A GET must show that it took one too, or that no
page of another site sent it: pages cannot set `Sec-Fetch-` headers (Fetch Metadata, section 2), and browsers send Mode
and Site together, so Mode alone comes from another program, such as fetch of Node.js. Nor can pages set `Origin`, so a
GET of an allowed origin is no forgery either: urql sends such ones.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_FORCES_PREFLIGHT = (
    b"x-requested-with",
    b"apollo-require-preflight",
    b"x-apollo-operation-name",
    b"graphql-require-preflight",
    b"x-api-key",
)
_OWN_SITE = frozenset({"same-origin", "none"})
_LABEL = "[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_ORIGIN = re.compile(
    rf"(?P<scheme>https?)://(?:(?P<any>\*\.)(?={_LABEL}\.{_LABEL}))?"
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])(?::(?P<port>\d{{1,5}}|\*))?/?",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_HIGHEST_PORT = 65_535
_ANY_SUBDOMAIN, _ANY_PORT = rf"(?:{_LABEL}\.)+", r"(?::\d{1,5})?"
# A browser's is far shorter: a name has 253 characters at most.
_LONGEST_ORIGIN = 512
# So that a page's headers can be read by the page itself.
_EXPOSED = (b"access-control-expose-headers", b"etag, retry-after, x-request-id")


class Origins:
    """The origins whose pages may ask, from their names and patterns.

    `https://*.preview.example` is every subdomain, `http://localhost:*` every port. Raises ValueError for what is no
    origin, with the value.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self.names: tuple[str, ...] = tuple(dict.fromkeys(map(_normal_origin, origins)))
        self._exact = frozenset(name for name in self.names if "*" not in name)
        patterns = [_pattern(name) for name in self.names if "*" in name]
        self._patterns = re.compile("|".join(patterns), re.ASCII) if patterns else None

    def __bool__(self) -> bool:
        return bool(self.names)

    def allows(self, origin: str) -> bool:
        """Whether pages of an origin, as browsers write it, may ask."""
        if origin in self._exact:
            return True
        if self._patterns is None or len(origin) > _LONGEST_ORIGIN:
            return False
        return self._patterns.fullmatch(origin) is not None

    def headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """The headers that let a page read a response which the application did not make; names are in lower case."""
        if self.names:
            yield b"vary", b"origin"
            sent = [value for name, value in request_headers if name == b"origin"]
            if len(sent) == 1 and self.allows(sent[0].decode("latin-1")):
                yield b"access-control-allow-origin", sent[0]
                yield _EXPOSED


def _normal_origin(origin: str) -> str:
    """An origin as browsers write it: in lower case, without a trailing slash or the scheme's own port."""
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None or (name := _name_of_browsers(found)) is None:
        # Somebody's password may stand before the @.
        named = "an origin with an `@`" if "@" in origin else f"`{origin}`"
        raise ValueError(
            f"{named} is not an origin such as https://book.example, https://*.preview.example or http://localhost:*"
        )
    return name


def _name_of_browsers(found: re.Match[str]) -> str | None:
    """An origin from its parts; None where no browser can send it, for its port or its address of IPv6."""
    scheme, host, port = found["scheme"], found["host"], found["port"]
    try:
        if host.startswith("["):
            host = f"[{IPv6Address(host[1:-1]).compressed}]"
    except ValueError:
        return None
    if port is not None and port != "*":
        if not 0 < int(port) <= _HIGHEST_PORT:
            return None
        port = str(int(port))
    suffix = "" if port in {None, _DEFAULT_PORTS[scheme]} else f":{port}"
    return f"{scheme}://{found['any'] or ''}{host}{suffix}"


def _pattern(name: str) -> str:
    return re.escape(name).replace(r"://\*\.", f"://{_ANY_SUBDOMAIN}").replace(r":\*", _ANY_PORT)


def may_be_csrf(headers: Mapping[bytes, str], origins: Origins) -> bool:
    """Whether a GET may come from a page of a site that is not allowed, without a preflight.

    Header names are in lower case.
    """
    if any(name in headers for name in _FORCES_PREFLIGHT):
        return False
    # A page cannot set it, and a browser that sends it keeps the answer from the page where CORS does not allow it.
    if origins.allows(headers.get(b"origin", "")):
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
    """CORS for allowed origins, whose pages may send any header; other origins get no CORS headers at all.

    Cookies are never involved, so a header that a page sends is one that its own code knows.
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        exposed = _EXPOSED[1].decode().split(", ")
        super().__init__(app, allow_methods=("GET", "POST"), allow_headers=("*",), expose_headers=exposed, max_age=3600)
        self._origins = origins

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether pages of an origin may ask."""
        return self._origins.allows(origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        origin = next((value for name, value in scope.get("headers", ()) if name == b"origin"), None)
        if origin is not None and not self.is_allowed_origin(origin.decode("latin-1")):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"origin"]}
        await super().__call__(scope, receive, send)
