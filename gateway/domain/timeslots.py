"""Timeslots in order: sorted by start, then resource, then service, without duplicates."""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain, groupby, islice, pairwise
from operator import attrgetter, itemgetter, lt
from typing import Any, TypeAlias, cast

from gateway.domain.models import Timeslot
from gateway.domain.pieces import PIECE, SIMPLE, Pieces, batches, whole
from gateway.domain.window import Window

_MINUTE = timedelta(minutes=1)
_INT_LIMIT = 2**31
_SortKey: TypeAlias = tuple[Any, Any, Any]
_sort_key = attrgetter("start", "resource_id", "healthcare_service_id")
_Groups: TypeAlias = "dict[str | None, list[Timeslot] | TimeslotList]"


class TimeslotList:
    """An immutable, ordered list of timeslots that can be cut by window and by owner without looking at each.

    One that was cut by window alone is a stretch of another, `whole`, from `offset` on, whose indexes it uses.

    `derived` is for what others make of the whole list, to be kept as long as the list and shared with all its parts;
    `part` says which part of that whole this list is. `began` is the clock's seconds when the request that brought
    the list was sent, where that is known; where several brought it, that is the first, and `last_began` the last of
    them. `is_outdated` is set when a newer answer says something else. `dropped` is
    how many rows of an EHR's answer are missing in the whole, since they cannot be used; parts do not say so.
    """

    __slots__ = (
        "__weakref__",
        "_by_resource",
        "_by_service",
        "_first_positions",
        "began",
        "derived",
        "dropped",
        "is_outdated",
        "last_began",
        "offset",
        "part",
        "slots",
        "text_bytes",
        "whole",
    )

    def __init__(
        self, slots: Iterable[Timeslot] = (), *, times: Collection[str] | None = None, text_bytes: int | None = None
    ) -> None:
        """Sort slots that come in any order; `instant` must be able to read their times, which the decoder checks.

        `times` are the texts of all their times, where the caller has them; `text_bytes` is the most that all their
        texts may take in memory, where the caller knows.
        """
        self._set(whole(_sorted(list(slots), times)), None, (), text_bytes)

    @classmethod
    def in_order(
        cls, slots: Sequence[Timeslot], times: Collection[str], text_bytes: int | None = None
    ) -> "TimeslotList | None":
        """The list by the shortest way, where slots come in order, as from many EHRs; None where that does not tell."""
        if not _are_sorted(slots, times):
            return None
        made = _presorted(slots)
        made.text_bytes = text_bytes
        return made

    @classmethod
    def presorted(cls, slots: Sequence[Timeslot]) -> "TimeslotList":
        """The list of slots that are known to be in order, without duplicates."""
        return _presorted(slots)

    @classmethod
    def in_pieces(
        cls, slots: Iterable[Timeslot], times: Collection[str] | None = None, text_bytes: int | None = None
    ) -> "Pieces[TimeslotList]":
        """The same for a long list."""
        made = _presorted((yield from _sorted(list(slots), times)))
        made.text_bytes = text_bytes
        return made

    def _set(
        self, slots: Sequence[Timeslot], derived: object, part: tuple[Hashable, ...], text_bytes: int | None = None
    ) -> None:
        self.slots = tuple(slots)
        self.derived: Any = derived
        self.part = part
        self.text_bytes = text_bytes
        self.began: float | None = None
        self.last_began: float | None = None
        self.is_outdated = False
        self.dropped = 0
        self.whole: TimeslotList | None = None
        self.offset = 0
        self._by_resource: _Groups | None = None
        self._by_service: _Groups | None = None
        self._first_positions: array[int] | None = None

    def __len__(self) -> int:
        return len(self.slots)

    def within(self, window: Window) -> "TimeslotList":
        """The slots that belong to a window by their start."""
        low, high = self._bounds(window)
        if low == 0 and high == len(self.slots):
            return self
        made = self._part(self.slots[low:high], (low, high))
        made.whole, made.offset = self.whole or self, self.offset + low
        return made

    @property
    def first_positions(self) -> "array[int]":
        """The positions of those slots that are the first of their instant; found once."""
        if self._first_positions is None:
            self._first_positions = array("I", _first_positions(self.slots))
        return self._first_positions

    @property
    def resource_ids(self) -> Collection[str | None]:
        """The resources that slots name, None among them where some name none."""
        if self._by_resource is None:
            self._by_resource = self._grouped("resource_id")
        return self._by_resource.keys()

    @property
    def service_ids(self) -> Collection[str | None]:
        """The healthcare services that slots name, None among them where some name none."""
        if self._by_service is None:
            self._by_service = self._grouped("healthcare_service_id")
        return self._by_service.keys()

    def _bounds(self, window: Window) -> tuple[int, int]:
        """The indices of the first slot of a window, and of the first after it."""
        slots = self.slots
        if not slots:
            return 0, 0
        low = 0 if instant(slots[0].start) >= window.start else bisect_left(slots, window.start, key=_start)
        if instant(slots[-1].start) < window.end:
            return low, len(slots)
        return low, bisect_left(slots, window.end, low, key=_start)

    def of_resource(self, resource: str | None) -> "TimeslotList":
        """The slots that name a resource; None for those that name none."""
        if self._by_resource is None:
            self._by_resource = self._grouped("resource_id")
        return self._group(self._by_resource, "resource_id", resource)

    def of_service(self, service: str | None) -> "TimeslotList":
        """The slots that name a healthcare service; None for those that name none."""
        if self._by_service is None:
            self._by_service = self._grouped("healthcare_service_id")
        return self._group(self._by_service, "healthcare_service_id", service)

    def copy(self) -> "TimeslotList":
        """A whole of its own with the same slots, which keeps nothing that was derived from this list."""
        made = _presorted(self.slots)
        made.describe_as(self)
        return made

    def replaced(self, window: Window, slots: "TimeslotList") -> "TimeslotList":
        """A whole of its own with other slots in place of those of a window."""
        low, high = self._bounds(window)
        made = _presorted((*self.slots[:low], *slots.slots, *self.slots[high:]))
        made.describe_as(self)
        return made

    def describe_as(self, other: "TimeslotList") -> None:
        """Say of this whole what another says of itself: when it was asked for, what it lacks, and its size."""
        self.began, self.last_began = other.began, other.last_began
        self.text_bytes, self.dropped = other.text_bytes, other.dropped

    def where(self, wanted: Callable[[Timeslot], bool]) -> "TimeslotList":
        """The slots for which a condition is true."""
        return _presorted(list(filter(wanted, self.slots)))

    def _grouped(self, owner: str) -> _Groups:
        groups: defaultdict[str | None, list[Timeslot]] = defaultdict(list)
        named = map(attrgetter(owner), self.slots)
        for name, slot in zip(named, self.slots, strict=True):
            groups[name].append(slot)
        return cast("_Groups", groups)

    def _group(self, groups: _Groups, owner: str, name: str | None) -> "TimeslotList":
        # Few of many groups are asked for, so each becomes a list of its own only then.
        group = groups.get(name, _EMPTY)
        if isinstance(group, list):
            group = groups[name] = self._part(group, (owner, name))
        return group

    def _part(self, slots: Sequence[Timeslot], part: Hashable) -> "TimeslotList":
        return _presorted(slots, self.derived, (*self.part, part))


def joined(lists: Iterable[TimeslotList]) -> TimeslotList:
    """Several lists as one."""
    return whole(joined_in_pieces(lists))


def joined_in_pieces(lists: Iterable[TimeslotList]) -> Pieces[TimeslotList]:
    """The same for long lists."""
    filled = [each for each in lists if each.slots]
    if len(filled) <= 1:
        return filled[0] if filled else _EMPTY
    # The pieces of a window follow each other.
    in_order = sorted(filled, key=lambda each: _place(each.slots[0]))
    if all(_place(one.slots[-1]) < _place(other.slots[0]) for one, other in pairwise(in_order)):
        return _presorted(list(chain.from_iterable(each.slots for each in in_order)))
    return _presorted((yield from _sorted([slot for each in filled for slot in each.slots], None)))


def _presorted(slots: Sequence[Timeslot], derived: object = None, part: tuple[Hashable, ...] = ()) -> TimeslotList:
    made = TimeslotList.__new__(TimeslotList)
    made._set(slots, derived, part)  # noqa: SLF001 # another way to make one, kept out of the public constructor
    return made


def instant(text: str) -> datetime:
    """The instant that an ISO 8601 text with an offset names. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("no offset")
    return moment


def duration_minutes(slot: Timeslot) -> int | None:
    """Whole minutes from start to end; None where the end is not known, or is thousands of years away."""
    if slot.end is None:
        return None
    minutes = (instant(slot.end) - instant(slot.start)) // _MINUTE
    # GraphQL's Int has 32 bits, and such an end is an EHR's way of saying that there is none.
    return minutes if -_INT_LIMIT <= minutes < _INT_LIMIT else None


def _first_positions(slots: Sequence[Timeslot]) -> list[int]:
    """Where the start differs from that of the slot before; one instant may be written in several ways."""
    starts = [slot.start for slot in slots]
    found = [place for place, (one, next_one) in enumerate(pairwise(starts), 1) if one != next_one]
    if len({starts[place][19:] for place in (0, *found)} if starts else ()) > 1:
        found = [place for place in found if instant(starts[place]) != instant(starts[place - 1])]
    return [0, *found] if starts else []


def _start(slot: Timeslot) -> datetime:
    return instant(slot.start)


def _place(slot: Timeslot) -> tuple[datetime, str, str]:
    return (_start(slot), *_owner_or_empty(slot))


def _are_sorted(slots: Sequence[Timeslot], times: Collection[str]) -> bool:
    if len(slots) > SIMPLE:
        return False
    forms = {(len(text), text[19:]) for text in times}
    if len(forms) != 1 or "" in {offset for _, offset in forms}:
        return False
    try:
        # Times of one offset sort as text.
        return _is_rising(list(map(_sort_key, slots)))
    except TypeError:
        return False


def _sorted(slots: list[Timeslot], times: Collection[str] | None) -> Pieces[list[Timeslot]]:
    """Slots in order; many EHRs send them so, and then nothing is moved."""
    try:
        if _is_rising((yield from _sort_keys(slots, times))):
            return slots
    except TypeError:
        # A slot that names no owner stands beside one that does, and None has no place in the order of texts.
        pass
    yield
    return (yield from _sorted_by_instant(slots))


def _sort_keys(slots: Sequence[Timeslot], times: Collection[str] | None) -> Pieces[Sequence[_SortKey]]:
    starts = set(map(attrgetter("start"), slots)) if times is None else times
    forms: set[tuple[int, str]] = set()
    for batch in batches(starts) if len(starts) > PIECE else (starts,):
        forms.update({(len(text), text[19:]) for text in batch})
        if len(forms) > 1:
            break
        if len(starts) > PIECE:
            yield
    # Times of one offset sort as text. Else many slots share few times, so each text is read once.
    if len(forms) <= 1 and "" not in {offset for _, offset in forms}:
        return list(map(_sort_key, slots))
    seconds: dict[str, float] = {}
    for batch in batches(starts):
        seconds.update((text, instant(text).timestamp()) for text in batch)
        yield
    keys: list[_SortKey] = []
    for some in batches(slots):
        keys += [(seconds[slot.start], slot.resource_id, slot.healthcare_service_id) for slot in some]
        yield
    return keys


def _sorted_by_instant(slots: Iterable[Timeslot]) -> Pieces[list[Timeslot]]:
    """Slots in order. Many share few instants, so sorting within each costs less than sorting all."""
    texts: defaultdict[str, list[Timeslot]] = defaultdict(list)
    for some in batches(slots):
        for slot in some:
            texts[slot.start].append(slot)
        yield
    instants: defaultdict[float, list[Timeslot]] = defaultdict(list)
    for batch in batches(texts.items()):
        for text, group in batch:
            instants[instant(text).timestamp()] += group
        yield
    ordered: list[Timeslot] = []
    pause_at = PIECE
    for at in sorted(instants):
        group = instants[at]
        ordered += group if len(group) == 1 else (yield from _sorted_by_owner(group))
        if len(ordered) >= pause_at:
            pause_at = len(ordered) + PIECE
            yield
    return ordered


def _sorted_by_owner(slots: list[Timeslot]) -> Pieces[list[Timeslot]]:
    """Slots of one instant in the order of their resources and services, without duplicates."""
    owner: Callable[[Timeslot], tuple[Any, Any]] = attrgetter("resource_id", "healthcare_service_id")
    try:
        yield from _sort(slots, owner)
    except TypeError:
        owner = _owner_or_empty
        yield from _sort(slots, owner)
    if len(slots) > PIECE:
        yield
    owners = list(map(owner, slots))
    return slots if _is_rising(owners) else (yield from _without_duplicates(slots, owners))


def _sort(slots: list[Timeslot], key: Callable[[Timeslot], Any]) -> Pieces[None]:
    """Sort in place; of a long list the batches first, since what then is left is to merge them."""
    if len(slots) > PIECE:
        for low in range(0, len(slots), PIECE):
            slots[low : low + PIECE] = sorted(slots[low : low + PIECE], key=key)
            yield
    slots.sort(key=key)


def _owner_or_empty(slot: Timeslot) -> tuple[str, str]:
    return slot.resource_id or "", slot.healthcare_service_id or ""


def _is_rising(keys: Sequence[tuple[Any, ...]]) -> bool:
    return all(map(lt, keys, islice(keys, 1, None)))


def _without_duplicates(slots: Sequence[Timeslot], owners: Sequence[tuple[Any, Any]]) -> Pieces[list[Timeslot]]:
    """Of slots of one instant that are alike in owner and end, the last one; where only the ends differ, by end."""
    # Most duplicates are equal in every field.
    distinct = {(owner, slot.end): slot for owner, slot in zip(owners, slots, strict=True)}
    if len(distinct) == len(set(owners)):
        return list(distinct.values())
    seconds: dict[str | None, float] = {None: 0.0}
    for some in batches(slots):
        yield
        seconds.update((end, instant(end).timestamp()) for end in {slot.end for slot in some} if end is not None)
    yield
    kept: list[Timeslot] = []
    for _, group in groupby(zip(owners, slots, strict=True), key=itemgetter(0)):
        by_end = {seconds[slot.end]: slot for _, slot in group}
        kept += [by_end[end] for end in sorted(by_end)]
    return kept


_EMPTY = TimeslotList()
