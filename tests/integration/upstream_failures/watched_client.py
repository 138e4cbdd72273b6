"""A client of the simulator over real HTTP, with what a test needs to steer and to ask."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import SecretStr

from gateway.domain.errors import GatewayError
from gateway.domain.models import CareUnitKey
from gateway.http_client.pool import ConnectionPool, HttpClient
from gateway.leyr.call_events import CallEvents, CallResult
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamHealth, UpstreamPolicies
from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator

UNIT = CareUnitKey("webdoc", "L0_1")


@dataclass
class FakeTime:
    """Minutes that cost nothing: whoever sleeps moves the clock."""

    now: float = 1_000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class Outcomes(CallEvents):
    """What became of each attempt."""

    seen: list[CallResult] = field(default_factory=list)
    states: list[BreakerState] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:  # noqa: ARG002 # the base class's
        self.seen.append(result)
        self.first.set()

    def breaker_changed(self, emr: str, state: BreakerState) -> None:  # noqa: ARG002 # the base class's
        self.states.append(state)


@dataclass
class Upstream:
    """The client under test beside the simulator that it calls."""

    client: LeyrClient
    policies: UpstreamPolicies
    simulator: Simulator
    outcomes: Outcomes

    async def asks(self) -> str:
        """One call: `answer`, or the code of its error."""
        error = await self.fails()
        return "answer" if error is None else error.code

    async def fails(self) -> GatewayError | None:
        try:
            await self.client.resources(UNIT)
        except GatewayError as error:
            return error
        return None

    async def asks_together(self, number: int) -> list[str]:
        return await asyncio.gather(*(self.asks() for _ in range(number)))

    @property
    def condition(self) -> UpstreamHealth:
        return self.policies.health()[UNIT.emr]

    def counted(self) -> int:
        """The calls that arrived at the simulator."""
        return sum(self.simulator.count().values())


@asynccontextmanager
async def upstream(
    simulator: Simulator, rules: PolicyConfig, *, time: FakeTime | None = None, **pool: Any
) -> AsyncIterator[Upstream]:
    """A client with rules of its own; on a fake clock where there is one, else on the real one."""
    outcomes = Outcomes()
    outside = PolicyDependencies(outcomes) if time is None else PolicyDependencies(outcomes, time.clock, time.sleep)
    policies = UpstreamPolicies(rules, outside)

    def connections(base_url: str, headers: Mapping[str, str]) -> HttpClient:
        return ConnectionPool(base_url, headers, **pool)

    transport = LeyrTransport(f"{simulator.url}/api", CLIENT_ID, SecretStr(CLIENT_SECRET), connections=connections)
    log = structlog.wrap_logger(
        None, processors=[lambda *_: ""], wrapper_class=structlog.make_filtering_bound_logger(50)
    )
    async with transport:
        yield Upstream(LeyrClient(transport, log, policies), policies, simulator, outcomes)
