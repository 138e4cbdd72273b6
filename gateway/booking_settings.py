"""The settings about booking."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from gateway.auth.caller import patient_kinds
from gateway.booking.booking_secret import BookingSecret
from gateway.domain.appointments import NO_BOOKING, BookingRights


class BookingSettings(BaseModel):
    """Settings about booking."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    gateway_journal: Path | Literal["shared"] | None = None
    """The SQLite file of idempotency keys, on a disk of this machine, or `shared`; without it no bookings are taken."""
    gateway_booking_secret: SecretStr | None = None
    """At least 32 characters, for digests and appointment ids; `GATEWAY_BOOKING_SECRET_FILE` may name its file."""
    gateway_booking_secret_former: SecretStr | None = None
    """The secret before that one, accepted beside it; `GATEWAY_BOOKING_SECRET_FORMER_FILE` may name its file."""
    gateway_booking_seconds: float = Field(20, gt=0, le=120)
    """For how long a call that books or changes an appointment may take."""
    gateway_booking_landing_seconds: float = Field(15, ge=1, le=600)
    """How long after that time what a call wrote may still show in the EHR, before it counts as not booked."""
    gateway_bookings_per_minute: int = Field(600, ge=1, le=1_000_000)
    """How many bookings and changes a minute a caller may ask for; the same key counts once."""
    gateway_bookings_per_patient: int = Field(60, ge=1, le=1_000_000)
    """How many bookings an hour may be asked for one patient, as far as its name or number tells that it is one."""
    gateway_anonymous_booking: bool = False
    """Whether callers without a key or a token may book."""
    gateway_anonymous_patient_by: Annotated[tuple[str, ...], NoDecode] = ("details",)
    """Comma-separated ways in which those may name patients: `leyr_id`, `emr_id`, `national_number`, `details`."""

    @field_validator("gateway_booking_secret", "gateway_booking_secret_former")
    @classmethod
    def _check_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            BookingSecret(_bytes(value))
        return value

    @field_validator("gateway_anonymous_patient_by")
    @classmethod
    def _check_kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if patient_kinds(value) is None:
            raise ValueError("name some of leyr_id, emr_id, national_number and details")
        return value

    @model_validator(mode="after")
    def _check_secret_is_there(self) -> Self:
        if self.gateway_booking_secret is None:
            if self.gateway_journal is not None:
                raise ValueError("GATEWAY_JOURNAL needs GATEWAY_BOOKING_SECRET")
            if self.gateway_booking_secret_former is not None:
                raise ValueError("GATEWAY_BOOKING_SECRET_FORMER is the one before GATEWAY_BOOKING_SECRET: set that too")
        return self

    @property
    def booking_secret(self) -> BookingSecret | None:
        """The secret, with the former one; None where there is none."""
        if self.gateway_booking_secret is None:
            return None
        former = self.gateway_booking_secret_former
        return BookingSecret(_bytes(self.gateway_booking_secret), None if former is None else _bytes(former))

    @property
    def anonymous_rights(self) -> BookingRights:
        """What callers without a credential may do."""
        kinds = patient_kinds(self.gateway_anonymous_patient_by) or frozenset()
        return BookingRights(may_book=True, patient_by=kinds) if self.gateway_anonymous_booking else NO_BOOKING


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode("utf-8", "surrogateescape")
