"""Node ids: base64 of `Type:` and the percent-encoded parts, joined by `/`, or by `,` in a timeslot's id.

Relay's Global Object Identification leaves the form open; Leyr's ids are not known to be unique across care
units and EHRs (leyr-api 3.1), so a node id holds the EHR and the care unit too.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from functools import lru_cache
from string import ascii_letters
from typing import ClassVar, TypeAlias
from urllib.parse import quote, unquote

from gateway.domain.errors import BadUserInput
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.timeslots import instant

_LONGEST_ID = 1024
# Two UUIDs and a bit; thousands of much longer ids would take tens of megabytes.
_LONGEST_CACHED_IDS = 100
# What percent-encoding leaves alone (RFC 3986, 2.3); most ids hold nothing else, and quote takes ten times as long.
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
# Control characters, and halves of surrogate pairs, which no encoding takes.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")


class NodeType(StrEnum):
    """The types that have node ids."""

    EMR = "Emr"
    CARE_UNIT = "CareUnit"
    RESOURCE = "Resource"
    HEALTHCARE_SERVICE = "HealthcareService"
    TIMESLOT = "Timeslot"


@dataclass(frozen=True, slots=True)
class EmrId:
    """The decoded node id of an EHR."""

    type: ClassVar = NodeType.EMR
    emr: str


@dataclass(frozen=True, slots=True)
class NodeId:
    """The decoded node id of an object that Leyr lists; `leyr_id` is Leyr's own id of it."""

    type: NodeType
    care_unit: CareUnitKey
    leyr_id: str

    @property
    def emr(self) -> str:
        """The EHR's code."""
        return self.care_unit.emr


@dataclass(frozen=True, slots=True)
class TimeslotId:
    """The decoded node id of a timeslot: all that tells it from another one, and all that booking it needs.

    Instants have no offset of their own, since slots that differ in nothing but an offset are one slot.
    """

    type: ClassVar = NodeType.TIMESLOT
    care_unit: CareUnitKey
    start: datetime
    end: datetime | None
    resource: str | None
    service: str | None

    @property
    def emr(self) -> str:
        """The EHR's code."""
        return self.care_unit.emr

    def is_of(self, slot: Timeslot) -> bool:
        """Whether it is the id of a slot of its care unit."""
        return (
            (self.resource, self.service) == (slot.resource_id, slot.healthcare_service_id)
            and self.start == instant(slot.start)
            and self.end == (None if slot.end is None else instant(slot.end))
        )


AnyNodeId: TypeAlias = EmrId | NodeId | TimeslotId


def emr_id(code: str) -> str:
    """The node id of an EHR."""
    return _encode(NodeType.EMR, code)


def care_unit_id(key: CareUnitKey) -> str:
    """The node id of a care unit."""
    return _encode(NodeType.CARE_UNIT, *key)


def node_id(node_type: NodeType, key: CareUnitKey, leyr_id: str) -> str:
    """The node id of a resource or service of a care unit."""
    if len(key.care_unit) + len(leyr_id) > _LONGEST_CACHED_IDS:
        return _encode(node_type, *key, leyr_id)
    return _cached_node_id(node_type, key, leyr_id)


# The same nodes come back in every answer.
@lru_cache(maxsize=4_096)
def _cached_node_id(node_type: NodeType, key: CareUnitKey, leyr_id: str) -> str:
    return _encode(node_type, *key, leyr_id)


class TimeslotIds:
    """Writes the node ids of a care unit's timeslots.

    A date in digits, and any digits side by side, may look like a personal number, and so may what a run of letters
    says in base64. So instants are written in a few letters, and a comma, which is no part of either, is between all
    parts. What is null is `*`, which percent-encoding leaves in no text.
    """

    __slots__ = ("_owners", "_prefix", "_times")

    def __init__(self, care_unit: CareUnitKey) -> None:
        self._prefix = f"{NodeType.TIMESLOT}:{','.join(map(_quoted, care_unit))},"
        # Thousands of slots share few times and owners.
        self._times = _Written(_written_instant)
        self._owners = _Written(_quoted)

    def __call__(self, slot: Timeslot) -> str:
        """The node id of a slot."""
        times, owners = self._times, self._owners
        plain = (
            f"{self._prefix}{times[slot.start]},{times[slot.end]},"
            f"{owners[slot.resource_id]},{owners[slot.healthcare_service_id]}"
        )
        return b2a_base64(plain.encode(), newline=False).decode()


class _Written(dict[str | None, str]):
    """How texts are written in an id, each found out once; of too many, all are forgotten."""

    def __init__(self, write: Callable[[str], str]) -> None:
        super().__init__(_NO_TEXTS)
        self._write = write

    def __missing__(self, text: str) -> str:
        if len(self) >= _MOST_WRITTEN:
            self.clear()
            self.update(_NO_TEXTS)
        written = self[text] = self._write(text)
        return written


def parse_node_id(text: str) -> AnyNodeId:
    """Decode a node id. Raises BadUserInput where this gateway cannot have given it out."""
    found = _decode(text)
    if found is None:
        raise BadUserInput("This is not a node id; pass an `id` that this gateway gave out, unchanged")
    return found


def leyr_id_within(text: str, node_type: NodeType, care_unit: CareUnitKey) -> str:
    """Leyr's own id of a resource or service of `care_unit`, from its node id or from the raw Leyr id.

    Raises BadUserInput where the node id is of another type or another care unit, or the id is unusable.
    """
    found = leyr_id_if_within(text, node_type, care_unit)
    if found is None:
        raise BadUserInput(f"This {node_type} belongs to another care unit")
    return found


def leyr_id_if_within(text: str, node_type: NodeType, care_unit: CareUnitKey) -> str | None:
    """The same; None where the node id is of another care unit."""
    found = _decode(text)
    if found is None:
        return checked_leyr_id(text)
    if found.type is not node_type:
        raise BadUserInput(f"This is the id of a {found.type}; pass the id of a {node_type}")
    return found.leyr_id if isinstance(found, NodeId) and found.care_unit == care_unit else None


def checked_leyr_id(text: str) -> str:
    """The id itself, if it can stand in a URL as one segment. Raises BadUserInput."""
    if not is_usable(text):
        raise BadUserInput(
            "An id may not be empty, `.` or `..`, hold control characters, or be longer than "
            f"{_LONGEST_ID} characters; pass an id that this gateway gave out, unchanged"
        )
    return text


def is_usable(leyr_id: str) -> bool:
    """Whether an id can stand in a URL as one segment that no server rewrites."""
    return 0 < len(leyr_id) <= _LONGEST_ID and leyr_id not in {".", ".."} and _UNPRINTABLE.search(leyr_id) is None


def _quoted(part: str) -> str:
    return part if _UNRESERVED.fullmatch(part) else quote(part, safe="")


def _encode(node_type: NodeType, *parts: str) -> str:
    return b64encode(f"{node_type}:{'/'.join(map(_quoted, parts))}".encode()).decode()


def _decode(text: str) -> AnyNodeId | None:
    """The node id, or None where the text is a raw id. Raises BadUserInput for a broken node id."""
    try:
        kind, colon, path = b64decode(text, validate=True).decode().partition(":")
        node_type = NodeType(kind)
    except (Base64Error, ValueError):
        return None
    if not colon:
        raise _damaged()
    if node_type is NodeType.TIMESLOT:
        return _decoded_timeslot(path, text)
    parts = [unquote(part) for part in path.split("/")]
    if len(parts) != _PARTS.get(node_type, 3) or _encode(node_type, *parts) != text:
        raise _damaged()
    for part in parts:
        checked_leyr_id(part)
    if node_type is NodeType.EMR:
        return EmrId(parts[0])
    return NodeId(node_type, CareUnitKey(parts[0], parts[1]), parts[-1])


def _decoded_timeslot(path: str, text: str) -> TimeslotId:
    """The id of a timeslot whose parts are in `path`. Raises BadUserInput where it is written in any other way."""
    parts = path.split(",")
    if len(parts) != _TIMESLOT_PARTS:
        raise _damaged()
    emr, care_unit, start, end, resource, service = (None if part == _NULL else unquote(part) for part in parts)
    if emr is None or care_unit is None or start is None:
        raise _damaged()
    begins, ends = _read_instant(start), None if end is None else _read_instant(end)
    key = CareUnitKey(emr, care_unit)
    slot = Timeslot(begins.isoformat(), None if ends is None else ends.isoformat(), resource, service)
    if TimeslotIds(key)(slot) != text:
        raise _damaged()
    for part in (emr, care_unit, resource, service):
        if part is not None:
            checked_leyr_id(part)
    return TimeslotId(key, begins, ends, resource, service)


def _damaged() -> BadUserInput:
    return BadUserInput("This node id is damaged; pass an `id` that this gateway gave out, unchanged")


def _written_instant(text: str) -> str:
    """An instant in letters: whole seconds, and behind a dot the microseconds, if there are any."""
    since = instant(text) - _FIRST_INSTANT + _DAY
    seconds = _in_letters(since.days * 86_400 + since.seconds)
    return f"{seconds}.{_in_letters(since.microseconds)}" if since.microseconds else seconds


def _read_instant(written: str) -> datetime:
    """The instant that letters stand for. Raises BadUserInput."""
    seconds, _, microseconds = written.partition(".")
    if not _INSTANT.fullmatch(written):
        raise _damaged()
    since = timedelta(seconds=_from_letters(seconds), microseconds=_from_letters(microseconds)) - _DAY
    # What an EHR wrote with an offset at either end of the calendar lies beyond it in UTC.
    for offset in (timedelta(0), -_NEARLY_A_DAY, _NEARLY_A_DAY):
        try:
            return (_FIRST_INSTANT + (since + offset)).replace(tzinfo=timezone(offset))
        except OverflowError:
            continue
    raise _damaged()


def _in_letters(number: int) -> str:
    letters = ""
    while number:
        number, last = divmod(number, len(ascii_letters))
        letters = ascii_letters[last] + letters
    return letters


def _from_letters(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * len(ascii_letters) + ascii_letters.index(letter)
    return number


_PARTS = {NodeType.EMR: 1, NodeType.CARE_UNIT: 2}
_TIMESLOT_PARTS = 6
_NULL = "*"
_NO_TEXTS: dict[str | None, str] = {None: _NULL}
_MOST_WRITTEN = 10_000
_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
_DAY = timedelta(days=1)
# The most that RFC 3339 can write as an offset.
_NEARLY_A_DAY = timedelta(hours=23, minutes=59)
# Seven letters are enough for the seconds of ten thousand years; twelve together could say something in base64.
_INSTANT = re.compile(r"[A-Za-z]{1,7}(\.[A-Za-z]{1,4})?")
