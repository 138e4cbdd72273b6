"""What an answer leaves behind is freed at once, not when the cycle collector comes by."""

import gc
from collections.abc import Callable, Iterator

import pytest

from gateway.http.waiting import Waiting
from tests.harness import Gateway, Simulator


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_request_that_waited_is_no_cycle(serve_gateway: Callable[..., Gateway], simulator: Simulator) -> None:
    gateway = serve_gateway()
    # Longer than it takes until somebody looks whether the client has left.
    simulator.manners("webdoc", latency_ms=80, latency_jitter=0)

    for _ in range(20):
        gateway.data("{ careUnits { name } }")
    gateway.http.get("/livez")

    assert sum(type(each) is Waiting for each in gc.get_objects()) == 0
