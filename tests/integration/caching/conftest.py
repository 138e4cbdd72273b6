"""A gateway with the caches that it has by default, and a clock that a test moves."""

from collections.abc import Callable

import pytest

from tests.harness import CACHES_ON, Clock, Gateway


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(serve_gateway: Callable[..., Gateway], clock: Clock) -> Gateway:
    return serve_gateway(clock=clock, **CACHES_ON)
