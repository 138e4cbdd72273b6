"""What booking is made of, joined: its secret, its journal, its rates, what hears of it, and the service that books."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import NamedTuple, Self

import structlog

from gateway.auth.rate_limit import BookingRates, RateSharing, Reached
from gateway.booking.booking_secret import BookingSecret
from gateway.booking.bookings import Bookings as JournaledBookings
from gateway.booking.caller_bookings import BookingEvent, Bookings, BookingService
from gateway.booking.dependencies import BookingConfig, BookingDependencies
from gateway.booking.journal import JournalUnavailableError
from gateway.booking.sqlite_journal import SqliteJournal
from gateway.booking.turns import Turns
from gateway.fetch.booked_times import BookedTimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.leyr.appointments_client import AppointmentsClient
from gateway.leyr.client import LeyrTransport
from gateway.leyr.resilience import UpstreamPolicies
from gateway.settings import Settings, SettingsError
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_log import BookingLog

# Longer than a call, since what has to be looked up or asked before it takes time too.
_BESIDE_THE_CALL = 10.0
_OWNER_DIGITS = 32


class Upstream(NamedTuple):
    """What bookings have in common with reads."""

    transport: LeyrTransport
    policies: UpstreamPolicies
    catalog: Catalog
    calls: TimeslotCalls


@dataclass(frozen=True, slots=True)
class Booking:
    """Booking as the whole gateway has it; without a journal `bookings` is None, and nothing is booked.

    An async context manager, which opens the journal and at the end waits for what is under way.
    """

    secret: BookingSecret
    names: bytes | None
    bookings: Bookings | None = None
    journal: SqliteJournal | None = None
    own: JournaledBookings | None = None
    client: AppointmentsClient | None = None

    @classmethod
    def of(  # noqa: PLR0917 # time and chance are handed in
        cls,
        settings: Settings,
        new_secret: Callable[[], bytes],
        bookings: Bookings | None,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        metrics: Metrics | None,
    ) -> "Booking":
        """What the settings say; without a secret of theirs one is made that lasts as long as the process.

        Raises SettingsError where the journal cannot be used.
        """
        found, journal, names = settings.booking_secret, None, None
        if bookings is None and settings.gateway_journal is not None:
            observe = (lambda _: None) if metrics is None else metrics.bookings.journal_took
            digests = () if found is None else found.digests("journal")
            journal = SqliteJournal(
                settings.gateway_journal, lambda: _owner(new_secret), now, digests, observe=observe, clock=clock
            )
            try:
                names = journal.kept_secret("names", new_secret())
            except JournalUnavailableError as error:
                raise SettingsError(f"GATEWAY_JOURNAL: {error}") from None
            if metrics is not None:
                metrics.bookings.journal_bytes = partial(getattr, journal, "size_bytes")
        return cls(found or BookingSecret(new_secret()), names, bookings, journal)

    def over(
        self, upstream: Upstream, settings: Settings, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> "Booking":
        """The same with the service that books, where there is a journal."""
        if self.journal is None:
            return self
        profiles, seconds = upstream.calls.profiles, settings.gateway_booking_seconds
        client = AppointmentsClient(
            upstream.transport, upstream.policies, now, lambda unit: profiles.of_unit(unit).time_zone, seconds
        )
        own = JournaledBookings(
            BookingDependencies(
                journal=self.journal,
                backend=client,
                free_times=BookedTimes(upstream.calls, upstream.catalog, now, clock),
                digests=self.secret,
                capabilities=lambda unit: profiles.of_unit(unit).capabilities,
                now=now,
                config=_config(settings),
                turns=Turns(self.journal),
                unlisted=set(),
            )
        )
        return replace(self, bookings=own, own=own, client=client)

    async def __aenter__(self) -> Self:
        if self.own is not None and self.journal is not None:
            await self.journal.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.own is not None and self.journal is not None and self.client is not None:
            await self.own.close()
            await self.client.close()
            await self.journal.close()

    def naming_secret(self, new_secret: Callable[[], bytes]) -> Callable[[], bytes]:
        """What makes the secret of callers' names.

        Where there is a journal it keeps that: the names of tokens' callers must outlive the process, and a rotation of
        secrets, as their keys do.
        """
        names = self.names
        return new_secret if names is None else lambda: names

    def service(
        self,
        settings: Settings,
        log: structlog.typing.FilteringBoundLogger,
        metrics: Metrics | None,
        clock: Callable[[], float],
        reached: Reached,
        *,
        sharing: RateSharing | None = None,
    ) -> BookingService:
        """What all requests share."""
        rates = BookingRates(clock, settings.gateway_bookings_per_patient, reached=reached, sharing=sharing)
        listeners = [BookingLog(log).booked, *([] if metrics is None else [metrics.bookings.booked])]

        def tell(event: BookingEvent) -> None:
            for each in listeners:
                each(event)

        return BookingService(self.bookings, self.secret, rates.take, tell, clock)


def _config(settings: Settings) -> BookingConfig:
    seconds = settings.gateway_booking_seconds
    return BookingConfig(
        call_seconds=seconds,
        margin_seconds=settings.gateway_booking_landing_seconds,
        wait_seconds=seconds + _BESIDE_THE_CALL,
        stop_seconds=seconds,
    )


def _owner(new_secret: Callable[[], bytes]) -> str:
    """A name of this process, of random hexadecimal digits."""
    return sha256(new_secret()).hexdigest()[:_OWNER_DIGITS]
