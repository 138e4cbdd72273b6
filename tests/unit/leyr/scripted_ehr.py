"""An EHR that replies by a script, and calls to it through a policy, for tests in virtual time."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat

from gateway.domain.errors import (
    DeadlineExceeded,
    GatewayError,
    NotFound,
    Overloaded,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from gateway.http_client.failures import FailureKind
from gateway.leyr.call_events import AttemptError, CallEvents, CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicy
from tests.unit.leyr.virtual_time import clock

HANG = 1e9
REFERENCE = "6f1c8f0e-2f0b-4d3e-9d63-0a6d6f1f3b11"


def failure(result: CallResult, retry_after: float | None = None) -> AttemptError | GatewayError:
    """The error that the client raises for a result."""
    errors: dict[CallResult, GatewayError] = {
        CallResult.RATE_LIMITED: UpstreamRateLimited("slow down", retryable=True, retry_after=retry_after),
        CallResult.REFUSED: NotFound("nothing there"),
        CallResult.TIMED_OUT: DeadlineExceeded("late", retryable=True),
        CallResult.NO_CONNECTION: Overloaded("busy", retryable=True),
        CallResult.INVALID_ANSWER: UpstreamInvalidAnswer("nonsense"),
    }
    if result is CallResult.INVALID_ANSWER:
        return errors[result]
    down = UpstreamUnavailable("down", retryable=True, reference=REFERENCE, retry_after=retry_after)
    return AttemptError(errors.get(result, down), result)


@dataclass(frozen=True)
class Attempt:
    """How one attempt goes: what it comes to, after so many seconds."""

    seconds: float = 0.0
    result: CallResult = CallResult.ANSWERED
    retry_after: float | None = None


class ScriptedEhr:
    """Keeps when each attempt began, and how many seconds it was given."""

    def __init__(self, *script: Attempt, then: Attempt | None = None) -> None:
        """After `script` every attempt goes like `then`, or like the last of the script."""
        self.attempts: list[tuple[float, float]] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._script: Iterator[Attempt] = chain(script, repeat(then or script[-1]))

    def continue_with(self, *script: Attempt) -> None:
        self._script = chain(script, repeat(script[-1]))

    async def attempt(self, seconds: float) -> str:
        self.attempts.append((clock(), seconds))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        scripted = next(self._script)
        try:
            if scripted.seconds >= seconds:
                await asyncio.sleep(seconds)
                raise failure(CallResult.TIMED_OUT)
            await asyncio.sleep(scripted.seconds)
        finally:
            self.in_flight -= 1
        if scripted.result is not CallResult.ANSWERED:
            raise failure(scripted.result, scripted.retry_after)
        return "success"


@dataclass
class RecordedCallEvents(CallEvents):
    """Keeps the arguments of all events."""

    attempts: list[tuple[CallResult, float]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    retries: int = 0
    states: list[BreakerState] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    endpoint: str = "timeslots"
    failures: list[FailureKind] = field(default_factory=list)

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        assert (emr, endpoint) == ("webdoc", self.endpoint)
        self.attempts.append((result, round(seconds, 3)))

    def unreachable(self, emr: str, endpoint: str, failure: FailureKind) -> None:
        assert (emr, endpoint) == ("webdoc", self.endpoint)
        self.failures.append(failure)

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:
        assert (emr, endpoint) == ("webdoc", self.endpoint)
        self.rejections.append(reason)

    def retried(self, emr: str) -> None:
        assert emr == "webdoc"
        self.retries += 1

    def breaker_changed(self, emr: str, state: BreakerState) -> None:
        assert emr == "webdoc"
        self.states.append(state)

    def limit_changed(self, emr: str, limit: int) -> None:
        assert emr == "webdoc"
        self.limits.append(limit)


@dataclass
class PolicyHarness:
    """Calls to a scripted EHR through its policy."""

    ehr: ScriptedEhr
    config: PolicyConfig = field(default_factory=PolicyConfig)
    rng: Callable[[], float] = lambda: 0.5
    events: RecordedCallEvents = field(default_factory=RecordedCallEvents)
    caller: str = ""
    """Who the next calls are for."""
    endpoint: str = "timeslots"

    def __post_init__(self) -> None:
        self.events.endpoint = self.endpoint
        dependencies = PolicyDependencies(self.events, clock, rng=self.rng, caller=lambda: self.caller)
        self.policy = UpstreamPolicy("webdoc", self.config, dependencies)

    async def call(self) -> str:
        return await self.policy.call(self.endpoint, self.ehr.attempt)

    async def outcome(self) -> tuple[str | GatewayError, float]:
        """What one call returned or raised, and how many seconds it took."""
        began = clock()
        try:
            found: str | GatewayError = await self.call()
        except GatewayError as error:
            found = error
        return found, clock() - began

    def start(self, number: int) -> list["asyncio.Task[tuple[str | GatewayError, float]]"]:
        """Start calls that begin together."""
        return [asyncio.create_task(self.outcome()) for _ in range(number)]

    async def outcomes(self, number: int) -> list[tuple[str | GatewayError, float]]:
        return await asyncio.gather(*self.start(number))

    def is_idle(self) -> bool:
        """Whether no call runs or waits, so that every permit was released."""
        return (self.policy.health.in_flight, self.policy.health.waiting, self.ehr.in_flight) == (0, 0, 0)


def codes(outcomes: Iterable[tuple[str | GatewayError, float]]) -> list[str]:
    return [found if isinstance(found, str) else found.code for found, _ in outcomes]
