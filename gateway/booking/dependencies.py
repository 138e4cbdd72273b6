"""What bookings need from outside, and the times and numbers that bound them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.booking.backend import AppointmentBackend, FreeTimes
from gateway.booking.journal import Journal
from gateway.booking.requests import Digests
from gateway.booking.turns import Turns
from gateway.domain.appointments import Capabilities, Support
from gateway.domain.models import CareUnitKey


@dataclass(frozen=True, slots=True)
class BookingConfig:
    """Seconds, and numbers, that bound bookings.

    `call_seconds` is the longest time of a call, with all that it waits for, and `margin_seconds` how much later it may
    begin or land; `turn_seconds` how long a request waits for others of the same time, `wait_seconds` how long for its
    outcome, and `list_seconds` for what the EHR lists before the call. `most_at_once` are under way in a process.
    """

    call_seconds: float = 20.0
    margin_seconds: float = 15.0
    turn_seconds: float = 15.0
    wait_seconds: float = 30.0
    list_seconds: float = 5.0
    most_at_once: int = 1_000
    stop_seconds: float = 25.0

    @property
    def landing(self) -> timedelta:
        """After how much time nothing of a call can land any more."""
        return timedelta(seconds=self.call_seconds + self.margin_seconds)

    @property
    def latest_start(self) -> timedelta:
        """How long after it was written as sent a call may begin at most."""
        return timedelta(seconds=self.margin_seconds / 3)


@dataclass(frozen=True, slots=True)
class BookingDependencies:
    """What all attempts share."""

    journal: Journal
    backend: AppointmentBackend
    free_times: FreeTimes
    digests: Digests
    capabilities: Callable[[CareUnitKey], Capabilities]
    now: Callable[[], datetime]
    config: BookingConfig
    turns: Turns
    unlisted: set[str]
    """The EHRs that refused to list appointments."""
    listed: set[str] = field(default_factory=set)
    """The EHRs that have listed some."""

    def lists_appointments(self, care_unit: CareUnitKey) -> bool:
        """Whether an EHR may list appointments, as far as is known."""
        return care_unit.emr not in self.unlisted and self.capabilities(care_unit).list_appointments is not Support.NO

    def surely_lists_appointments(self, care_unit: CareUnitKey) -> bool:
        """Whether it is known that an EHR lists appointments, so that one that fails to will do so later."""
        is_told = self.capabilities(care_unit).list_appointments is Support.YES or care_unit.emr in self.listed
        return is_told and care_unit.emr not in self.unlisted
