"""Decodes Leyr's lists tolerantly (leyr-api 11.1): strict and fast first, item by item where that fails."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast

import msgspec

from gateway.domain.errors import UpstreamAnswerTooLarge, UpstreamInvalidAnswer
from gateway.domain.pieces import PIECE, SIMPLE, Pieces, batches, whole
from gateway.domain.timeslots import instant

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """A list's items, how many were dropped since they had no identity, and whether an object wrapped the list.

    `times` are the texts in the fields that hold times, `text_bytes` is the most that all texts may take in memory.
    """

    items: list[T]
    dropped: int = 0
    wrapped: bool = False
    times: frozenset[str] | set[str] = frozenset()
    text_bytes: int = 0


class _AnyObject(msgspec.Struct, gc=False):
    """An object whose fields are read past."""


_OBJECTS = msgspec.json.Decoder(list[_AnyObject])
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_WRAPPER = msgspec.json.Decoder(dict[str, msgspec.Raw])
# An empty object and a comma.
_MIN_ITEM_BYTES = 3
# The items of a smaller body are made before they are counted, which takes a few dozen milliseconds at most.
_MIN_COUNTED_BYTES = 2 * 1024 * 1024
# What is read in one go where a list is not quite as documented: a row of it, and an object around it.
_MAX_ROW_BYTES = 64 * 1024
_MAX_WRAPPED_BYTES = 2 * 1024 * 1024


class ListDecoder(Generic[T]):
    """Decodes lists of one struct; an item whose `identity` field is missing, null or empty is dropped."""

    def __init__(self, item: type[T], identity: str, *, max_items: int, instants: tuple[str, ...] = ()) -> None:
        """Lists of more than `max_items` are refused.

        `instants` names the fields that hold times; they come out as RFC 3339 text with an offset.
        """
        self._item = item
        self._identity = identity
        self._max_items = max_items
        self._instants = instants
        self._readers = [attrgetter(field) for field in instants]
        self._strict = msgspec.json.Decoder(list[item])  # type: ignore[valid-type] # built from a run-time type

    def decode(self, body: bytes | bytearray) -> Decoded[T]:
        """Raises UpstreamInvalidAnswer where the body is not a list of what it should hold, or one that is too long."""
        return self.decode_simply(body) or whole(self.decode_in_pieces(body))

    def decode_simply(self, body: bytes | bytearray) -> Decoded[T] | None:
        """The list, by the shortest way; None where it is long, or anything else than most are."""
        try:
            items = self._strict.decode(body) if len(body) < _MIN_COUNTED_BYTES else []
        except (msgspec.ValidationError, *_NOT_JSON):
            return None
        if not items or len(items) > min(SIMPLE, self._max_items):
            return None
        times = self._times(items)
        if not times:
            return Decoded(items)
        if max(map(len, times)) > _LONGEST_TIME or not all(map(_is_rfc3339, times)):
            return None
        return Decoded(items, times=times, text_bytes=_text_bytes(body))

    def decode_in_pieces(self, body: bytes | bytearray) -> Pieces[Decoded[T]]:
        """The same for a large body."""
        try:
            self._check_length(body)
            try:
                decoded = Decoded(self._strict.decode(body))
            except msgspec.ValidationError:
                decoded = yield from self._decode_tolerantly(body)
        except _NOT_JSON:
            raise UpstreamInvalidAnswer("Leyr's answer is not JSON") from None
        if len(decoded.items) + decoded.dropped > self._max_items:
            raise _too_long()
        # Few items may be as large, and what was received in one turn must not all be decoded in it.
        if len(decoded.items) > PIECE or len(body) >= _MIN_COUNTED_BYTES:
            yield
        times = self._times(decoded.items)
        # A short list takes no further generator.
        is_short = len(times) <= PIECE
        if max(map(len, times), default=0) > _LONGEST_TIME or not (
            all(map(_is_rfc3339, times)) if is_short else (yield from _are_rfc3339(times))
        ):
            decoded = replace(decoded, items=(yield from self._normalised(decoded.items, times)))
            times = self._times(decoded.items)
        return replace(decoded, times=times, text_bytes=_text_bytes(body)) if times else decoded

    def _check_length(self, body: bytes | bytearray) -> None:
        """Count the items of a list before they are made. Raises UpstreamInvalidAnswer."""
        if len(body) < max(self._max_items * _MIN_ITEM_BYTES, _MIN_COUNTED_BYTES):
            return
        # Each item has a brace; where they are more than the items may be, some may belong to what items hold.
        braces = body.count(b"{")
        if braces > self._max_items:
            with suppress(msgspec.ValidationError):  # not a list of objects, which is found out later
                # Of almost nothing but braces there are more than can be counted in one go.
                if braces > len(body) // (_MIN_ITEM_BYTES + 1) or len(_OBJECTS.decode(body)) > self._max_items:
                    raise _too_long()

    def _decode_tolerantly(self, body: bytes | bytearray) -> Pieces[Decoded[T]]:
        """Drop items without identity, and take empty texts for missing ones."""
        listed = body
        if not _is_list_of_objects(body):
            yield
            listed = _unwrapped(body)
            self._check_length(listed)
            if not _is_list_of_objects(listed):
                raise _other_than_promised()
        yield
        items: list[T] = []
        rows = _ROWS.decode(listed)
        read = 0
        for raw in rows:
            row = bytes(raw)
            read += len(row) + _MAX_ROW_BYTES // PIECE
            if read > _MAX_ROW_BYTES:
                read = 0
                yield
            item = self._item_of(row)
            if item is not None:
                items.append(item)
        if rows and not items:
            raise UpstreamInvalidAnswer("No item of Leyr's list says what it is")
        return Decoded(items, len(rows) - len(items), wrapped=listed is not body)

    def _item_of(self, row: bytes) -> T | None:
        """The item in a row; None where it lacks its identity."""
        if len(row) > _MAX_ROW_BYTES:
            raise _other_than_promised()
        found: dict[str, Any] = msgspec.json.decode(row)
        filled = {key: value for key, value in found.items() if value != ""}
        if filled.get(self._identity) is None:
            return None
        try:
            return msgspec.convert(filled, self._item)
        except msgspec.ValidationError:
            raise _other_than_promised() from None

    def _times(self, items: Sequence[T]) -> set[str]:
        texts: set[str | None] = set()
        for read in self._readers:
            texts.update(map(read, items))
        texts.discard(None)
        return cast("set[str]", texts)

    def _normalised(self, items: Sequence[T], times: Iterable[str]) -> Pieces[list[T]]:
        """The items with their times as RFC 3339 text."""
        texts: dict[str | None, str | None] = {None: None}
        for batch in batches(times):
            texts.update((text, _normalised(text)) for text in batch)
            yield
        changed: list[T] = []
        for some in batches(items):
            for item in some:
                fields = {field: texts[getattr(item, field)] for field in self._instants}
                changed.append(msgspec.structs.replace(item, **fields))
            yield
        return changed


def _too_long() -> UpstreamAnswerTooLarge:
    return UpstreamAnswerTooLarge("Leyr's list holds more items than the gateway reads")


def _text_bytes(body: bytes | bytearray) -> int:
    """The most bytes that the texts of a JSON body take: one character beyond ASCII may make all others wider."""
    # To look for one byte takes a hundredth of the time that it takes to look for two.
    is_plain = body.isascii() and (b"\\" not in body or b"\\u" not in body)
    return len(body) if is_plain else 4 * len(body)


def _is_list_of_objects(body: bytes | bytearray) -> bool:
    try:
        _OBJECTS.decode(body)
    except msgspec.ValidationError:
        return False
    return True


def _unwrapped(body: bytes | bytearray) -> bytes:
    """The list inside an object that holds just one; an object with a field for errors is no list."""
    if len(body) > _MAX_WRAPPED_BYTES:
        raise _too_long()
    with suppress(msgspec.ValidationError):
        found = _WRAPPER.decode(body)
        if not {"error", "errors", "code"} & found.keys():
            lists = [value for value in map(bytes, found.values()) if value.startswith(b"[")]
            if len(lists) == 1:
                return lists[0]
    raise UpstreamInvalidAnswer("Leyr's answer is not a list")


def _other_than_promised() -> UpstreamInvalidAnswer:
    return UpstreamInvalidAnswer("Leyr's list holds something else than promised")


def _normalised(text: str) -> str:
    """A time as RFC 3339 text. Raises UpstreamInvalidAnswer."""
    try:
        time = instant(text).isoformat()
    except ValueError:
        raise UpstreamInvalidAnswer("Leyr's list holds a time without an offset, or none at all") from None
    if not _is_rfc3339(time):
        raise UpstreamInvalidAnswer("Leyr's list holds a time whose offset is not of whole minutes")
    return time


def _are_rfc3339(times: Iterable[str]) -> Pieces[bool]:
    for batch in batches(times):
        if not all(map(_is_rfc3339, batch)):
            return False
        yield
    return True


# The same times come back in one clinic's response after the other.
@lru_cache(maxsize=16_384)
def _is_rfc3339(text: str) -> bool:
    if _RFC_3339.fullmatch(text) is None:
        return False
    try:
        instant(text)
    except ValueError:
        return False
    return True


_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Longer texts are no such times, and must not get into the cache.
_LONGEST_TIME = len("2026-12-01T09:00:00.000000+01:00")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
