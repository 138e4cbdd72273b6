"""How many modules of the gateway one query enters, cold and warm: what somebody has to read to follow it.

`python -m benchmarks.modules` serves the gateway on the simulator, profiles the thread that serves it, and prints the
modules whose functions were called: for a query of one care unit with nothing in memory, for the same document with
another window once the lists are in memory, and for the same request again.
"""

import sys
import threading
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from types import FrameType
from typing import Any

import httpx

from gateway.app import create_app
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from gateway.simulator import SimulatorSettings, create_simulator

_QUERY = """query($id: ID!, $start: DateTime!, $end: DateTime!) {
  careUnit(id: $id) {
    name
    resources { id name }
    healthcareServices { id name }
    timeslots(start: $start, end: $end) { start end resource { name } healthcareService { name } }
  }
}"""
_OTHERS = ("gateway.simulator", "gateway.cli")


class ModulesEntered:
    """The gateway's modules whose functions the profiled threads call while `names` is not None."""

    def __init__(self) -> None:
        self.names: set[str] | None = None

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """What `threading.setprofile` calls."""
        if event == "call" and self.names is not None:
            name = frame.f_globals.get("__name__", "")
            if name.startswith("gateway.") and not name.startswith(_OTHERS):
                self.names.add(name)


def _count() -> dict[str, list[str]]:
    """The modules that each of the three requests enters."""
    today = date(2026, 10, 12)
    simulated = SimulatorSettings(today=today, latency_ms=0)
    entered = ModulesEntered()
    with ExitStack() as stack:
        leyr = stack.enter_context(serve_in_thread(create_simulator(simulated), listening_socket("127.0.0.1", 0)))
        settings = Settings(
            leyr_base_url=f"{leyr}/api",
            leyr_client_id=simulated.client_id,
            leyr_client_secret=simulated.client_secret,
            gateway_log_level="error",
        )
        app = create_app(settings)
        threading.setprofile(entered.profile)
        url = stack.enter_context(serve_in_thread(app, listening_socket("127.0.0.1", 0)))
        threading.setprofile(None)
        client = stack.enter_context(httpx.Client(base_url=url, timeout=30))
        first = client.post("/graphql", json={"query": "{ careUnits { id } }"}, headers={"cache-control": "no-cache"})
        unit = first.json()["data"]["careUnits"][0]["id"]
        fresh = create_app(settings)
        threading.setprofile(entered.profile)
        url = stack.enter_context(serve_in_thread(fresh, listening_socket("127.0.0.1", 0)))
        threading.setprofile(None)
        client = stack.enter_context(httpx.Client(base_url=url, timeout=30))
        client.get("/livez")
        counted = {}
        for name, days in (("cold", 1), ("warm lists", 20), ("warm", 20)):
            start = datetime.fromisoformat(f"{today}T00:00:00+02:00") + timedelta(days=days)
            variables = {"id": unit, "start": start.isoformat(), "end": (start + timedelta(days=1)).isoformat()}
            entered.names = set()
            answer = client.post("/graphql", json={"query": _QUERY, "variables": variables})
            counted[name], entered.names = sorted(entered.names), None
            if "errors" in answer.json():
                raise RuntimeError(answer.text)
    return counted


def main() -> None:
    """Print the counts, and the modules where `-v` is given."""
    for name, modules in _count().items():
        print(f"{name:>10}: {len(modules)} modules")
        if "-v" in sys.argv:
            print("\n".join(f"            {each}" for each in modules))


if __name__ == "__main__":
    main()
