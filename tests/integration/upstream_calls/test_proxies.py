"""Calls to Leyr go through the proxy that the environment names, and nothing shows its password."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.harness import Gateway, Simulator
from tests.stand_ins.proxy import Proxy, Socks5Proxy, in_thread

UNITS = "{ careUnits { id } }"
NAMED: dict[str, Any] = {"leyr_base_url": "http://leyr.example/api", "leyr_allow_http": True}


@pytest.fixture(autouse=True)
def own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own HTTP client heeds the environment too."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def port(simulator: Simulator) -> int:
    return urlsplit(simulator.url).port or 0


@pytest.mark.parametrize(("kind", "scheme"), [(Proxy, "http"), (Socks5Proxy, "socks5")])
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_leyr_is_asked_through_the_proxy_of_the_environment(
    serve_gateway: Callable[..., Gateway],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Proxy],
    scheme: str,
    variable: str,
) -> None:
    with in_thread(kind(port(simulator), login="clinic:proxy-canary")) as proxy:
        monkeypatch.setenv(variable, f"{scheme}://clinic:proxy-canary@127.0.0.1:{proxy.port}")
        gateway = serve_gateway(**NAMED)
        answer = gateway.ask(UNITS)

    assert "errors" not in answer
    assert simulator.count()["care_units"] == 1
    assert len(proxy.asked) == 1


def test_leyr_is_asked_without_a_proxy_where_no_proxy_names_it(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_thread(Proxy(port(simulator))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1, other.example, .invalid")
        gateway = serve_gateway(leyr_base_url="http://leyr.invalid/api", leyr_allow_http=True)
        [error] = gateway.ask(UNITS)["errors"]

    assert error["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"
    assert proxy.asked == []


@pytest.mark.parametrize("login", ["", "clinic:proxy-canary@"])
def test_a_proxy_that_refuses_is_an_error_that_shows_no_password(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    with in_thread(Proxy(port(simulator), login="clinic:other")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{login}127.0.0.1:{proxy.port}")
        gateway = serve_gateway(gateway_log_level="debug", **NAMED)
        answer = gateway.ask(UNITS)

    assert answer["errors"][0]["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"
    assert "canary" not in f"{answer}{gateway.log.getvalue()}"
    assert simulator.count().total() == 0


def test_leyr_is_asked_over_http1_where_it_speaks_no_http2(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(leyr_http2=True)

    assert gateway.data(UNITS)["careUnits"]
    assert simulator.count()["care_units"] == 1
