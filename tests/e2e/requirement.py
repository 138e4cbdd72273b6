"""What some tests stand on and a machine may lack: a browser, node, nginx, Schemathesis, and what they build.

CI requires all of them, so nothing is skipped there.
"""

import os
import shutil

import pytest

from gateway.http.graphiql import built_graphiql


def need(kind: str, *, there: object, how: str) -> None:
    """Skip where something is missing; fail instead where TESTS_REQUIRE, such as `browser,node`, names its kind."""
    if there:
        return
    if kind in os.environ.get("TESTS_REQUIRE", "").split(","):
        pytest.fail(f"TESTS_REQUIRE asks for the {kind} tests: {how}", pytrace=False)
    pytest.skip(f"no {kind}: {how}")


def need_browser() -> str:
    """Where Chromium is."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    need("browser", there=chromium, how="install chromium, or let CHROMIUM name it")
    return str(chromium)


def need_explorer() -> None:
    """GraphiQL must have been built."""
    need("browser", there=(built_graphiql() / "index.html").is_file(), how="GraphiQL is not built; run `make explorer`")


def need_nginx() -> str:
    """Where nginx is."""
    nginx = os.environ.get("NGINX") or shutil.which("nginx", path=f"{os.defpath}:/usr/sbin:/sbin")
    need("nginx", there=nginx, how="install nginx, or let NGINX name it")
    return str(nginx)


def need_node() -> None:
    """Node.js and npm must be there."""
    need("node", there=shutil.which("node") and shutil.which("npm"), how="install Node.js 20 or newer with npm")
