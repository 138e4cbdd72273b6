"""Keyed digests of what may not be kept, and appointment ids that are sealed to the caller to whom they were given.

Both come from a secret of their own, so that Leyr's can be rotated without losing them. While it is rotated itself, the
former one is accepted beside it: what was kept under it has to be found, or a key would book a second time.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.domain.ids import is_usable
from gateway.domain.models import CareUnitKey

# Bytes are written in letters, two each: digits may look like personal numbers, and letters of base64 may hide some.
_LETTERS = "abcdefghijklmnop"
_MAC_BYTES = 16
_SEPARATOR = "."
_LONGEST = 16_384
_LEAST_BYTES = 32


@dataclass(frozen=True, slots=True)
class AppointmentKey:
    """The identity of an appointment within Leyr."""

    care_unit: CareUnitKey
    leyr_id: str


@dataclass(frozen=True, slots=True)
class BookingSecret:
    """The secret that bookings are kept under, and the one before it. Raises ValueError where one is too short."""

    current: bytes = field(repr=False)
    former: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if any(each is not None and len(each) < _LEAST_BYTES for each in (self.current, self.former)):
            raise ValueError(f"a booking secret has at least {_LEAST_BYTES} bytes")

    def digest(self, purpose: str, *parts: str) -> bytes:
        """The keyed digest of some texts for a purpose; nobody without the secret can tell what they were."""
        return _mac(self.current, purpose, parts)

    def digests(self, purpose: str, *parts: str) -> tuple[bytes, ...]:
        """The digests under which something may have been kept: that of now, and that of the former secret."""
        return tuple(_mac(secret, purpose, parts) for secret in (self.current, self.former) if secret is not None)

    def seal(self, appointment: AppointmentKey, caller: str) -> str:
        """The id under which a caller knows an appointment; it is of no use to any other."""
        parts = *appointment.care_unit, appointment.leyr_id
        mac = _mac(self.current, "appointment", (caller, *parts))[:_MAC_BYTES]
        return _written(mac) + _SEPARATOR + _written(_joined(parts))

    def open(self, text: str, caller: str) -> AppointmentKey | None:
        """The appointment of an id that was sealed to a caller; None for any other text."""
        mac, separator, rest = text.partition(_SEPARATOR)
        given, plain = _read(mac), _read(rest) if len(text) <= _LONGEST else None
        parts = None if plain is None else _split(plain)
        if given is None or not separator or parts is None or len(parts) != 3 or not all(map(is_usable, parts)):  # noqa: PLR2004 # EHR, care unit, appointment
            return None
        expected = self.digests("appointment", caller, *parts)
        if not any(hmac.compare_digest(each[:_MAC_BYTES], given) for each in expected):
            return None
        return AppointmentKey(CareUnitKey(parts[0], parts[1]), parts[2])


def _mac(secret: bytes, purpose: str, parts: Iterable[str]) -> bytes:
    return hmac.digest(secret, _joined((purpose, *parts)), sha256)


def _joined(parts: Iterable[str]) -> bytes:
    """Texts as bytes that no other texts give: each behind its length."""
    encoded = [each.encode("utf-8", "surrogatepass") for each in parts]
    return b"".join(len(each).to_bytes(4, "big") + each for each in encoded)


def _split(joined: bytes) -> list[str] | None:
    found, place = [], 0
    while place < len(joined):
        length = int.from_bytes(joined[place : place + 4], "big")
        part = joined[place + 4 : place + 4 + length]
        if len(part) != length:
            return None
        try:
            found.append(part.decode())
        except UnicodeDecodeError:
            return None
        place += 4 + length
    return found


def _written(data: bytes) -> str:
    return data.hex().translate(_TO_LETTERS)


def _read(text: str) -> bytes | None:
    """The bytes that letters stand for; None where it is not written in exactly this way."""
    if len(text) % 2 or not set(text) <= set(_LETTERS):
        return None
    return bytes.fromhex(text.translate(_FROM_LETTERS))


_TO_LETTERS = str.maketrans("0123456789abcdef", _LETTERS)
_FROM_LETTERS = str.maketrans(_LETTERS, "0123456789abcdef")
