"""Several gateways over one shared store, as a load balancer would see them."""

from collections.abc import Callable, Sequence
from time import sleep
from typing import Any

from tests.harness import Gateway
from tests.stores import Store

_A_MOMENT, _MOST_MOMENTS = 0.01, 1_000


def fleet(serve_gateway: Callable[..., Gateway], store: Store, number: int, **settings: Any) -> Sequence[Gateway]:
    """So many gateways that are connected to the store, whose time limit suits a busy machine."""
    given = {"gateway_shared_timeout_ms": 5_000, **settings}
    gateways = [serve_gateway(gateway_shared_url=store.url, **given) for _ in range(number)]
    for each in gateways:
        heard(each, "shared_store.up")
    return gateways


def heard(gateway: Gateway, event: str, times: int = 1) -> None:
    """Wait until the log has told an event so often."""
    for _ in range(_MOST_MOMENTS):
        if sum(line["event"] == event for line in gateway.lines()) >= times:
            return
        sleep(_A_MOMENT)
    raise AssertionError(f"{event} was not told")
