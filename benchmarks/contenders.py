"""Who takes part: how each is started in front of a simulator, and how it is asked."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import graphql_request, rest_request
from benchmarks.processes import StartError
from benchmarks.scenarios import EMR, View, Window

CREDENTIALS = ("simulator", "simulator")
ROOT = Path(__file__).parents[1]
GATEWAY, CACHED, PLAIN, JOIN = "gateway", "gateway+cache", "plain strawberry", "rest join"
BESIDE = " beside"
NAMES = (GATEWAY, CACHED, PLAIN, JOIN, GATEWAY + BESIDE, CACHED + BESIDE)

_CACHES_OFF = {"GATEWAY_CACHE_CATALOG_SECONDS": "0", "GATEWAY_CACHE_TIMESLOTS_SECONDS": "0"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to measure: a module to run, from a folder, in front of a simulator."""

    name: str
    arguments: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    request: Callable[[str, View, Window], bytes] = graphql_request
    has_caches: bool = False
    is_gateway: bool = False

    def command(self, simulator_url: str) -> list[str]:
        """The command line."""
        own = [sys.executable, "-m", *self.arguments]
        return own if self.is_gateway else [*own, f"{simulator_url}/api", *CREDENTIALS, EMR]

    def environment(self, simulator_url: str) -> dict[str, str]:
        """The environment; the gateway's settings come from nowhere else."""
        if not self.is_gateway:
            return clean_environment(self.folder)
        leyr = {
            "LEYR_BASE_URL": f"{simulator_url}/api",
            "LEYR_CLIENT_ID": CREDENTIALS[0],
            "LEYR_CLIENT_SECRET": CREDENTIALS[1],
            "LEYR_EMRS": EMR,
        }
        return {**clean_environment(self.folder), **leyr, **self.settings}


def contenders(beside: Path | None) -> list[Contender]:
    """Everyone; `beside` is the folder of another checkout, whose gateway takes part too. Raises StartError."""
    found = [
        *_gateways(ROOT, ""),
        Contender(PLAIN, ["benchmarks.plain_strawberry"]),
        Contender(JOIN, ["benchmarks.rest_join"], request=rest_request),
    ]
    return found if beside is None else [*found, *_gateways(beside, BESIDE)]


def clean_environment(folder: Path) -> dict[str, str]:
    """This environment without anything that the gateway takes for a setting; modules come from `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("LEYR_", "GATEWAY_"))}
    return {**kept, "PYTHONPATH": str(folder)}


def _gateways(folder: Path, suffix: str) -> list[Contender]:
    """The gateway of a checkout, without its caches and as it is shipped."""
    serve = ["gateway", "serve", "--port", "0"]
    # An older checkout has no caches, and refuses to be told to do without them.
    off = _CACHES_OFF if "`GATEWAY_CACHE_" in _settings_table(folder) else {}
    return [
        Contender(GATEWAY + suffix, serve, off, folder, is_gateway=True),
        Contender(CACHED + suffix, serve, {}, folder, has_caches=True, is_gateway=True),
    ]


def _settings_table(folder: Path) -> str:
    asked = [sys.executable, "-m", "gateway", "settings"]
    environment = clean_environment(folder)
    done = subprocess.run(
        asked, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    if done.returncode:
        raise StartError(f"`gateway settings` failed: {done.stderr[-500:]}")
    return done.stdout
