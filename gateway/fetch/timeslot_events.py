"""What processes tell each other of a care unit's timeslots, in MessagePack: calls, bookings, and what calls brought.

Instants are microseconds of the shared store's clock; the edges of windows are microseconds since 1970.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec

from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.pieces import Pieces, batches
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Asked(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which timeslots a step asks for: those of a window, of a resource and of a service, None for all."""

    start: int
    end: int
    resource: str | None
    service: str | None

    @classmethod
    def of(cls, step: Step) -> "Asked":
        """What a step asks for, its care unit left out."""
        return cls(_micros(step.window.start), _micros(step.window.end), step.resource, step.service)

    def step(self, care_unit: CareUnitKey) -> Step:
        """The step again. Raises ValueError and OverflowError where it is none."""
        window = Window(_EPOCH + self.start * _MICROSECOND, _EPOCH + self.end * _MICROSECOND)
        return Step(care_unit, window, self.resource, self.service)


class Began(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A process begins a call, not before `at`. `call` names it and its lease, `reader` the request that makes it."""

    by: str
    call: str
    asked: Asked
    reader: str
    at: int


class Landed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """What a call brought is the value of that name, for those who want it; None where it is not shared.

    `began` and `last_began` are when the first and the last request was sent that brought it.
    """

    by: str
    call: str
    asked: Asked
    began: int
    last_began: int
    value: str | None


class Failed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """A call brought nothing."""

    by: str
    call: str


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    """Since an instant nothing is free that matches: a booking, or a refusal, said so."""

    by: str
    asked: Asked
    at: int


class Forgotten(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=5):
    """What was asked before an instant of a window may be wrong by now."""

    by: str
    asked: Asked
    at: int


TimeslotEvent: TypeAlias = Began | Landed | Failed | Taken | Forgotten


class _Value(msgspec.Struct, frozen=True, array_like=True):
    """An answer; its slots are in parts of so many, since to read a long list at once would hold everything else."""

    parts: Sequence[bytes]
    dropped: int
    text_bytes: int | None


_EVENTS: msgspec.msgpack.Decoder[TimeslotEvent] = msgspec.msgpack.Decoder(TimeslotEvent)
_VALUE = msgspec.msgpack.Decoder(_Value)
_SLOTS = msgspec.msgpack.Decoder(list[Timeslot])


def encoded(event: TimeslotEvent) -> bytes:
    """An event as bytes."""
    return msgspec.msgpack.encode(event)


def decoded(data: bytes) -> TimeslotEvent | None:
    """The event again; None where it is none."""
    try:
        return _EVENTS.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def encoded_answer(answer: TimeslotList) -> Pieces[bytes]:
    """What a call brought, as bytes."""
    parts = []
    for some in batches(answer.slots):
        parts.append(msgspec.msgpack.encode(some))
        yield
    return msgspec.msgpack.encode(_Value(parts, answer.dropped, answer.text_bytes))


def decoded_answer(data: bytes) -> Pieces[TimeslotList | None]:
    """What a call brought, in its order; None where it is not that."""
    slots: list[Timeslot] = []
    try:
        found = _VALUE.decode(data)
        for part in found.parts:
            slots += _SLOTS.decode(part)
            yield
    except (msgspec.DecodeError, RecursionError):
        return None
    answer = TimeslotList.presorted(slots)
    answer.dropped, answer.text_bytes = found.dropped, found.text_bytes
    return answer


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
