"""The graph below HTTP: operations by callers of any access and under any limits, on one set of caches."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from io import StringIO
from typing import Any

import orjson

from gateway.booking.caller_bookings import CallerBookings
from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import EVERYTHING, Access
from gateway.engine.engine import Operation
from gateway.engine.lazy_list import FragmentCache
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.snapshots import Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.http.error_responses import ErrorFormatter
from gateway.logging import build_log
from gateway.schema.context import Context, OperationLimits
from gateway.schema.node import Nodes
from gateway.schema.query import node_types
from tests.unit.asking import NOTHING_KEPT
from tests.unit.schema.gateway_engine import GatewayEngine

NOW = datetime(2026, 10, 20, tzinfo=UTC)
KEPT = Lifetimes(300, 300)
UNLIMITED = OperationLimits(1_000_000)


@dataclass
class Answered:
    """An answer, and the request's reading."""

    data: dict[str, Any] | None
    errors: list[dict[str, Any]]
    text: str
    reading: FetchScope

    @property
    def codes(self) -> set[str]:
        return {error["extensions"]["code"] for error in self.errors}

    @property
    def messages(self) -> set[str]:
        return {error["message"] for error in self.errors}

    @property
    def is_refused(self) -> bool:
        """Whether the operation as a whole was too large: nothing but errors that say so."""
        return self.codes == {"OPERATION_TOO_LARGE"} and not any((self.data or {}).values())


# More than any document here leads to: what is left out of an answer could not be looked at.
_MAX_ERRORS = 10_000


@cache
def _engine() -> GatewayEngine:
    """One for all, since most documents are asked of several graphs, and what is compiled knows nothing of these."""
    return GatewayEngine(ErrorFormatter(build_log("info", StringIO()), _MAX_ERRORS), max_errors=_MAX_ERRORS)


@dataclass
class Graph:
    """What requests have in common; `lifetimes` are those of all caches."""

    backend: SchedulingBackend
    profiles: list[EhrProfile]
    lifetimes: Lifetimes = NOTHING_KEPT
    now: float = 1_000.0
    instant: datetime = NOW
    engine: GatewayEngine = field(init=False)
    bookings: CallerBookings | None = None

    def __post_init__(self) -> None:
        config = CacheConfig(self.lifetimes, CacheBudget(64 * 1024 * 1024), self._clock, FragmentCache)
        self.known = Profiles(self.profiles)
        self._catalog = Catalog(self.backend, config)
        self._steps = TimeslotCalls(self.backend, self.known, Snapshots(config), self._clock)
        self.engine = _engine()

    async def ask(
        self, text: str, access: Access = EVERYTHING, limits: OperationLimits = UNLIMITED, **variables: Any
    ) -> Answered:
        """The answer to a caller."""
        return await self.ask_within(FetchScope(self.now), text, access, limits, **variables)

    async def ask_within(
        self,
        reading: FetchScope,
        text: str,
        access: Access = EVERYTHING,
        limits: OperationLimits = UNLIMITED,
        **variables: Any,
    ) -> Answered:
        """The answer to a request whose reading the caller of this ends."""
        context = self.context(access, limits, reading)
        context.caller_bookings = self.bookings
        try:
            outcome = await self.engine.run(Operation(text, None, variables), context)
        finally:
            context.nodes.close()
        whole = b"".join(outcome.pieces())
        answer = orjson.loads(whole)
        return Answered(answer.get("data"), answer.get("errors", []), whole.decode(), reading)

    def context(
        self, access: Access = EVERYTHING, limits: OperationLimits = UNLIMITED, reading: FetchScope | None = None
    ) -> Context:
        """What a request carries to its resolvers."""
        nodes = Nodes(self._catalog, self._steps, node_types(), reading or FetchScope(self.now))
        return Context(nodes, self.known, self.instant, timedelta(days=366), access, limits)

    def _clock(self) -> float:
        return self.now
