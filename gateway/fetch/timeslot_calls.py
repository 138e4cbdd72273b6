"""The timeslot calls of all requests: the pending ones, the snapshots of their answers, and what they teach."""

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot, Snapshots

V = TypeVar("V")

_MOST_UNITS_REMEMBERED = 10_000


class TimeslotCalls:
    """Starts, shares and refreshes the calls of steps."""

    def __init__(
        self, backend: SchedulingBackend, profiles: Profiles, snapshots: Snapshots, clock: Callable[[], float]
    ) -> None:
        self.profiles = profiles
        self.snapshots = snapshots
        self._backend = backend
        self._clock = clock
        self._pending: defaultdict[CareUnitKey, dict[Step, SharedCall[TimeslotList]]] = defaultdict(dict)
        self._lacks_owner: dict[CareUnitKey, UnitLists] = {}
        self._not_rounded_up: set[str] = set()
        self._failed_at: dict[CareUnitKey, float] = {}

    def profile(self, care_unit: CareUnitKey) -> EhrProfile:
        """What is known of the care unit's EHR. Raises BadUserInput where it is not configured."""
        profile = self.profiles.of(care_unit.emr)
        lacks_owner = self._lacks_owner.get(care_unit)
        if lacks_owner is None:
            return profile
        return profile.after_lacking_owner(resource=lacks_owner.resources, service=lacks_owner.services)

    def learn(self, proved: EhrProfile) -> None:
        """Remember a filter policy that a call proved; whether slots name their owners is known of a care unit only."""
        known = self.profiles.of(proved.code)
        self.profiles.remember(replace(proved, names_resource=known.names_resource, names_service=known.names_service))

    def learn_lacks_owner(self, care_unit: CareUnitKey, found: UnitLists) -> None:
        """Remember that slots of a care unit did not name their resource, or their service."""
        known = self._lacks_owner.get(care_unit, UnitLists.NONE)
        _remember(self._lacks_owner, care_unit, known | found)

    def rounds_up(self, emr: str) -> bool:
        """Whether windows are rounded up to the end of their last day."""
        return self.snapshots.lifetimes.fresh > 0 and emr not in self._not_rounded_up

    def learn_not_to_round_up(self, emr: str) -> None:
        """Remember that an EHR refused a window that was rounded up, and accepted the window itself."""
        self._not_rounded_up.add(emr)

    def pending(self, care_unit: CareUnitKey, scope: FetchScope) -> Mapping[Step, SharedCall[TimeslotList]]:
        """The pending calls for a care unit that a request may join."""
        calls = self._pending.get(care_unit)
        if not calls:
            return {}
        return {step: call for step, call in calls.items() if call.joinable and call.started >= scope.since}

    def start(self, step: Step, semaphore: Semaphore, scope: FetchScope) -> SharedCall[TimeslotList]:
        """Start a call, which the request has counted before."""
        call = self._start(step, semaphore)
        scope.release_on_close(call)
        self.record(step, CacheStatus.FETCHED, call.started, scope)
        return call

    def refresh(self, step: Step, semaphore: Semaphore, scope: FetchScope) -> None:
        """Fetch an answer anew, unless that is under way; no request waits, so the first holder never releases it.

        A request that has no calls left starts none, and neither does one soon after a call failed.
        """
        failed_at = self._failed_at.get(step.care_unit)
        if failed_at is not None and self._clock() - failed_at < SECONDS_BETWEEN_REFRESHES:
            return
        call = self.pending(step.care_unit, scope).get(step)
        if call is not None:
            call.acquire()
        elif scope.has_calls_left:
            scope.count_calls()
            self._start(step, semaphore)

    def join(self, step: Step, call: SharedCall[TimeslotList], scope: FetchScope) -> None:
        """Acquire a call that another request started."""
        scope.release_on_close(call.acquire())
        self.record(step, CacheStatus.JOINED, call.started, scope)

    def record(self, step: Step, origin: CacheStatus, fetched_at: float, scope: FetchScope) -> None:
        """Record a read in a request's scope."""
        subject = (*step.care_unit, step.window, step.resource, step.service)
        is_overdue = origin is CacheStatus.STALE and step.care_unit in self._failed_at
        read = FetchRecord("timeslots", subject, origin, fetched_at, is_overdue)
        scope.record(read, fetched_at + self.snapshots.lifetimes.fresh)

    def is_fresh(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot needs no refresh."""
        return self._clock() - snapshot.fetched_at < self.snapshots.lifetimes.fresh

    def _start(self, step: Step, semaphore: Semaphore) -> SharedCall[TimeslotList]:
        started = self._clock()
        call: SharedCall[TimeslotList] = SharedCall(
            self._call(step, semaphore, started), started, partial(self._on_done, step)
        )
        self._pending[step.care_unit][step] = call
        return call

    async def _call(self, step: Step, semaphore: Semaphore, started: float) -> TimeslotList:
        async with semaphore:
            answer = await self._backend.timeslots(step)
        self.snapshots.keep(Snapshot(step, answer, started))
        return answer

    def _on_done(self, step: Step, call: SharedCall[TimeslotList]) -> None:
        if call.answer is not None:
            self._failed_at.pop(step.care_unit, None)
        elif call.joinable:
            _remember(self._failed_at, step.care_unit, self._clock())
        calls = self._pending[step.care_unit]
        if calls.get(step) is call:
            del calls[step]
        if not calls:
            del self._pending[step.care_unit]


def _remember(values: dict[CareUnitKey, V], care_unit: CareUnitKey, value: V) -> None:
    """Set the value of a care unit; of too many, the oldest is forgotten."""
    values.pop(care_unit, None)
    if len(values) >= _MOST_UNITS_REMEMBERED:
        del values[next(iter(values))]
    values[care_unit] = value
