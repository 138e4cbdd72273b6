"""A gateway whose shared store is away, hangs or refuses: it is ready, answers, and says once what is wrong."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import pytest

from tests.harness import Gateway
from tests.stores import running_store

Serve = Callable[..., Gateway]
SECRET = "canary-password"


def wait_until_up(gateway: Gateway, value: float) -> None:
    until = monotonic() + 20
    while gateway.gauge("gateway_shared_store_up") != value:
        assert monotonic() < until
        sleep(0.01)


def said(gateway: Gateway) -> list[tuple[str, str]]:
    lines = map(json.loads, gateway.log.getvalue().splitlines())
    return [
        (each["event"], each.get("reason", each.get("kind", "")))
        for each in lines
        if each["event"].startswith(("shared_store.", "process."))
    ]


@pytest.fixture
def answer(serve_gateway: Serve) -> dict[str, Any]:
    """What a gateway without a store answers."""
    return serve_gateway().data("{ careUnits { name } }")


def test_a_store_that_is_not_there_changes_nothing_until_it_is(serve_gateway: Serve, answer: dict[str, Any]) -> None:
    with TemporaryDirectory(prefix="store") as folder:
        url = f"unix://user:{SECRET}@{folder}/s"
        gateway = serve_gateway(gateway_shared_url=url)
        assert gateway.http.get("/readyz").status_code == 200
        assert gateway.data("{ careUnits { name } }") == answer
        assert gateway.gauge("gateway_shared_store_up") == 0
        assert said(gateway) == [("shared_store.away", "unreachable")]
        assert SECRET not in gateway.log.getvalue()


def test_a_store_that_hangs_changes_nothing(serve_gateway: Serve, answer: dict[str, Any]) -> None:
    with TemporaryDirectory(prefix="store") as folder, socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(f"{folder}/s")
        hanging.listen()
        gateway = serve_gateway(gateway_shared_url=f"unix://{folder}/s")
        assert gateway.http.get("/readyz").status_code == 200
        assert gateway.data("{ careUnits { name } }") == answer


def test_a_store_that_is_killed_and_comes_back_is_noticed(serve_gateway: Serve, answer: dict[str, Any]) -> None:
    with running_store() as server:
        gateway = serve_gateway(gateway_shared_url=server.url)
        wait_until_up(gateway, 1)
        server.kill()
        wait_until_up(gateway, 0)
        assert gateway.data("{ careUnits { name } }") == answer
        assert gateway.http.get("/readyz").status_code == 200
        server.start()
        wait_until_up(gateway, 1)
        assert said(gateway) == [("shared_store.up", ""), ("shared_store.away", "unreachable"), ("shared_store.up", "")]
        assert gateway.gauge("gateway_shared_store_seconds_count") >= 2


def test_a_wrong_password_is_said_once_with_what_to_set(serve_gateway: Serve, answer: dict[str, Any]) -> None:
    with running_store("--requirepass", "another") as server:
        gateway = serve_gateway(gateway_shared_url=server.url, gateway_shared_password=SECRET)
        assert gateway.data("{ careUnits { name } }") == answer
        until = monotonic() + 20
        while gateway.gauge("gateway_shared_store_away_total") < 2 and monotonic() < until:
            sleep(0.01)
        assert said(gateway) == [("shared_store.away", "login")]
        assert "GATEWAY_SHARED_PASSWORD" in gateway.log.getvalue()
        assert SECRET not in gateway.log.getvalue()
        assert Path(server.folder).name not in gateway.log.getvalue()
