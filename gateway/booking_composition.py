"""What booking is made of, joined: its secret, its journal, its rates, what hears of it, and the service that books."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import structlog

from gateway.auth.rate_limit import BookingRates, RateSharing, Reached
from gateway.booking.booking_secret import BookingSecret
from gateway.booking.bookings import Bookings as JournaledBookings
from gateway.booking.caller_bookings import BookingEvent, Bookings, BookingService
from gateway.booking.dependencies import BookingConfig, BookingDependencies
from gateway.booking.journal import JournalUnavailableError
from gateway.booking.journal_events import JournalEvents
from gateway.booking.sqlite_journal import SqliteJournal
from gateway.booking.turns import Turns
from gateway.fetch.booked_times import BookedTimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.leyr.appointments_client import AppointmentsClient
from gateway.leyr.client import LeyrTransport
from gateway.leyr.resilience import UpstreamPolicies
from gateway.settings import Settings, SettingsError
from gateway.telemetry.journal_log import JournalLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_log import BookingLog
from gateway.time_and_chance import TimeAndChance

if TYPE_CHECKING:
    from gateway.booking.shared_journal import SharedJournal
    from gateway.shared_composition import Shared

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
    names: Callable[[], bytes] | None
    bookings: Bookings | None = None
    journal: "SqliteJournal | SharedJournal | None" = None
    own: JournaledBookings | None = None
    client: AppointmentsClient | None = None

    @classmethod
    def of(  # noqa: PLR0917 # time and chance are handed in
        cls,
        settings: Settings,
        outside: TimeAndChance,
        bookings: Bookings | None,
        now: Callable[[], datetime],
        metrics: Metrics | None,
        shared: "Shared | None",
        log: structlog.typing.FilteringBoundLogger,
    ) -> "Booking":
        """What the settings say; without a secret of theirs one is made that lasts as long as the process.

        Raises SettingsError where the journal cannot be used.
        """
        found, observe = settings.booking_secret, (lambda _: None) if metrics is None else metrics.bookings.journal_took
        secret = found or BookingSecret(outside.new_secret())
        if bookings is not None or found is None or settings.gateway_journal is None:
            return cls(secret, None, bookings)
        if isinstance(settings.gateway_journal, Path):
            journal, names = _in_a_file(settings.gateway_journal, found, outside, now, observe)
            if metrics is not None:
                metrics.bookings.journal_bytes = partial(getattr, journal, "size_bytes")
            return cls(secret, lambda: names, None, journal)
        if shared is None:
            raise SettingsError("GATEWAY_JOURNAL=shared needs GATEWAY_SHARED_URL")
        in_store = _in_the_store(shared, found, outside, now, JournalLog(log), observe)
        return cls(secret, lambda: in_store.names, None, in_store)

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
        """What says with which secret the names of tokens' callers are made.

        Where there is a journal it keeps that: these names must outlive the process, and a rotation of secrets, as
        their keys do.
        """
        if self.names is not None:
            return self.names
        own = new_secret()
        return lambda: own

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


def _in_a_file(
    path: Path,
    secret: BookingSecret,
    outside: TimeAndChance,
    now: Callable[[], datetime],
    observe: Callable[[float], None],
) -> tuple[SqliteJournal, bytes]:
    """The journal in a file, and the secret of callers' names that it keeps. Raises SettingsError."""
    digests = secret.digests("journal")
    new_owner = partial(_owner, outside.new_secret)
    journal = SqliteJournal(path, new_owner, now, digests, observe=observe, clock=outside.clock)
    try:
        return journal, journal.kept_secret("names", outside.new_secret())
    except JournalUnavailableError as error:
        raise SettingsError(f"GATEWAY_JOURNAL: {error}") from None


def _in_the_store(  # noqa: PLR0917 # time and chance are handed in
    shared: "Shared",
    secret: BookingSecret,
    outside: TimeAndChance,
    now: Callable[[], datetime],
    events: JournalEvents,
    observe: Callable[[float], None],
) -> "SharedJournal":
    # It seals with what is of an extra, as the store's library is.
    from gateway.booking.journal_session import JournalSecrets, JournalSession  # noqa: PLC0415 # as said above
    from gateway.booking.shared_journal import SharedJournal  # noqa: PLC0415 # as said above

    secrets = JournalSecrets(
        sealing=secret.digests("journal entries"),
        digests=secret.digests("journal"),
        names=secret.digest("journal names"),
    )
    session = JournalSession(shared.store, secrets, events, now=now, new_secret=outside.new_secret)
    new_owner = partial(_owner, outside.new_secret)
    return SharedJournal(session, new_owner, observe=observe, clock=outside.clock)


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
