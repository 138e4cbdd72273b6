"""What booking is made of, joined: its secret and its journal, its rates, what hears of it, and what books."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from gateway.auth.rate_limit import BookingRates, Reached
from gateway.booking.backend import AppointmentBackend, FreeTimes
from gateway.booking.booking_secret import BookingSecret
from gateway.booking.bookings import Bookings
from gateway.booking.caller_bookings import BookingEvent, BookingService
from gateway.booking.caller_bookings import Bookings as AnyBookings
from gateway.booking.dependencies import BookingConfig, BookingDependencies
from gateway.booking.journal import JournalUnavailableError
from gateway.booking.sqlite_journal import SqliteJournal
from gateway.booking.turns import Turns
from gateway.fetch.profiles import Profiles
from gateway.settings import Settings, SettingsError
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_log import BookingLog

# Whoever still waits was waited for before. What nobody waits for is looked up after the next start.
_STOP_SECONDS = 0.5


@dataclass(slots=True)
class Booking:
    """Booking as the whole gateway has it; without a journal nothing is booked, unless other `bookings` are given.

    `new_secret` gives 32 random bytes.
    """

    settings: Settings
    now: Callable[[], datetime]
    clock: Callable[[], float]
    log: structlog.typing.FilteringBoundLogger
    metrics: Metrics | None
    new_secret: Callable[[], bytes]
    given: AnyBookings | None = None
    secret: BookingSecret = field(init=False)
    journal: SqliteJournal | None = field(default=None, init=False)
    _made: Bookings | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        settings, metrics = self.settings, self.metrics
        # One that lasts as long as the process will do where nothing is kept.
        self.secret = settings.booking_secret or BookingSecret(self.new_secret())
        if settings.gateway_journal is not None:
            journal = SqliteJournal(settings.gateway_journal, self._new_owner, self.now)
            if metrics is not None:
                journal.observe = metrics.bookings.journal_took
                metrics.bookings.journal_bytes = lambda: journal.size_bytes
            self.journal = journal

    def naming_secret(self) -> bytes:
        """The secret of callers' names: those of tokens must outlive the process, as their keys do."""
        return self.new_secret() if self.settings.booking_secret is None else self.secret.digest("names of callers")

    def connect(self, backend: AppointmentBackend, free_times: FreeTimes, profiles: Profiles) -> None:
        """Book through Leyr's calls, and tell what is free of it, where there is a journal."""
        if self.journal is not None:
            self._made = self._bookings(self.journal, backend, free_times, profiles)

    def service(self, reached: Reached) -> BookingService:
        """What all requests share."""
        rates = BookingRates(self.clock, self.settings.gateway_bookings_per_patient, reached=reached)
        listeners = [BookingLog(self.log).booked, *([] if self.metrics is None else [self.metrics.bookings.booked])]

        def tell(event: BookingEvent) -> None:
            for each in listeners:
                each(event)

        return BookingService(self.given or self._made, self.secret, rates.take, tell, self.clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the journal open; at the end what is under way is waited for, within a bound. Raises SettingsError."""
        if self.journal is None:
            yield
            return
        try:
            await self.journal.__aenter__()
        except JournalUnavailableError as error:
            raise SettingsError(f"GATEWAY_JOURNAL: {error}") from None
        try:
            yield
        finally:
            if self._made is not None:
                await self._made.close()
            await self.journal.close()

    def _new_owner(self) -> str:
        return self.new_secret()[:16].hex()

    def _bookings(
        self, journal: SqliteJournal, backend: AppointmentBackend, free_times: FreeTimes, profiles: Profiles
    ) -> Bookings:
        seconds = self.settings.gateway_booking_seconds
        return Bookings(
            BookingDependencies(
                journal=journal,
                backend=backend,
                free_times=free_times,
                digests=self.secret,
                capabilities=lambda care_unit: profiles.of_unit(care_unit).capabilities,
                now=self.now,
                config=BookingConfig(call_seconds=seconds, wait_seconds=seconds + 10, stop_seconds=_STOP_SECONDS),
                turns=Turns(journal),
                unlisted=set(),
            )
        )
