"""GraphiQL, served from the files that `make explorer` builds."""

import re
from html import escape
from pathlib import Path

from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

# Monaco, the editor in GraphiQL, writes style elements; scripts come from this host alone, without eval.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
    "vary": "accept",
}
_SAID = re.compile(r'<meta name="gateway-(notice|auth|time-zone)" content="[^"]*" />')
_NOT_BUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>GraphiQL is not built</title></head>
<body><main><h1>GraphiQL is not built here</h1>
<p>Run <code>make explorer</code> in the gateway's folder (it needs Node.js 20 or newer and npm), then reload.</p>
<p>The API works without it: send <code>POST /graphql</code> with a JSON body.</p></main></body></html>
"""


def graphiql_page(
    folder: Path, notice: str = "", *, auth: str = "anonymous", time_zone: str = "Europe/Stockholm"
) -> Response:
    """The page, with a Content-Security-Policy that lets it reach this host only.

    `notice` is shown above it, such as that the data is simulated. `auth` says whether the page asks for a key or a
    token; the samples' week begins at midnight in `time_zone`.
    """
    index = folder / "index.html"
    page = index.read_text(encoding="utf-8") if index.is_file() else _NOT_BUILT
    said = {"notice": notice, "auth": auth, "time-zone": time_zone}
    page = _SAID.sub(lambda meta: f'<meta name="gateway-{meta[1]}" content="{escape(said[meta[1]])}" />', page)
    return HTMLResponse(page, headers=_HEADERS)


class GraphiQLAssets(StaticFiles):
    """The page's scripts and styles; a file's name holds its hash, so its content never changes."""

    def file_response(self, *args: object, **options: object) -> Response:
        """Serve a file that browsers may keep for a year."""
        response = super().file_response(*args, **options)  # type: ignore[arg-type] # passed on as they come
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        response.headers["x-content-type-options"] = "nosniff"
        return response


def built_graphiql() -> Path:
    """The folder of the files that `make explorer` builds, which the wheel contains too."""
    return Path(__file__).parent / "static"
