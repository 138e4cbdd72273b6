"""How many modules of the gateway one query enters, cold and warm: what somebody has to read to follow it.

`python -m benchmarks.modules` serves the gateway on the simulator, profiles the thread that serves it, and prints how
many modules' functions were called: for a query of one care unit with nothing in memory, for the same query with its
lists and timeslots in memory, and for the same request once its response is kept. With `-v` it prints the modules too.
"""

import sys
import threading
from contextlib import ExitStack
from datetime import date
from types import FrameType
from typing import Any

import httpx

from gateway.app import create_app
from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import load_settings
from gateway.simulator import SimulatorSettings, create_simulator

_QUERY = '{ careUnit(id: "%s") { name timeslots { start end } } }'
_OTHERS = ("gateway.simulator", "gateway.cli")


class ModulesEntered:
    """The gateway's modules whose functions profiled threads call, in `names`."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """What `threading.setprofile` calls."""
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("gateway.") and not name.startswith(_OTHERS):
            self.names.add(name)


def count() -> dict[str, list[str]]:
    """The modules that each of the three requests enters, sorted."""
    simulated = SimulatorSettings(today=date(2026, 10, 12), latency_ms=0)
    entered, counted = ModulesEntered(), {}
    with ExitStack() as stack:
        leyr = stack.enter_context(serve_in_thread(create_simulator(simulated), listening_socket("127.0.0.1", 0)))
        settings = load_settings(
            leyr_base_url=f"{leyr}/api",
            leyr_client_id=simulated.client_id,
            leyr_client_secret=simulated.client_secret,
            gateway_log_level="error",
        )
        threading.setprofile(entered.profile)
        url = stack.enter_context(serve_in_thread(create_app(settings), listening_socket("127.0.0.1", 0)))
        threading.setprofile(None)
        client = stack.enter_context(httpx.Client(base_url=url, timeout=30))
        client.get("/livez")
        body = {"query": _QUERY % care_unit_id(CareUnitKey("webdoc", "L0_1"))}
        for name in ("cold", "warm", "kept"):
            entered.names.clear()
            answer = client.post("/graphql", json=body).json()
            counted[name] = sorted(entered.names)
            if "errors" in answer:
                raise RuntimeError(answer["errors"])
    return counted


def main() -> None:
    """Print the counts."""
    for name, modules in count().items():
        print(f"{name}: {len(modules)} modules", *(modules if "-v" in sys.argv else ()), sep="\n    ")


if __name__ == "__main__":
    main()
