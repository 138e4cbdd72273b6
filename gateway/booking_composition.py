"""What booking is made of, joined: its secret, its rates, what hears of it, and the service that books."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.auth.rate_limit import BookingRates, Reached
from gateway.booking.booking_secret import BookingSecret
from gateway.booking.caller_bookings import BookingEvent, Bookings, BookingService
from gateway.settings import Settings
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_log import BookingLog


@dataclass(frozen=True, slots=True)
class Booking:
    """Booking as the whole gateway has it; without a journal `bookings` is None, and nothing is booked."""

    secret: BookingSecret
    is_configured: bool
    bookings: Bookings | None = None

    @classmethod
    def of(cls, settings: Settings, new_secret: Callable[[], bytes], bookings: Bookings | None) -> "Booking":
        """What the settings say; without a secret of theirs one is made that lasts as long as the process."""
        found = settings.booking_secret
        return cls(found or BookingSecret(new_secret()), found is not None, bookings)

    def naming_secret(self, new_secret: Callable[[], bytes]) -> Callable[[], bytes]:
        """What makes the secret of callers' names: those of tokens must outlive the process, as their keys do."""
        return (lambda: self.secret.digest("names of callers")) if self.is_configured else new_secret

    def service(
        self,
        settings: Settings,
        log: structlog.typing.FilteringBoundLogger,
        metrics: Metrics | None,
        clock: Callable[[], float],
        reached: Reached,
    ) -> BookingService:
        """What all requests share."""
        rates = BookingRates(clock, settings.gateway_bookings_per_patient, reached=reached)
        listeners = [BookingLog(log).booked, *([] if metrics is None else [metrics.bookings.booked])]

        def tell(event: BookingEvent) -> None:
            for each in listeners:
                each(event)

        return BookingService(self.bookings, self.secret, rates.take, tell, clock)
