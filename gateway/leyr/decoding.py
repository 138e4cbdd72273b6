"""Decodes Leyr's lists tolerantly (leyr-api 11.1): strict and fast first, item by item where that fails."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast

import msgspec

from gateway.domain.errors import UpstreamInvalidAnswer
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


class ListDecoder(Generic[T]):
    """Decodes lists of one struct; an item whose `identity` field is missing, null or empty is dropped."""

    def __init__(self, item: type[T], identity: str, *, instants: tuple[str, ...] = ()) -> None:
        """`instants` names the fields that hold times; they come out as RFC 3339 text with an offset."""
        self._item = item
        self._identity = identity
        self._instants = instants
        self._readers = [attrgetter(field) for field in instants]
        self._strict = msgspec.json.Decoder(list[item])  # type: ignore[valid-type] # built from a run-time type

    def decode(self, body: bytes | bytearray) -> Decoded[T]:
        """Raises UpstreamInvalidAnswer where the body is not a list of what it should hold."""
        try:
            try:
                decoded = Decoded(self._strict.decode(body))
            except msgspec.ValidationError:
                decoded = self._decoded_tolerantly(msgspec.json.decode(body))
        except _NOT_JSON:
            raise UpstreamInvalidAnswer("Leyr's answer is not JSON") from None
        times = self._times(decoded.items)
        if max(map(len, times), default=0) > _LONGEST_TIME or not all(map(_is_rfc3339, times)):
            decoded = replace(decoded, items=[self._normalised(item) for item in decoded.items])
            times = self._times(decoded.items)
        return replace(decoded, times=times, text_bytes=_text_bytes(body)) if times else decoded

    def _decoded_tolerantly(self, found: Any) -> Decoded[T]:
        """Drop items without identity, and take empty texts for missing ones."""
        rows = found if isinstance(found, list) else _unwrapped(found)
        kept = [row for row in rows if not _lacks(row, self._identity)]
        if rows and not kept:
            raise UpstreamInvalidAnswer("No item of Leyr's list says what it is")
        try:
            items = [msgspec.convert(_without_empty(row), self._item) for row in kept]
        except msgspec.ValidationError:
            raise UpstreamInvalidAnswer("Leyr's list holds something else than promised") from None
        return Decoded(items, len(rows) - len(kept), wrapped=rows is not found)

    def _times(self, items: Sequence[T]) -> set[str]:
        texts: set[str | None] = set()
        for read in self._readers:
            texts.update(map(read, items))
        texts.discard(None)
        return cast("set[str]", texts)

    def _normalised(self, item: T) -> T:
        """The item with its times as RFC 3339 text."""
        texts = {field: text for field in self._instants if (text := getattr(item, field)) is not None}
        try:
            times = {field: instant(text).isoformat() for field, text in texts.items()}
        except ValueError:
            raise UpstreamInvalidAnswer("Leyr's list holds a time without an offset, or none at all") from None
        if not all(map(_is_rfc3339, times.values())):
            raise UpstreamInvalidAnswer("Leyr's list holds a time whose offset is not of whole minutes")
        return msgspec.structs.replace(item, **times)


def _text_bytes(body: bytes | bytearray) -> int:
    """The most bytes that the texts of a JSON body take: one character beyond ASCII may make all others wider."""
    return len(body) if body.isascii() and b"\\u" not in body else 4 * len(body)


def _without_empty(row: object) -> object:
    return {key: value for key, value in row.items() if value != ""} if isinstance(row, dict) else row


def _lacks(row: object, identity: str) -> bool:
    return isinstance(row, dict) and (row.get(identity) is None or row[identity] == "")


def _unwrapped(found: Any) -> list[Any]:
    """The list inside an object that holds just one; an object with a field for errors is no list."""
    if isinstance(found, Mapping) and not {"error", "errors", "code"} & found.keys():
        lists = [value for value in found.values() if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
    raise UpstreamInvalidAnswer("Leyr's answer is not a list")


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
