"""The timeslot calls of all requests: each is started once, shared while it is pending, and its answer cached."""

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Callable, ItemsView, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias
from weakref import WeakKeyDictionary

from gateway.domain.errors import OperationTooLarge, RateLimited, UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.domain.pieces import PIECE, InPieces, Pieces, whole
from gateway.domain.queries import Filters, Plan, Step, TimeslotQuery, TooManyCallsError
from gateway.domain.read_order import corrected_in_pieces, differs, filters_meet, own_slots
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.backend import CountCalls, DividedCalls, SchedulingBackend
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope, IncompleteReason
from gateway.fetch.profiles import Profiles, remember
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot, Snapshots

# Where an EHR wants a filter, one query may become a call for each resource; a clinic gets them a few at a time.
_CALLS_AT_ONCE = 8

# How often a call is made where newer answers of unknown owners overtake it.
_MOST_READS = 3
# In lists, each with a further one for as many slots: ten microseconds.
_MOST_COMPARED = 2_000
_SLOTS_A_LIST = 100
# Beyond so many care units, those of which no answer is in use any more are forgotten.
_MOST_UNITS = 1_000
# So many may land while a call is on its way.
_MOST_NEWER = 100

Source: TypeAlias = Snapshot | SharedCall[TimeslotList]


class TimeslotCalls:
    """Starts calls, shares the pending ones and keeps their answers."""

    def __init__(
        self, backend: SchedulingBackend, profiles: Profiles, snapshots: Snapshots, clock: Callable[[], float]
    ) -> None:
        self.profiles = profiles
        self.snapshots = snapshots
        self._divided = DividedCalls(backend, lambda care_unit: profiles.of_unit(care_unit).time_zone, clock)
        self._clock = clock
        self._pending: defaultdict[CareUnitKey, dict[Step, SharedCall[TimeslotList]]] = defaultdict(dict)
        self._answers: dict[CareUnitKey, WeakKeyDictionary[TimeslotList, Step]] = {}
        self._most_units = _MOST_UNITS
        self._reads: defaultdict[CareUnitKey, set[_Read]] = defaultdict(set)
        # Who waits for each pending call, as one that becomes several is counted for any of them that has calls left.
        self._counting: dict[Step, list[CountCalls]] = {}
        self._not_rounded_up: set[str] = set()
        self._failed_at: dict[CareUnitKey, float] = {}

    def rounds_up(self, emr: str) -> bool:
        """Whether windows are rounded up to the end of their last day."""
        return self.snapshots.lifetimes.fresh > 0 and emr not in self._not_rounded_up

    def learn_not_to_round_up(self, emr: str) -> None:
        """Remember that an EHR refused a window that was rounded up, and accepted the window itself."""
        self._not_rounded_up.add(emr)

    def pending(self, care_unit: CareUnitKey, since: float) -> Mapping[Step, SharedCall[TimeslotList]]:
        """The pending calls for a care unit that a request may join: none that started before `since`."""
        calls = self._pending.get(care_unit)
        if not calls:
            return {}
        return {step: call for step, call in calls.items() if call.joinable and call.started >= since}

    def pending_call(self, step: Step, since: float) -> SharedCall[TimeslotList] | None:
        """The pending call for one step, where a request may join it."""
        calls = self._pending.get(step.care_unit)
        call = calls.get(step) if calls else None
        return call if call is not None and call.joinable and call.started >= since else None

    def start(
        self, step: Step, semaphore: Semaphore, reader: object, count_calls: CountCalls
    ) -> SharedCall[TimeslotList]:
        """Start a call that is counted already, for the request that `reader` stands for, with one holder.

        `count_calls` counts the calls that it takes beyond.
        """
        started, counting = self._clock(), [count_calls]
        call: SharedCall[TimeslotList] = SharedCall(
            self._call(_Read(step, reader), semaphore, partial(_count_for_any, counting)),
            started,
            partial(self._on_done, step),
        )
        self._counting[step] = counting
        self._pending[step.care_unit][step] = call
        return call

    def count_for(self, step: Step, count_calls: CountCalls) -> None:
        """Let the pending call of a step count its further calls for another request too."""
        if step in self._counting:
            self._counting[step].append(count_calls)

    def may_refresh(self, care_unit: CareUnitKey) -> bool:
        """Whether stale answers may be fetched anew: not soon after a call failed."""
        failed_at = self._failed_at.get(care_unit)
        return failed_at is None or self._clock() - failed_at >= SECONDS_BETWEEN_REFRESHES

    def has_failed(self, care_unit: CareUnitKey) -> bool:
        """Whether the last call for a care unit has failed."""
        return care_unit in self._failed_at

    async def _call(self, read: "_Read", semaphore: Semaphore, count_calls: CountCalls) -> TimeslotList:
        step = read.step
        reads = self._reads[step.care_unit]
        reads.add(read)
        try:
            for number in range(_MOST_READS):
                if number:
                    count_calls(1)
                read.newer.clear()
                began = self._clock()
                answer = await self._divided.timeslots(step, semaphore, count_calls)
                began = max(began, answer.began or began)
                landed = await read.corrected(own_slots(step, answer), began)
                if landed is not None:
                    reads.discard(read)
                    return self._land(Snapshot(step, landed, began, read.reader), reads)
        finally:
            reads.discard(read)
            if not reads:
                self._reads.pop(step.care_unit, None)
        raise UpstreamUnavailable("Newer answers overtook this one again and again", retryable=True)

    def _land(self, snapshot: Snapshot, reads: Iterable["_Read"]) -> TimeslotList:
        """Keep what a call brought, correct what others will bring, and outdate what says something else."""
        answer, step = snapshot.answer, snapshot.step
        for other in reads:
            other.note(snapshot)
        compared = 0
        for older, asked in list(self._answers.get(step.care_unit, {}).items()):
            if older.is_outdated or not (asked.window.overlaps(step.window) and filters_meet(asked, step)):
                continue
            compared += 1 + min(len(older), len(answer)) // _SLOTS_A_LIST
            # More are not looked at: to make an answer anew costs no call as a rule.
            if compared > _MOST_COMPARED or differs(older, asked, answer, step):
                older.is_outdated = True
        self.watch(step, answer)
        self.snapshots.keep(snapshot)
        return answer

    def watch(self, step: Step, answer: TimeslotList) -> None:
        """Outdate the answer to a step when a newer one says something else, as long as anyone uses it."""
        answers = self._answers.get(step.care_unit)
        if answers is None:
            if len(self._answers) >= self._most_units:
                self._answers = {care_unit: each for care_unit, each in self._answers.items() if each}
                self._most_units = max(_MOST_UNITS, 2 * len(self._answers))
            answers = self._answers[step.care_unit] = WeakKeyDictionary()
        answers[answer] = step

    def _on_done(self, step: Step, call: SharedCall[TimeslotList]) -> None:
        if call.answer is not None:
            self._failed_at.pop(step.care_unit, None)
        elif call.joinable:
            remember(self._failed_at, step.care_unit, self._clock())
        calls = self._pending[step.care_unit]
        if calls.get(step) is call:
            del calls[step]
            del self._counting[step]
        if not calls:
            del self._pending[step.care_unit]


@dataclass(slots=True, eq=False)
class _Read:
    """A call that is on its way, and what calls that landed meanwhile have brought.

    Those of them that began later are newer, although they landed earlier, and may have been shown.
    """

    step: Step
    reader: object
    newer: list[Snapshot] = field(default_factory=list)

    def note(self, landed: Snapshot) -> None:
        """Remember what another call brought."""
        if filters_meet(landed.step, self.step):
            self.newer.append(landed)

    async def corrected(self, answer: TimeslotList, began: float) -> TimeslotList | None:
        """The answer as newer ones say; None where they do not tell, so that the EHR has to be asked again."""
        corrected = answer
        # Calls wait for their turn while others land that were sent before them.
        self.newer = [each for each in self.newer if _last_began(each) > began]
        while self.newer:
            if len(self.newer) > _MOST_NEWER:
                return None
            self.newer.sort(key=lambda snapshot: -snapshot.fetched_at)
            newer = self.newer.pop()
            if _last_began(newer) <= began:
                continue
            work = corrected_in_pieces(corrected, self.step, newer.answer, newer.step)
            is_short = len(corrected) + len(newer.answer) <= PIECE
            found = whole(work) if is_short else await InPieces(work)
            if found is corrected or (found is None and newer.reader is self.reader):
                # What one request reads is told apart by its calls alone, where slots do not name their owners.
                continue
            # Which of its slots are of the requests that were sent after this one's, and which are not, is not known.
            if found is None or newer.fetched_at <= began:
                return None
            corrected = found
        return corrected


def _last_began(snapshot: Snapshot) -> float:
    """When the last request was sent that brought an answer: its window in halves, or its pages, take several."""
    return max(snapshot.fetched_at, snapshot.answer.last_began or snapshot.fetched_at)


def _count_for_any(counting: Sequence[CountCalls], calls: int) -> None:
    """Count calls for the first of several requests that may make so many. Raises OperationTooLarge and RateLimited."""
    *others, last = counting
    for count_calls in others:
        with suppress(OperationTooLarge, RateLimited):
            count_calls(calls)
            return
    last(calls)


class RequestAnswers:
    """The snapshots and calls that one request uses, until its end, for one care unit."""

    def __init__(self, care_unit: CareUnitKey, calls: TimeslotCalls, scope: FetchScope) -> None:
        self._care_unit = care_unit
        self._calls = calls
        self._scope = scope
        self._semaphore = Semaphore(_CALLS_AT_ONCE)
        self._sources: dict[Step, Source] = {}
        self._by_filters: defaultdict[Filters, list[Step]] = defaultdict(list)
        self._recorded: set[Snapshot] = set()

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
            self._calls.watch(snapshot.step, snapshot.answer)
            self._scope.use(snapshot.answer)
            origin = CacheStatus.CACHED if self._calls.snapshots.is_fresh(snapshot) else CacheStatus.STALE
            self._record(snapshot.step, origin, snapshot.fetched_at)
            self.use(snapshot.step, snapshot)

    def use(self, step: Step, source: Source) -> None:
        """Tell the request how old an answer is that it uses, and whether it is whole; nothing of one that failed."""
        answer, fetched_at = source.answer, source.fetched_at if isinstance(source, Snapshot) else source.started
        if answer is None:
            return
        self._scope.timeslots_as_of = min(self._scope.timeslots_as_of, fetched_at)
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

    def start_or_join(self, step: Step) -> Source:
        """The source for a step that was counted: the one in use, a pending call, or a new call."""
        source = self._sources.get(step)
        if source is None:
            source = self._calls.pending_call(step, self._scope.since_of(self._care_unit))
            if source is not None:
                self.add(step, source)
            else:
                source = self._calls.start(step, self._semaphore, self._scope.reader, self._scope.count_further_calls)
                self._use(step, source)
                self._hold(step, source, CacheStatus.FETCHED)
        return source

    def refresh(self, step: Step) -> None:
        """Fetch an answer anew, unless a call failed a moment ago or the request may make none."""
        # The request does not wait for it, so the call keeps the holder that it gets here.
        if not self._calls.may_refresh(self._care_unit):
            return
        call = self._calls.pending_call(step, self._scope.since_of(self._care_unit))
        if call is not None:
            # It goes on without the others that wait for it, but as one that nobody waits for.
            call.acquire().release(self._scope.detached)
        elif self._scope.may_refresh():
            self._calls.start(step, self._semaphore, self._scope.reader, self._scope.count_further_calls)

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
        read = FetchRecord("timeslots", subject, origin, fetched_at, is_overdue)
        self._scope.record(read, fetched_at + self._calls.snapshots.lifetimes.fresh)


@dataclass(slots=True, eq=False)
class MissingRange:
    """A range of a part's window that a call has to be made for, on behalf of a query.

    `awaited` is False where a stale answer is known, so that nothing waits for the call.
    """

    query: TimeslotQuery
    part: TimeslotQuery
    window: Window
    awaited: bool = True


def calls_for_missing(
    missing: Mapping[MissingRange, TimeslotQuery],
    asked: Iterable[TimeslotQuery],
    planned: Callable[[Sequence[TimeslotQuery]], Pieces[Plan]],
) -> Pieces[Mapping[MissingRange, Sequence[Step]]]:
    """The fewest steps whose answers hold the missing ranges.

    `missing` has a query for each range, which may be for more than the range; `asked` are the parts of all that the
    request asks for, known or not. Raises TooManyCallsError.
    """
    found = _serving(missing, (yield from planned(list(missing.values()))))
    yield
    fewest = _number_of_calls(found)
    if fewest > 1:
        # The ranges left beside known ones, and beyond midnights, can take more calls than whole parts.
        uncut = {each: each.part for each in missing}
        parts = list(uncut.values())
        for wanted in (parts, [*parts, *asked]):
            yield
            with suppress(TooManyCallsError):
                other = _serving(uncut, (yield from planned(wanted)))
                yield
                calls = _number_of_calls(other)
                if calls < fewest:
                    found, fewest = other, calls
    return found


def _serving(missing: Mapping[MissingRange, TimeslotQuery], made: Plan) -> Mapping[MissingRange, Sequence[Step]]:
    return {
        each: [step for step in made.serving[query] if step.window.overlaps(each.window)]
        for each, query in missing.items()
    }


def _number_of_calls(found: Mapping[MissingRange, Sequence[Step]]) -> int:
    return len({step for steps in found.values() for step in steps})
