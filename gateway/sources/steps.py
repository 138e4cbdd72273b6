"""Timeslot calls of the whole process: those in flight, and what they bring, remembered for seconds."""

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from gateway.domain.ehr import EhrProfile
from gateway.domain.models import CareUnitKey
from gateway.domain.planning import Lists, Step
from gateway.domain.rendered import Rendered
from gateway.domain.timeslots import TimeslotList
from gateway.sources.backend import SchedulingBackend
from gateway.sources.flights import Flight
from gateway.sources.memory import SECONDS_BETWEEN_REFRESHES
from gateway.sources.profiles import Profiles
from gateway.sources.reading import Origin, Read, Reading
from gateway.sources.snapshots import Snapshot, Snapshots

_MOST_UNITS_LEARNED = 10_000


class StepSource:
    """Where readers get the answers to steps."""

    def __init__(
        self, backend: SchedulingBackend, profiles: Profiles, snapshots: Snapshots, clock: Callable[[], float]
    ) -> None:
        self.profiles = profiles
        self.snapshots = snapshots
        self._backend = backend
        self._clock = clock
        self._flights: defaultdict[CareUnitKey, dict[Step, Flight[TimeslotList]]] = defaultdict(dict)
        self._nameless: dict[CareUnitKey, Lists] = {}
        self._exact: set[str] = set()
        self._failed_at: dict[CareUnitKey, float] = {}

    def profile(self, care_unit: CareUnitKey) -> EhrProfile:
        """What is known of the care unit's EHR. Raises BadUserInput where it is not configured."""
        profile = self.profiles.of(care_unit.emr)
        nameless = self._nameless.get(care_unit)
        if nameless is None:
            return profile
        return profile.after_nameless(resource=nameless.resources, service=nameless.services)

    def learn(self, proved: EhrProfile) -> None:
        """An EHR takes the calls that a profile allows, and no looser ones; what slots name is of a care unit."""
        known = self.profiles.of(proved.code)
        self.profiles.remember(replace(proved, names_resource=known.names_resource, names_service=known.names_service))

    def learn_nameless(self, care_unit: CareUnitKey, found: Lists) -> None:
        """Slots of a care unit did not say whose they are."""
        known = self._nameless.pop(care_unit, Lists())
        if len(self._nameless) >= _MOST_UNITS_LEARNED:
            del self._nameless[next(iter(self._nameless))]
        self._nameless[care_unit] = Lists(known.resources or found.resources, known.services or found.services)

    def rounds(self, emr: str) -> bool:
        """Whether windows are fetched to the end of their last day."""
        return self.snapshots.lifetimes.fresh > 0 and emr not in self._exact

    def learn_exact(self, emr: str) -> None:
        """An EHR refused a window that was fetched to the end of its last day, and took the window itself."""
        self._exact.add(emr)

    def in_flight(self, care_unit: CareUnitKey, reading: Reading) -> Mapping[Step, Flight[TimeslotList]]:
        """The calls for a care unit that a request may wait for."""
        running = self._flights.get(care_unit)
        if not running:
            return {}
        return {step: flight for step, flight in running.items() if flight.joinable and flight.started >= reading.since}

    def launch(self, step: Step, gate: Semaphore, reading: Reading) -> Flight[TimeslotList]:
        """Begin a call, which the request has taken before; the request holds it."""
        flight = self._begun(step, gate)
        reading.hold(flight)
        self.note(step, Origin.FETCHED, flight.started, reading)
        return flight

    def refresh(self, step: Step, gate: Semaphore, reading: Reading) -> None:
        """Have an answer fetched anew, unless that is under way; nobody waits for it, so it holds itself.

        A request that has no calls left does without, and so does one that comes soon after a call failed.
        """
        failed_at = self._failed_at.get(step.care_unit)
        if failed_at is not None and self._clock() - failed_at < SECONDS_BETWEEN_REFRESHES:
            return
        flight = self.in_flight(step.care_unit, reading).get(step)
        if flight is not None:
            flight.hold()
        elif reading.has_calls_left:
            reading.take()
            self._begun(step, gate)

    def join(self, step: Step, flight: Flight[TimeslotList], reading: Reading) -> None:
        """Hold a call that another request began."""
        reading.hold(flight.hold())
        self.note(step, Origin.JOINED, flight.started, reading)

    def note(self, step: Step, origin: Origin, fetched_at: float, reading: Reading) -> None:
        """Tell a request's reading what it got."""
        subject = (*step.care_unit, step.window, step.resource, step.service)
        is_overdue = origin is Origin.STALE and step.care_unit in self._failed_at
        read = Read("timeslots", subject, origin, fetched_at, is_overdue)
        reading.note(read, fetched_at + self.snapshots.lifetimes.fresh)

    def is_fresh(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot needs no refresh."""
        return self._clock() - snapshot.fetched_at < self.snapshots.lifetimes.fresh

    def _begun(self, step: Step, gate: Semaphore) -> Flight[TimeslotList]:
        started = self._clock()
        flight: Flight[TimeslotList] = Flight(self._call(step, gate, started), started, partial(self._landed, step))
        self._flights[step.care_unit][step] = flight
        return flight

    async def _call(self, step: Step, gate: Semaphore, started: float) -> TimeslotList:
        async with gate:
            answer = await self._backend.timeslots(step)
        if self.snapshots.lifetimes.fresh:
            answer.rendered = Rendered(self.snapshots.room(len(answer)))
            self.snapshots.keep(Snapshot(step, answer, started))
        return answer

    def _landed(self, step: Step, flight: Flight[TimeslotList]) -> None:
        self._note_failure(step.care_unit, flight)
        running = self._flights[step.care_unit]
        if running.get(step) is flight:
            del running[step]
        if not running:
            del self._flights[step.care_unit]

    def _note_failure(self, care_unit: CareUnitKey, flight: Flight[TimeslotList]) -> None:
        if flight.answer is not None:
            self._failed_at.pop(care_unit, None)
        elif flight.joinable:
            if len(self._failed_at) >= _MOST_UNITS_LEARNED:
                del self._failed_at[next(iter(self._failed_at))]
            self._failed_at[care_unit] = self._clock()
