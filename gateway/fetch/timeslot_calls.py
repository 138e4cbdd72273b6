"""The timeslot calls of all requests: each is started once, shared while it is pending, and its answer cached."""

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Callable, ItemsView, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from cachetools import FIFOCache

from gateway.domain.call_count import FURTHER_CALLS
from gateway.domain.errors import UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.domain.pieces import Pieces
from gateway.domain.queries import Filters, Plan, Step, TimeslotQuery, TooManyCallsError
from gateway.domain.read_order import differs, filters_meet, own_slots
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.backend import CountCalls, DividedCalls, SchedulingBackend, count_for_any
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope, IncompleteReason
from gateway.fetch.pending_reads import PendingRead
from gateway.fetch.profiles import Profiles
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot, Snapshots

# Where an EHR wants a filter, one query may become a call for each resource; a clinic gets them a few at a time.
CALLS_AT_ONCE = 8
# How often a call is made where newer answers of unknown owners overtake it.
_MOST_READS = 3
# In lists, each with a further one for as many slots: ten microseconds.
_MOST_COMPARED = 2_000
_SLOTS_A_LIST = 100
# Beyond so many care units, those of which no answer is in use any more are forgotten.
_MOST_UNITS = 1_000
_MOST_FAILED = 10_000

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
        self._answers: dict[CareUnitKey, WeakKeyDictionary[TimeslotList, tuple[Step, object]]] = {}
        self._most_units = _MOST_UNITS
        self._reads: defaultdict[CareUnitKey, set[PendingRead]] = defaultdict(set)
        # Who waits for each pending call, as one that becomes several is counted for any of them that has calls left.
        self._counting: dict[Step, list[CountCalls]] = {}
        self._not_rounded_up: set[str] = set()
        self._failed_at: FIFOCache[CareUnitKey, float] = FIFOCache(_MOST_FAILED)

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
            self._call(PendingRead(step, reader), semaphore, partial(count_for_any, counting)),
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

    async def _call(self, read: PendingRead, semaphore: Semaphore, count_calls: CountCalls) -> TimeslotList:
        step = read.step
        reads = self._reads[step.care_unit]
        reads.add(read)
        # The task keeps its context, so what is set there would keep requests in a cycle.
        counting = FURTHER_CALLS.set(count_calls)
        try:
            for number in range(_MOST_READS):
                if number:
                    count_calls(1)
                read.begin(self._clock(), was_overtaken=number > 0)
                answer = await self._divided.timeslots(step, semaphore, count_calls)
                began = max(read.began, answer.began or read.began)
                await read.wait_for_overtaken(reads, began)
                landed = await read.corrected(own_slots(step, answer), began)
                if landed is not None:
                    reads.discard(read)
                    self._land(Snapshot(step, landed, began, read.reader), reads)
                    for window, before in read.forgotten:
                        self.snapshots.forget(step.care_unit, window, before)
                    return landed
        finally:
            FURTHER_CALLS.reset(counting)
            read.end()
            reads.discard(read)
            if not reads:
                self._reads.pop(step.care_unit, None)
        raise UpstreamUnavailable("Newer answers overtook this one again and again", retryable=True)

    def overwrite(self, step: Step, answer: TimeslotList) -> None:
        """Put what a booking showed in place of what any call says that began before; it is not kept as a read."""
        known = Snapshot(step, answer, self._clock(), reader=object())
        self._outdate(known, self._reads.get(step.care_unit, ()))
        self.snapshots.overwrite(known)

    def forget(self, care_unit: CareUnitKey, window: Window) -> None:
        """Let a window be asked again: no request to come is answered from what began before."""
        now = self._clock()
        pending = self._pending.get(care_unit, {})
        for step in [each for each in pending if each.window.overlaps(window)]:
            # Those who wait for it get it; nobody joins it any more.
            del pending[step], self._counting[step]
        for read in self._reads.get(care_unit, ()):
            read.forget(window, now)
        self.snapshots.forget(care_unit, window, now)

    def _land(self, snapshot: Snapshot, reads: Iterable[PendingRead]) -> None:
        """Keep what a call brought, correct what others will bring, and outdate what says something else."""
        self._outdate(snapshot, reads)
        self.watch(snapshot)
        self.snapshots.keep(snapshot)

    def _outdate(self, snapshot: Snapshot, reads: Iterable[PendingRead]) -> None:
        """Correct what other calls will bring, and outdate the answers in use that say something else."""
        answer, step = snapshot.answer, snapshot.step
        for other in reads:
            other.note(snapshot)
        compared = 0
        for older, (asked, reader) in list(self._answers.get(step.care_unit, {}).items()):
            if older.is_outdated or not asked.window.overlaps(step.window) or not filters_meet(asked, step):
                continue
            compared += 1 + min(len(older), len(answer)) // _SLOTS_A_LIST
            # More are not looked at: to make an answer anew costs no call as a rule.
            is_own = reader is snapshot.reader
            is_other = None if compared > _MOST_COMPARED else differs(older, asked, answer, step, leaves_unnamed=is_own)
            older.is_outdated = is_other is not False

    def watch(self, snapshot: Snapshot) -> None:
        """Outdate an answer when a newer one says something else, or cannot be told from it, as long as it is used."""
        step = snapshot.step
        answers = self._answers.get(step.care_unit)
        if answers is None:
            if len(self._answers) >= self._most_units:
                self._answers = {care_unit: each for care_unit, each in self._answers.items() if each}
                self._most_units = max(_MOST_UNITS, 2 * len(self._answers))
            answers = self._answers[step.care_unit] = WeakKeyDictionary()
        answers[snapshot.answer] = step, snapshot.reader

    def _on_done(self, step: Step, call: SharedCall[TimeslotList]) -> None:
        if call.answer is not None:
            self._failed_at.pop(step.care_unit, None)
        elif call.joinable:
            self._failed_at[step.care_unit] = self._clock()
        calls = self._pending[step.care_unit]
        if calls.get(step) is call:
            del calls[step]
            del self._counting[step]
        if not calls:
            del self._pending[step.care_unit]


@dataclass(slots=True, eq=False)
class MissingRange:
    """A range of a part's window to call for, on behalf of a query; nothing waits for it where a stale one is known."""

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
