"""Timeslot calls of the whole process: those in call, and what they bring, from_cache for seconds."""

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.engine.lazy_list import FragmentCache
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot, Snapshots

_MOST_UNITS_LEARNED = 10_000


class TimeslotCalls:
    """Where readers get the answers to steps."""

    def __init__(
        self, backend: SchedulingBackend, profiles: Profiles, snapshots: Snapshots, clock: Callable[[], float]
    ) -> None:
        self.profiles = profiles
        self.snapshots = snapshots
        self._backend = backend
        self._clock = clock
        self._flights: defaultdict[CareUnitKey, dict[Step, SharedCall[TimeslotList]]] = defaultdict(dict)
        self._lacks_owner: dict[CareUnitKey, UnitLists] = {}
        self._exact: set[str] = set()
        self._failed_at: dict[CareUnitKey, float] = {}

    def profile(self, care_unit: CareUnitKey) -> EhrProfile:
        """What is known of the care unit's EHR. Raises BadUserInput where it is not configured."""
        profile = self.profiles.of(care_unit.emr)
        lacks_owner = self._lacks_owner.get(care_unit)
        if lacks_owner is None:
            return profile
        return profile.after_lacking_owner(resource=lacks_owner.resources, service=lacks_owner.services)

    def learn(self, proved: EhrProfile) -> None:
        """An EHR takes the calls that a profile allows, and no looser ones; what slots name is of a care unit."""
        known = self.profiles.of(proved.code)
        self.profiles.remember(replace(proved, names_resource=known.names_resource, names_service=known.names_service))

    def learn_lacks_owner(self, care_unit: CareUnitKey, found: UnitLists) -> None:
        """Slots of a care unit did not say whose they are."""
        known = self._lacks_owner.pop(care_unit, UnitLists())
        if len(self._lacks_owner) >= _MOST_UNITS_LEARNED:
            del self._lacks_owner[next(iter(self._lacks_owner))]
        self._lacks_owner[care_unit] = UnitLists(known.resources or found.resources, known.services or found.services)

    def rounds(self, emr: str) -> bool:
        """Whether windows are fetched to the end of their last day."""
        return self.snapshots.lifetimes.fresh > 0 and emr not in self._exact

    def learn_exact(self, emr: str) -> None:
        """An EHR refused a window that was fetched to the end of its last day, and took the window itself."""
        self._exact.add(emr)

    def in_flight(self, care_unit: CareUnitKey, scope: FetchScope) -> Mapping[Step, SharedCall[TimeslotList]]:
        """The calls for a care unit that a request may wait for."""
        running = self._flights.get(care_unit)
        if not running:
            return {}
        return {step: call for step, call in running.items() if call.joinable and call.started >= scope.since}

    def launch(self, step: Step, gate: Semaphore, scope: FetchScope) -> SharedCall[TimeslotList]:
        """Begin a call, which the request has taken before; the request holds it."""
        call = self._begun(step, gate)
        scope.hold(call)
        self.note(step, CacheStatus.FETCHED, call.started, scope)
        return call

    def refresh(self, step: Step, gate: Semaphore, scope: FetchScope) -> None:
        """Have an answer fetched anew, unless that is under way; nobody waits for it, so it holds itself.

        A request that has no calls left does without, and so does one that comes soon after a call failed.
        """
        failed_at = self._failed_at.get(step.care_unit)
        if failed_at is not None and self._clock() - failed_at < SECONDS_BETWEEN_REFRESHES:
            return
        call = self.in_flight(step.care_unit, scope).get(step)
        if call is not None:
            call.hold()
        elif scope.has_calls_left:
            scope.take()
            self._begun(step, gate)

    def join(self, step: Step, call: SharedCall[TimeslotList], scope: FetchScope) -> None:
        """Hold a call that another request began."""
        scope.hold(call.hold())
        self.note(step, CacheStatus.JOINED, call.started, scope)

    def note(self, step: Step, origin: CacheStatus, fetched_at: float, scope: FetchScope) -> None:
        """Tell a request's scope what it got."""
        subject = (*step.care_unit, step.window, step.resource, step.service)
        is_overdue = origin is CacheStatus.STALE and step.care_unit in self._failed_at
        read = FetchRecord("timeslots", subject, origin, fetched_at, is_overdue)
        scope.note(read, fetched_at + self.snapshots.lifetimes.fresh)

    def is_fresh(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot needs no refresh."""
        return self._clock() - snapshot.fetched_at < self.snapshots.lifetimes.fresh

    def _begun(self, step: Step, gate: Semaphore) -> SharedCall[TimeslotList]:
        started = self._clock()
        call: SharedCall[TimeslotList] = SharedCall(
            self._call(step, gate, started), started, partial(self._landed, step)
        )
        self._flights[step.care_unit][step] = call
        return call

    async def _call(self, step: Step, gate: Semaphore, started: float) -> TimeslotList:
        async with gate:
            answer = await self._backend.timeslots(step)
        if self.snapshots.lifetimes.fresh:
            answer.fragments = FragmentCache(self.snapshots.room(len(answer)))
            self.snapshots.keep(Snapshot(step, answer, started))
        return answer

    def _landed(self, step: Step, call: SharedCall[TimeslotList]) -> None:
        self._note_failure(step.care_unit, call)
        running = self._flights[step.care_unit]
        if running.get(step) is call:
            del running[step]
        if not running:
            del self._flights[step.care_unit]

    def _note_failure(self, care_unit: CareUnitKey, call: SharedCall[TimeslotList]) -> None:
        if call.answer is not None:
            self._failed_at.pop(care_unit, None)
        elif call.joinable:
            if len(self._failed_at) >= _MOST_UNITS_LEARNED:
                del self._failed_at[next(iter(self._failed_at))]
            self._failed_at[care_unit] = self._clock()
