"""What one request has read of a care unit's timeslots: the snapshots and calls that it uses, until its end."""

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import ItemsView, Iterable, Mapping, Sequence
from typing import NamedTuple

from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Filters, Step, TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope, IncompleteReason, earlier, earliest
from gateway.fetch.shared_reads import Claim, Position
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import CALLS_AT_ONCE, Source, TimeslotCalls


class AnswerSummary(NamedTuple):
    """Of what the answer to a query was made: when the oldest of it was requested, and how many rows it lacks."""

    fetched_at: float
    dropped: int


class RequestAnswers:
    """The snapshots and calls that one request uses, until its end, for one care unit."""

    def __init__(self, care_unit: CareUnitKey, calls: TimeslotCalls, scope: FetchScope) -> None:
        self._care_unit = care_unit
        self._calls = calls
        self._scope = scope
        self._semaphore = Semaphore(CALLS_AT_ONCE)
        self._sources: dict[Step, Source] = {}
        self._by_filters: defaultdict[Filters, list[Step]] = defaultdict(list)
        self._recorded: set[Snapshot] = set()
        self._answered: dict[TimeslotQuery, Sequence[Source]] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, step: Step) -> bool:
        return step in self._sources

    def items(self) -> ItemsView[Step, Source]:
        """Every step with its snapshot, or its call, which may be pending."""
        return self._sources.items()

    def pending(self) -> Mapping[Step, SharedCall[TimeslotList]]:
        """The pending calls of all requests that this one may join."""
        return self._calls.pending(self._care_unit, self._scope.since_of(self._care_unit))

    def completed(self, step: Step) -> tuple[Step, Source] | None:
        """A source whose answer has come and contains that to a step, under the same filters."""
        for own in self._by_filters.get(step.filters, ()):
            source = self._sources[own]
            if source.answer is not None and own.covers(step):
                return own, source
        return None

    def add(self, step: Step, source: Source) -> None:
        """Use a snapshot or a pending call from now on."""
        if step in self._sources:
            return
        self._use(step, source)
        if isinstance(source, Snapshot):
            self.record(source)
        else:
            self._scope.on_ehr(self._care_unit.emr)
            self._calls.count_for(step, self._scope.count_further_calls)
            self._hold(step, source.acquire(), CacheStatus.JOINED)

    def record(self, snapshot: Snapshot) -> None:
        """Record the read of a snapshot, once."""
        if snapshot not in self._recorded:
            self._recorded.add(snapshot)
            self._calls.watch(snapshot)
            self._scope.use(snapshot.answer)
            origin = CacheStatus.CACHED if self._calls.snapshots.is_fresh(snapshot) else CacheStatus.STALE
            if snapshot.arrived_at >= self._scope.started:
                origin = CacheStatus.SHARED
            self._record(snapshot.step, origin, snapshot.fetched_at)
            self.use(snapshot.step, snapshot)

    def record_all(self, query: TimeslotQuery, snapshots: Sequence[Snapshot]) -> None:
        """Record the reads of the snapshots that hold a query's answer."""
        for snapshot in snapshots:
            self.record(snapshot)
        self.answered(query, snapshots)

    def answered(self, query: TimeslotQuery, sources: Sequence[Source]) -> None:
        """Note of what the answer to a query was made."""
        self._answered[query] = sources

    def summary(self, query: TimeslotQuery) -> AnswerSummary:
        """Of what the answer to a query was made, which was delivered."""
        sources = [each for each in dict.fromkeys(self._answered.get(query, ())) if each.answer is not None]
        dropped = sum(each.answer.dropped for each in sources if each.answer is not None)
        read_at = earliest(map(_fetched_at, sources))
        return AnswerSummary(self._scope.started if read_at is None else read_at, dropped)

    def use(self, step: Step, source: Source) -> None:
        """Tell the request how old an answer is that it uses, and whether it is whole; nothing of one that failed."""
        answer = source.answer
        if answer is None:
            return
        self._scope.timeslots_as_of = earlier(self._scope.timeslots_as_of, _fetched_at(source))
        if answer.dropped:
            reason, emr = IncompleteReason.ROWS_DROPPED, step.care_unit.emr
            self._scope.report_incomplete("timeslots", emr, reason, step, answer.dropped)

    def count_calls(self, steps: Iterable[Step]) -> None:
        """Count the calls that steps need, before any of them is made. Raises OperationTooLarge and RateLimited."""
        pending = self.pending()
        calls = len({step for step in steps if step not in self._sources and step not in pending})
        if calls:
            self._scope.on_ehr(self._care_unit.emr)
        self._scope.count_calls(calls)

    def start_or_join(self, step: Step, claim: Claim | None = None) -> Source:
        """The source for a step that was counted: the one in use, a pending call, or a new call."""
        source = self._sources.get(step)
        if source is None:
            source = self._calls.pending_call(step, self._scope.since_of(self._care_unit))
            if source is not None:
                self.add(step, source)
            else:
                source = self._started(step, claim)
                self._use(step, source)
                self._hold(step, source, CacheStatus.FETCHED)
                return source
        if claim is not None:
            self._calls.give_back([claim])
        return source

    def refresh(self, step: Step, claim: Claim | None = None) -> None:
        """Fetch an answer anew, unless a call failed a moment ago or the request may make none."""
        # The request does not wait for it, so the call keeps the holder that it gets here.
        if self._calls.may_refresh(self._care_unit):
            call = self._calls.pending_call(step, self._scope.since_of(self._care_unit))
            if call is not None:
                # It goes on without the others that wait for it, but as one that nobody waits for.
                call.acquire().release(self._scope.detached)
            elif self._scope.may_refresh():
                self._started(step, claim)
                return
        if claim is not None:
            self._calls.give_back([claim])

    async def claim(
        self, awaited: Iterable[Step], refreshed: Iterable[Step], after: Position | None
    ) -> Mapping[Step, Claim] | None:
        """Tell other processes which calls begin; None where they said something after a position."""
        since = self._scope.since_of(self._care_unit)
        refreshed = refreshed if self._calls.may_refresh(self._care_unit) else ()
        steps = dict.fromkeys((*(each for each in awaited if each not in self._sources), *refreshed))
        new = [each for each in steps if self._calls.pending_call(each, since) is None]
        return await self._calls.claim(self._care_unit, new, self._scope.reader, after)

    def _started(self, step: Step, claim: Claim | None) -> SharedCall[TimeslotList]:
        """A call that is counted already, with one holder."""
        count_calls = self._scope.count_further_calls
        return self._calls.start(step, self._semaphore, self._scope.reader, count_calls, claim)

    def _use(self, step: Step, source: Source) -> None:
        self._sources[step] = source
        self._by_filters[step.filters].append(step)

    def _hold(self, step: Step, call: SharedCall[TimeslotList], origin: CacheStatus) -> None:
        self._scope.release_on_close(call)
        self._scope.use(call)
        self._record(step, origin, call.started)

    def _record(self, step: Step, origin: CacheStatus, fetched_at: float) -> None:
        subject = (*step.care_unit, step.window, step.resource, step.service)
        is_overdue = origin is CacheStatus.STALE and self._calls.has_failed(step.care_unit)
        fresh_until = fetched_at + self._calls.snapshots.lifetimes.fresh
        self._scope.record(FetchRecord("timeslots", subject, origin, fetched_at, is_overdue), fresh_until)


def _fetched_at(source: Source) -> float:
    """When the request that brought an answer was sent."""
    if isinstance(source, Snapshot):
        return source.fetched_at
    # As its snapshot says, whoever is answered from that later: it may have waited for its turn.
    began = None if source.answer is None else source.answer.began
    return max(began or source.started, source.started)
