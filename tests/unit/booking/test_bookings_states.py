"""Bookings under every mixture of faults: calls that are lost before and after the write or land late, processes that
die at any step, a journal that cannot be written, clients that leave and come again with the same key.

At the end the EHR's own list is the judge: no key booked twice, none is told of an appointment that another made, none
is told that there is none where there is one, and each has a definite outcome where the EHR lists appointments.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.booking.requests import BookRequest
from gateway.domain.appointments import Capabilities, Support
from gateway.domain.booking import (
    AwaitingConfirmation,
    Booked,
    BookingFailureReason,
    BookingResult,
    Outcome,
    Refused,
    Taken,
    Unknown,
    Wish,
)
from gateway.domain.ids import TimeslotId
from gateway.domain.patients import Country, NationalNumber, Patient, PatientByLeyrId, PatientDetails
from tests.unit.booking.model_ehr import Fate, ModelAppointments, slot
from tests.unit.booking.processes import Machine, Process

CALLER = "page"
SLOTS = [slot(60), slot(70), slot(120), slot(60, "r2"), slot(60, None)]
PATIENTS: list[Patient] = [
    PatientByLeyrId("tolvan"),
    PatientByLeyrId("annan"),
    PatientDetails("Tolvan", "Tolvansson"),
    NationalNumber(Country.SE, "191212121212"),
]
NOT_YET = {BookingFailureReason.NOT_SENT, BookingFailureReason.IN_PROGRESS}
FATES = [Fate.ANSWERED, *Fate]


@dataclass
class Key:
    """What a client wants with a key, and what it was told."""

    name: str
    request: BookRequest
    told: list[Outcome] = field(default_factory=list)

    @property
    def definite(self) -> Outcome | None:
        return next((each for each in self.told if is_definite(each)), None)


def is_definite(outcome: Outcome) -> bool:
    return not isinstance(outcome, Unknown) and not (isinstance(outcome, Refused) and outcome.reason in NOT_YET)


def is_under_way(key: Key) -> bool:
    return key.definite is None


def is_by_number(key: Key) -> bool:
    return is_under_way(key) and isinstance(key.request.patient, NationalNumber)


class BookingsUnderFaults(RuleBasedStateMachine):
    @initialize(
        checks=st.booleans(),
        lists=st.sampled_from([True, True, False]),
        capacity=st.sampled_from([1, 1, 2]),
        says=st.booleans(),
        seconds=st.sampled_from([0.5, 4.0, 19.0]),
    )
    def begin(self, checks: bool, lists: bool, capacity: int, says: bool, seconds: float) -> None:
        ehr = ModelAppointments(capacity, checks, lists, seconds=seconds)
        ehr.fate = lambda: self.fates.pop() if self.fates else Fate.ANSWERED
        self.fates: list[Fate] = []
        self.was_broken = False
        can = Capabilities()
        if says:
            yes_or_no = {True: Support.YES, False: Support.NO}
            can = Capabilities(checks_timeslots=yes_or_no[checks], list_appointments=yes_or_no[lists])
        self.machine = Machine(ehr, can)
        self.processes = [self.machine.process(), self.machine.process()]
        self.keys: dict[str, Key] = {}
        self.clients: list[tuple[Key, Process, asyncio.Task[Any]]] = []

    @rule(data=st.data(), process=st.integers(0, 1), fates=st.lists(st.sampled_from(FATES), max_size=3))
    def ask(self, data: st.DataObject, process: int, fates: list[Fate]) -> None:
        name = data.draw(st.sampled_from(["key 1", "key 2", "key 3", "key 4"]))
        if name not in self.keys:
            wanted = data.draw(st.lists(st.sampled_from(SLOTS), min_size=1, max_size=2, unique=True))
            patient = data.draw(st.sampled_from(PATIENTS))
            wishes = Wish.all_of(wanted, resource="r1")
            self.keys[name] = Key(name, BookRequest(wishes, patient, name))
        self.fates = fates
        self._begin(self.keys[name], self.processes[process])

    def _begin(self, key: Key, process: Process) -> None:
        work = process.bookings.book(CALLER, key.name, key.request)
        self.clients.append((key, process, self.machine.start(process, work)))
        self.machine.wait(0)

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), process=st.integers(0, 1))
    def ask_for_the_outcome(self, data: st.DataObject, process: int) -> None:
        key = self.keys[data.draw(st.sampled_from(sorted(self.keys)))]
        work = self.processes[process].bookings.outcome(CALLER, key.name)
        self.clients.append((key, self.processes[process], self.machine.start(self.processes[process], work)))

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 5.0, 16.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.machine.wait(seconds)

    @rule(process=st.integers(0, 1), steps=st.integers(1, 12))
    def die_soon(self, process: int, steps: int) -> None:
        self.processes[process].steps_left = steps

    @rule(process=st.integers(0, 1))
    def die_now(self, process: int) -> None:
        self.machine.kill(self.processes[process])

    @rule(is_broken=st.booleans(), is_deaf=st.booleans(), is_list_sick=st.booleans())
    def break_or_mend(self, is_broken: bool, is_deaf: bool, is_list_sick: bool) -> None:
        self.machine.store.is_broken, self.machine.store.is_deaf = is_broken, is_deaf
        self.was_broken |= is_broken or is_deaf
        self.machine.ehr.is_list_sick = is_list_sick

    @precondition(lambda self: not any(map(is_by_number, self.keys.values())))
    @rule(slot=st.sampled_from(SLOTS), patient=st.sampled_from(["tolvan", "a stranger"]))
    def book_at_the_desk(self, slot: TimeslotId, patient: str) -> None:
        """The clinic books somebody at the same time, beside us.

        Of a patient by number alone, it could not be told from the call's own while that is under way.
        """
        # The same patient at the same time would be in the EHR, whoever booked it.
        if patient == "a stranger" or not any(is_under_way(each) for each in self.keys.values()):
            self.machine.ehr.book_at_the_desk(Wish(slot, slot.resource or "r1", slot.service), patient)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        _, _, task = self.clients[data.draw(st.integers(0, len(self.clients) - 1))]
        task.cancel()
        self.machine.wait(0)

    @invariant()
    def the_dead_are_followed_by_others(self) -> None:
        for number, process in enumerate(getattr(self, "processes", [])):
            if process.is_dead:
                self.machine.kill(process)
                self.processes[number] = self.machine.process()

    @invariant()
    def what_is_told_is_true(self) -> None:
        for client in list(getattr(self, "clients", [])):
            key, process, task = client
            if task.done():
                self.clients.remove(client)
                # What a process says whose journal has stopped for it, since it is dead, reaches nobody.
                if process.is_dead:
                    continue
                if not task.cancelled() and task.exception() is None and task.result() is not None:
                    self._hear(key, task.result())
        for key in getattr(self, "keys", {}).values():
            assert len(self.machine.ehr.of_key(key.name)) <= 1, f"{key.name} booked twice"

    def _hear(self, key: Key, result: BookingResult) -> None:
        outcome, first = result.outcome, key.definite
        made = [each.appointment.leyr_id for each in self.machine.ehr.of_key(key.name)]
        if isinstance(outcome, Booked | AwaitingConfirmation):
            assert [outcome.appointment.leyr_id] == made, f"{key.name} was given another's"
        elif isinstance(outcome, Taken) or (isinstance(outcome, Refused) and outcome.reason not in NOT_YET):
            assert made == [], f"{key.name} is denied what it has"
        if first is not None and is_definite(outcome):
            # Why nothing was booked is forgotten where the journal cannot be written and the process dies.
            is_alike = self.was_broken and made == []
            assert outcome == first or is_alike, f"{key.name} was told two things"
        key.told.append(outcome)

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        try:
            self._ask_until_told()
        finally:
            self.machine.close()

    def _ask_until_told(self) -> None:
        self.machine.store.is_broken = self.machine.store.is_deaf = self.machine.ehr.is_list_sick = False
        self.fates = []
        self.machine.wait(200)
        self.the_dead_are_followed_by_others()
        self.what_is_told_is_true()
        for key in self.keys.values():
            for process in self.processes:
                process.steps_left = None
                self._hear(key, self.machine.run(process, process.bookings.book(CALLER, key.name, key.request)))
                self.machine.wait(60)
            assert key.definite is not None or not self._can_be_told(key), f"{key.name} stays {key.told[-1]}"
            self.what_is_told_is_true()

    def _can_be_told(self, key: Key) -> bool:
        """Whether the EHR's list settles a key.

        Of a patient by number it must have been asked before the call, too, which is done where it is known to list.
        """
        if isinstance(key.request.patient, NationalNumber):
            return self.machine.capabilities.list_appointments is Support.YES
        return self.machine.ehr.lists


BookingsUnderFaults.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, phases=(Phase.generate,)
)
TestBookingsUnderFaults = BookingsUnderFaults.TestCase
