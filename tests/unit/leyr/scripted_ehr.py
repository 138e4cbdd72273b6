"""An EHR that does as it is told, for tests in virtual time."""

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
from gateway.leyr.call_events import AttemptError, CallEvents, CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicy
from tests.unit.leyr.virtual_time import clock

HANG = 1e9
REFERENCE = "6f1c8f0e-2f0b-4d3e-9d63-0a6d6f1f3b11"


def failing(outcome: CallResult, retry_after: float | None = None) -> AttemptError | GatewayError:
    """What the client makes of such an outcome."""
    errors: dict[CallResult, GatewayError] = {
        CallResult.RATE_LIMITED: UpstreamRateLimited("slow down", retryable=True, retry_after=retry_after),
        CallResult.REFUSED: NotFound("nothing there"),
        CallResult.TIMED_OUT: DeadlineExceeded("late", retryable=True),
        CallResult.NO_CONNECTION: Overloaded("busy", retryable=True),
        CallResult.INVALID_ANSWER: UpstreamInvalidAnswer("nonsense"),
    }
    if outcome is CallResult.INVALID_ANSWER:
        return errors[outcome]
    down = UpstreamUnavailable("down", retryable=True, reference=REFERENCE, retry_after=retry_after)
    return AttemptError(errors.get(outcome, down), outcome)


@dataclass(frozen=True)
class Act:
    """So many seconds, and then an answer or another outcome."""

    seconds: float = 0.0
    outcome: CallResult = CallResult.ANSWERED
    retry_after: float | None = None


class ScriptedEhr:
    """Its attempts, with when each began and how long it was given."""

    def __init__(self, *acts: Act, then: Act | None = None) -> None:
        """After `acts` come `then`s; the last of `acts` again unless told otherwise."""
        self.attempts: list[tuple[float, float]] = []
        self.at_once = 0
        self.most_at_once = 0
        self._acts: Iterator[Act] = chain(acts, repeat(then or acts[-1]))

    def goes_on_with(self, *acts: Act) -> None:
        self._acts = chain(acts, repeat(acts[-1]))

    async def attempt(self, within: float) -> str:
        self.attempts.append((clock(), within))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        act = next(self._acts)
        try:
            if act.seconds >= within:
                await asyncio.sleep(within)
                raise failing(CallResult.TIMED_OUT)
            await asyncio.sleep(act.seconds)
        finally:
            self.at_once -= 1
        if act.outcome is not CallResult.ANSWERED:
            raise failing(act.outcome, act.retry_after)
        return "answer"


@dataclass
class RecordedCallEvents(CallEvents):
    """Keeps the arguments of all events."""

    attempts: list[tuple[CallResult, float]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    retries: int = 0
    states: list[BreakerState] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        assert (emr, endpoint) == ("webdoc", "timeslots")
        self.attempts.append((result, round(seconds, 3)))

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:
        assert (emr, endpoint) == ("webdoc", "timeslots")
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
class Scene:
    """A policy, its EHR, and whoever calls."""

    ehr: ScriptedEhr
    rules: PolicyConfig = field(default_factory=PolicyConfig)
    chance: Callable[[], float] = lambda: 0.5
    events: RecordedCallEvents = field(default_factory=RecordedCallEvents)

    def __post_init__(self) -> None:
        self.policy = UpstreamPolicy("webdoc", self.rules, PolicyDependencies(self.events, clock, chance=self.chance))

    async def call(self) -> str:
        return await self.policy.call("timeslots", self.ehr.attempt)

    async def ending(self) -> tuple[str | GatewayError, float]:
        """What a call came to, and how long it took."""
        began = clock()
        try:
            found: str | GatewayError = await self.call()
        except GatewayError as error:
            found = error
        return found, clock() - began

    def calls(self, number: int) -> list["asyncio.Task[tuple[str | GatewayError, float]]"]:
        """Calls that begin together."""
        return [asyncio.create_task(self.ending()) for _ in range(number)]

    async def endings(self, number: int) -> list[tuple[str | GatewayError, float]]:
        return await asyncio.gather(*self.calls(number))

    def is_calm(self) -> bool:
        """Nothing is held by nobody."""
        return (self.policy.condition.in_flight, self.policy.condition.waiting, self.ehr.at_once) == (0, 0, 0)


def kinds(endings: Iterable[tuple[str | GatewayError, float]]) -> list[str]:
    return [found if isinstance(found, str) else found.code for found, _ in endings]
