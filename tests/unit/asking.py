"""Timeslots as requests ask for them, with a clock that stands still until a test moves it."""

from collections.abc import Callable, Sequence

from gateway.domain.errors import GatewayError
from gateway.domain.queries import TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.coverage import QueryCoverage
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.snapshots import Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.fetch.timeslot_fetcher import TimeslotFetcher
from tests.unit.model_ehr import UNIT, ModelUnitLists

NOTHING_KEPT = Lifetimes(0, 0)
Answer = TimeslotList | GatewayError


def shown(answer: Answer) -> object:
    """What tests compare: the slots, or the class of the error."""
    return answer.slots if isinstance(answer, TimeslotList) else type(answer)


class Request:
    """One request about the model's care unit."""

    def __init__(self, calls: TimeslotCalls, unit_lists: ModelUnitLists, scope: FetchScope) -> None:
        self.scope = scope
        self.calls = calls
        self._coverage = QueryCoverage(UNIT, calls, unit_lists, scope)

    async def answer(self, queries: Sequence[TimeslotQuery]) -> list[Answer]:
        """Answers in the order of the queries, as loaders get them: from the cache at once, or later."""
        answers: dict[TimeslotQuery, Answer] = {}
        for query in dict.fromkeys(queries):
            from_cache = self._coverage.from_cache(query)
            if from_cache is not None:
                answers[query] = from_cache
        missing = [each for each in queries if each not in answers]
        await TimeslotFetcher(self._coverage).answer(missing, answers.__setitem__)
        return [answers[query] for query in queries]

    def close(self) -> None:
        self.scope.close()


class Gateway:
    """The cache and the calls that requests share."""

    def __init__(
        self,
        backend: SchedulingBackend,
        profiles: Profiles,
        lifetimes: Lifetimes = NOTHING_KEPT,
        *,
        most_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.now = 1_000.0
        self.clock = clock or (lambda: self.now)
        self.budget = CacheBudget(most_bytes)
        self.snapshots = Snapshots(CacheConfig(lifetimes, self.budget, self.clock))
        self.calls = TimeslotCalls(backend, profiles, self.snapshots, self.clock)

    def request(self, unit_lists: ModelUnitLists, *, no_cache: bool = False) -> Request:
        now = self.clock()
        scope = FetchScope(now, now) if no_cache else FetchScope(now)
        return Request(self.calls, unit_lists, scope)
