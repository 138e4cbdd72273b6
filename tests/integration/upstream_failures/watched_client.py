"""The client of Leyr, without the rest of the gateway, on the simulator over real HTTP."""

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
from tests.harness import CLIENT_ID, CLIENT_SECRET, NOW, Simulator

UNIT = CareUnitKey("webdoc", "L0_1")


@dataclass
class FakeTime:
    """A clock that only a sleep moves, so that minutes take no time."""

    now: float = 1_000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class RecordedEvents(CallEvents):
    """The results of all attempts, and the states that the circuit breaker went through."""

    attempts: list[CallResult] = field(default_factory=list)
    states: list[BreakerState] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:  # noqa: ARG002 # the base class's
        self.attempts.append(result)
        self.first.set()

    def breaker_changed(self, emr: str, state: BreakerState) -> None:  # noqa: ARG002 # the base class's
        self.states.append(state)


@dataclass
class WatchedClient:
    """A client under test, and what is known of its calls."""

    client: LeyrClient
    policies: UpstreamPolicies
    simulator: Simulator
    events: RecordedEvents

    async def call_result(self) -> str:
        """One call: `answer`, or the code of its error."""
        error = await self.call_error()
        return "answer" if error is None else error.code

    async def call_error(self) -> GatewayError | None:
        try:
            await self.client.resources(UNIT)
        except GatewayError as error:
            return error
        return None

    async def call_results(self, number: int) -> list[str]:
        return await asyncio.gather(*(self.call_result() for _ in range(number)))

    @property
    def health(self) -> UpstreamHealth:
        return self.policies.health()[UNIT.emr]

    def counted(self) -> int:
        """The calls that arrived at the simulator."""
        return sum(self.simulator.count().values())


@asynccontextmanager
async def watched_client(
    simulator: Simulator, rules: PolicyConfig, *, time: FakeTime | None = None, **pool: Any
) -> AsyncIterator[WatchedClient]:
    """A client with rules of its own; on a fake clock where there is one, else on the real one."""
    events = RecordedEvents()
    outside = PolicyDependencies(events) if time is None else PolicyDependencies(events, time.clock, time.sleep)
    policies = UpstreamPolicies(rules, outside)

    def connections(base_url: str, headers: Mapping[str, str]) -> HttpClient:
        return ConnectionPool(base_url, headers, **pool)

    transport = LeyrTransport(f"{simulator.url}/api", CLIENT_ID, SecretStr(CLIENT_SECRET), connections=connections)
    log = structlog.wrap_logger(
        None, processors=[lambda *_: ""], wrapper_class=structlog.make_filtering_bound_logger(50)
    )
    async with transport:
        yield WatchedClient(LeyrClient(transport, log, policies, lambda: NOW), policies, simulator, events)
