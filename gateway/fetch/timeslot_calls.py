"""The timeslot calls of all requests: each is started once, shared while it is pending, and its answer cached."""

from asyncio import Semaphore, wait
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from cachetools import FIFOCache

from gateway.domain.call_count import FURTHER_CALLS
from gateway.domain.errors import UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step
from gateway.domain.read_order import differs, filters_meet, own_slots
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.backend import CountCalls, DividedCalls, SchedulingBackend, count_for_any
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES
from gateway.fetch.pending_reads import PendingRead
from gateway.fetch.profiles import Profiles
from gateway.fetch.shared_reads import Claim, Position, RemoteRead, SharedReads
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot, Snapshots

# Where an EHR wants a filter, one query may become a call for each resource; a clinic gets them a few at a time.
CALLS_AT_ONCE = 8
# How often a call is made where newer answers of unknown owners overtake it.
_MOST_READS = 3
# How many calls of other processes are waited for, each after the one before has failed.
_MOST_HOLDERS = 3
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
        self._shared: SharedReads | None = None
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

    def share(self, shared: "SharedReads") -> None:
        """Find out from now on what other processes do before a call is made, and tell them what this one does."""
        self._shared = shared

    def is_current(self, care_unit: CareUnitKey) -> bool:
        """Whether nothing is to be found out from other processes before calls for a care unit are planned."""
        return self._shared is None or self._shared.is_current(care_unit)

    def is_settled(self, care_unit: CareUnitKey) -> bool:
        """Whether nothing that other processes have brought is still to be remembered here."""
        return self._shared is None or self._shared.is_settled(care_unit)

    def position(self, care_unit: CareUnitKey) -> Position | None:
        """How much of what other processes said of a care unit is known here."""
        return None if self._shared is None else self._shared.position(care_unit)

    async def catch_up(self, care_unit: CareUnitKey) -> Sequence[SharedCall[TimeslotList]]:
        """Learn what other processes have fetched, and make their pending calls joinable here.

        Whoever has planned with these releases them: those that nobody joined end then.
        """
        if self._shared is None:
            return ()
        await self._shared.catch_up(care_unit)
        pending = self._shared.pending(care_unit)
        return [self._follow_remote(each) for each in pending if self.pending_call(each.read.step, -inf) is None]

    def _follow_remote(self, remote: "RemoteRead") -> SharedCall[TimeslotList]:
        work = self._of_remote(remote.read.step, remote)
        return self._begin(remote.read.step, remote.read.began, work, [_count_nothing])

    async def _of_remote(self, step: Step, remote: "RemoteRead | None") -> TimeslotList:
        """What another process's call brings; where it fails, what one brings that one of those who waited makes."""
        reader, claim = object(), None
        for _ in range(_MOST_HOLDERS):
            answer = None if remote is None else await remote.outcome()
            if answer is not None:
                return answer
            if self._shared is None:
                break
            claims = await self._shared.claim(step.care_unit, [step], reader, self._shared.position(step.care_unit))
            if claims is not None:
                claim = claims.get(step)
                break
            remote = next((each for each in self._shared.pending(step.care_unit) if each.read.step == step), None)
        count_calls = partial(count_for_any, self._counting.get(step) or [_count_nothing])
        return await self._call(PendingRead(step, reader), Semaphore(CALLS_AT_ONCE), count_calls, claim)

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

    async def claim(
        self, care_unit: CareUnitKey, steps: Iterable[Step], reader: object, after: Position | None = None
    ) -> Mapping[Step, Claim] | None:
        """Say that calls begin; None where anything was said after the position at which they were planned, if given.

        Then they are planned anew. What is not started has to be given back.
        """
        new = list(steps)
        if self._shared is None or not new:
            return {}
        return await self._shared.claim(care_unit, new, reader, after)

    def give_back(self, claims: Iterable[Claim]) -> None:
        """Say that calls bring nothing, those that are over left out."""
        for claim in claims:
            if self._shared is not None:
                self._shared.failed(claim)

    def start(
        self,
        step: Step,
        semaphore: Semaphore,
        reader: object,
        count_calls: CountCalls,
        claim: Claim | None = None,
    ) -> SharedCall[TimeslotList]:
        """Start a call that is counted already, for the request that `reader` stands for, with one holder.

        `count_calls` counts the calls that it takes beyond.
        """
        counting = [count_calls]
        call = self._call(PendingRead(step, reader), semaphore, partial(count_for_any, counting), claim)
        return self._begin(step, self._clock(), call, counting, claim)

    def _begin(
        self,
        step: Step,
        started: float,
        work: Coroutine[Any, Any, TimeslotList],
        counting: list[CountCalls],
        claim: Claim | None = None,
    ) -> SharedCall[TimeslotList]:
        call: SharedCall[TimeslotList] = SharedCall(work, started, partial(self._on_done, step, claim))
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

    async def _call(
        self, read: PendingRead, semaphore: Semaphore, count_calls: CountCalls, claim: Claim | None
    ) -> TimeslotList:
        step, shared = read.step, self._shared
        reads = self._reads[step.care_unit]
        reads.add(read)
        # The task keeps its context, so what is set there would keep requests in a cycle.
        counting = FURTHER_CALLS.set(count_calls)
        try:
            if shared is not None and claim is None:
                claims = await shared.claim(step.care_unit, [step], read.reader, None)
                claim = None if claims is None else claims.get(step)
            for number in range(_MOST_READS):
                if number:
                    count_calls(1)
                read.begin(self._clock(), was_overtaken=number > 0)
                answer = await self._divided.timeslots(step, semaphore, count_calls)
                began = max(read.began, answer.began or read.began)
                if shared is not None:
                    began = answer.began = shared.read_time(began)
                await read.wait_for_overtaken(reads, began)
                landed = await read.corrected(own_slots(step, answer), began)
                if landed is not None:
                    if shared is not None:
                        began = landed.began = shared.read_time(began)
                    snapshot = Snapshot(step, landed, began, read.reader)
                    self.land(snapshot, read)
                    if shared is not None:
                        # No answer shows it before the others heed it; whoever leaves ends the waiting alone.
                        await wait({shared.landed(claim, snapshot)})
                    return landed
        finally:
            FURTHER_CALLS.reset(counting)
            self.unfollow(read)
            if claim is not None and shared is not None:
                shared.failed(claim)
        raise UpstreamUnavailable("Newer answers overtook this one again and again", retryable=True)

    def overwrite(self, step: Step, answer: TimeslotList) -> None:
        """Put what a booking showed in place of what any call says that began before; it is not kept as a read."""
        self.overwrite_at(step, answer, self._clock())
        if self._shared is not None:
            self._shared.taken(step)

    async def tell_others(self) -> None:
        """Wait until other processes know of what bookings showed, or cannot be told now."""
        if self._shared is not None:
            await self._shared.tell_others()

    def overwrite_at(self, step: Step, answer: TimeslotList, at: float) -> None:
        """The same for what was known at an instant; other processes are not told."""
        known = Snapshot(step, answer, at, reader=object())
        self._outdate(known, self._reads.get(step.care_unit, ()))
        self.snapshots.overwrite(known)

    def forget(self, care_unit: CareUnitKey, window: Window) -> None:
        """Let a window be asked again: no request to come is answered from what began before."""
        self.forget_before(care_unit, window, self._clock())
        if self._shared is not None:
            self._shared.forgotten(care_unit, window)

    def forget_before(self, care_unit: CareUnitKey, window: Window, before: float) -> None:
        """The same for what began before an instant; other processes are not told."""
        pending = self._pending.get(care_unit, {})
        for step in [each for each, call in pending.items() if each.window.overlaps(window) and call.started < before]:
            # Those who wait for it get it; nobody joins it any more.
            del pending[step], self._counting[step]
        for read in self._reads.get(care_unit, ()):
            read.forget(window, before)
        self.snapshots.forget(care_unit, window, before)

    def overtake(self, step: Step, began: float) -> None:
        """Ask anew what may be older than what a call of another process has shown, which cannot be had."""
        self.forget_before(step.care_unit, step.window, began)
        for read in self._reads.get(step.care_unit, ()):
            if read.step.window.overlaps(step.window) and filters_meet(read.step, step):
                read.overtaken_by = max(read.overtaken_by, began)
        for older, (asked, _) in list(self._answers.get(step.care_unit, {}).items()):
            if asked.window.overlaps(step.window) and filters_meet(asked, step):
                older.is_outdated = True

    def follow(self, read: PendingRead) -> None:
        """Correct a call of another process by what lands here from now on, and by what is newer here already."""
        care_unit = read.step.care_unit
        self._reads[care_unit].add(read)
        for newer in self.snapshots.meeting(read.step):
            if newer.fetched_at > read.began:
                read.note(newer)

    def unfollow(self, read: PendingRead) -> None:
        """Forget a call that has landed or ended, of this process or another."""
        read.end()
        reads = self._reads.get(read.step.care_unit)
        if reads is not None:
            reads.discard(read)
            if not reads:
                del self._reads[read.step.care_unit]

    def may_contradict(self, read: PendingRead) -> bool:
        """Whether anything that is remembered, asked or shown here may be older than what a call has brought."""
        step = read.step
        if self.snapshots.meeting(step) or self._answers.get(step.care_unit):
            return True
        others = self._reads.get(step.care_unit, ())
        return any(each.began and each is not read and filters_meet(each.step, step) for each in others)

    def remembers(self, care_unit: CareUnitKey) -> bool:
        """Whether anything is remembered of a care unit."""
        return care_unit in self.snapshots

    def land(self, snapshot: Snapshot, read: PendingRead) -> None:
        """Keep what a call brought, of this process or another, and let what is to be asked anew be so."""
        care_unit = snapshot.step.care_unit
        reads = self._reads.get(care_unit, set())
        reads.discard(read)
        self._land(snapshot, reads)
        for window, before in read.forgotten:
            if before > snapshot.fetched_at:
                self.snapshots.forget(care_unit, window, before)

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

    def _on_done(self, step: Step, claim: Claim | None, call: SharedCall[TimeslotList]) -> None:
        if claim is not None:
            # One that was cancelled at once has not begun to run, and has said nothing.
            self.give_back([claim])
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


def _count_nothing(calls: int) -> None:
    """Count calls for nobody, as those who wait for another process's call have not to pay for one that fails."""
