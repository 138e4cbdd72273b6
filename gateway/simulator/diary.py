"""A care unit's free times, ready to be asked: found by bisection, kept as finished JSON."""

import math
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson

from gateway.simulator.manners import Manners
from gateway.simulator.slots import Timeslot

_Wording = tuple[bool, bool, bool]
"""Whether the resource is told, whether the service is told, whether times are in UTC."""


@dataclass(frozen=True, slots=True)
class SlotQuery:
    """What a timeslots call asks; times are seconds since 1970."""

    start: float
    end: float
    resource_id: str | None
    service_id: str | None


class Stretch(NamedTuple):
    """Which slots a query finds; windows that differ only where nothing begins or ends come down to one stretch."""

    resource_id: str | None
    service_id: str | None
    low: int
    high: int
    last_end: float


class _Shelf(NamedTuple):
    """The slots of one filter in order, with their starts, and their ends in an order of their own."""

    slots: list[Timeslot]
    starts: list[float]
    ends: list[float]


class Diary:
    """The free times of one care unit."""

    def __init__(self, slots: Sequence[Timeslot], zone: ZoneInfo) -> None:
        self._slots = slots
        self._zone = zone
        self._shelves: dict[tuple[str | None, str | None], _Shelf] = {}
        self._texts: dict[_Wording, list[bytes]] = {}

    def stretch(self, query: SlotQuery, *, by_start: bool) -> Stretch:
        """Look up which slots a query finds."""
        _, starts, ends = self._shelf(query.resource_id, query.service_id)
        low, high = bisect_left(starts, query.start), bisect_left(starts, query.end)
        ended = bisect_right(ends, query.end)
        last_end = math.inf if by_start else ends[ended - 1] if ended else -math.inf
        return Stretch(query.resource_id, query.service_id, low, high, last_end)

    def find(self, stretch: Stretch) -> list[Timeslot]:
        """Give the slots of a stretch, in the order in which an answer gives them."""
        slots = self._shelf(stretch.resource_id, stretch.service_id).slots[stretch.low : stretch.high]
        return sorted((slot for slot in slots if slot.end <= stretch.last_end), key=lambda slot: slot.rank)

    def write(self, slots: Sequence[Timeslot], manners: Manners) -> bytes:
        """Write slots as a JSON array."""
        wording = (
            manners.resource_ids == "named",
            manners.service_ids == "named",
            manners.time_format == "utc",
        )
        texts = self._texts.get(wording)
        if texts is None:
            texts = self._texts[wording] = self._word(*wording)
        return b"[" + b",".join([texts[slot.rank] for slot in slots]) + b"]"

    def _shelf(self, resource_id: str | None, service_id: str | None) -> _Shelf:
        # Ids are checked before they come here, so there are no more shelves than resources times services.
        shelf = self._shelves.get((resource_id, service_id))
        if shelf is None:
            slots = [
                slot
                for slot in self._slots
                if resource_id in (None, slot.resource_id) and service_id in (None, slot.service_id)
            ]
            shelf = _Shelf(slots, [slot.start for slot in slots], sorted(slot.end for slot in slots))
            self._shelves[resource_id, service_id] = shelf
        return shelf

    def _word(self, resource_told: bool, service_told: bool, utc: bool) -> list[bytes]:  # noqa: FBT001 # a wording, unpacked
        zone: tzinfo = UTC if utc else self._zone
        texts = [b""] * len(self._slots)
        for slot in self._slots:
            texts[slot.rank] = orjson.dumps(
                {
                    "start": datetime.fromtimestamp(slot.start, zone),
                    "end": datetime.fromtimestamp(slot.end, zone),
                    "resource_id": slot.resource_id if resource_told else None,
                    "healthcare_service_id": slot.service_id if service_told else None,
                    "x_simulated": True,
                },
                option=orjson.OPT_UTC_Z,
            )
        return texts


class AnswerMemo:
    """Finished bodies of recent timeslots answers, at most so many bytes of them."""

    def __init__(self, max_bytes: int = 64 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._bodies: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> bytes | None:
        """Give the body that was kept under a key."""
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def keep(self, key: tuple[object, ...], body: bytes) -> None:
        """Keep a body; the longest unused ones give way."""
        self._bodies[key] = body
        self._bytes += len(body)
        while self._bytes > self._max_bytes:
            _, dropped = self._bodies.popitem(last=False)
            self._bytes -= len(dropped)
