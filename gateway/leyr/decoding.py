"""Decodes Leyr's lists tolerantly (leyr-api 11.1): strict and fast first, row by row where that fails.

A row that cannot be used is dropped and counted; of one that can, an optional field that cannot be read is None.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypedDict, TypeVar, cast

import msgspec

from gateway.domain.errors import UpstreamAnswerTooLarge, UpstreamInvalidAnswer
from gateway.domain.pieces import PIECE, SIMPLE, Pieces, batches, whole
from gateway.domain.timeslots import instant

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(slots=True)
class Decoded(Generic[T]):
    """A list's items, how many rows were dropped since they cannot be used, and whether an object wrapped the list.

    `times` are the texts in the fields that hold times, `text_bytes` is the most that all texts may take in memory.
    `began` is the clock's seconds when the list was asked for, where it came in pages the first of them, and
    `last_began` the last; `beside` the JSON of what else the object holds, by name; None where there is no object.
    """

    items: list[T]
    dropped: int = 0
    wrapped: bool = False
    times: frozenset[str] | set[str] = frozenset()
    text_bytes: int = 0
    began: float | None = None
    last_began: float | None = None
    beside: Mapping[str, bytes] | None = field(default=None, compare=False)

    def require_usable(self) -> "Decoded[T]":
        """The same. Raises UpstreamInvalidAnswer where there are rows, and none of them can be used."""
        if self.dropped and not self.items:
            raise UpstreamInvalidAnswer("No row of Leyr's list can be used")
        return self


class _AnyObject(msgspec.Struct, gc=False):
    """An object whose fields are read past."""


class _AnyArray(msgspec.Struct, gc=False, array_like=True):
    """An array whose elements are read past."""


class _AnyFields(TypedDict):
    """The same as _AnyObject, of which a union may hold one beside the struct for arrays."""


_OBJECTS = msgspec.json.Decoder(list[_AnyObject])
_ANYTHING = msgspec.json.Decoder(list[_AnyFields | _AnyArray | str | int | float | bool | None])
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_BEGINNING_OF_LIST = re.compile(rb"\s*\[")
_TEXT = msgspec.json.Decoder(str)
_NULL = msgspec.Raw(b"null")
_WRAPPER = msgspec.json.Decoder(dict[str, msgspec.Raw])
# An object with a million names would take long to read.
_MAX_WRAPPED_BYTES = 2 * 1024 * 1024
_NOTES = frozenset({"error", "errors", "warnings", "messages", "links", "_links"})
_NO_ERRORS = frozenset({b"null", b"[]", b"{}", b'""', b"false"})
# An empty object and a comma.
_MIN_ITEM_BYTES = 3
# The items of a smaller body are made before they are counted, which takes a few dozen milliseconds at most.
_MIN_COUNTED_BYTES = 2 * 1024 * 1024
# What is read in one go, row by row.
_STEP_BYTES = 64 * 1024
# Between rows and within them. So many rows are told apart in some 20 milliseconds; so many are counted in 80.
_FEW_COMMAS = 500_000
_MANY_COMMAS = 2_000_000


class ListDecoder(Generic[T]):
    """Decodes lists of one struct whose fields are all texts; a row without a text in `identity` cannot be used."""

    def __init__(
        self,
        item: type[T],
        identity: str,
        *,
        max_items: int,
        instants: tuple[str, ...] = (),
        owners: tuple[str, ...] = (),
    ) -> None:
        """Lists of more than `max_items` are refused.

        `instants` names the fields that hold times; they come out as RFC 3339 text with an offset. A row with an odd
        value in one of the `owners` cannot be used either, since None there would say that it belongs to nobody.
        """
        self._item = item
        self._identity = identity
        self._mandatory = frozenset({identity, *owners})
        self.max_items = max_items
        self._instants = instants
        self._readers = [attrgetter(name) for name in instants]
        self._strict = msgspec.json.Decoder(list[item])  # type: ignore[valid-type] # built from a run-time type
        self._row = msgspec.json.Decoder(item)
        names = item.__struct_fields__
        raw = msgspec.defstruct("Row", [(name, msgspec.Raw, _NULL) for name in names], gc=False)
        self._fields: msgspec.json.Decoder[Any] = msgspec.json.Decoder(raw)
        self._raw_readers = [(name, attrgetter(name)) for name in names]

    def decode(self, body: bytes | bytearray) -> Decoded[T]:
        """Raises UpstreamInvalidAnswer where the body is not a list of what it should hold, or one that is too long.

        A list of which no row can be used is not what it should hold.
        """
        return (self.decode_simply(body) or whole(self.decode_in_pieces(body))).require_usable()

    def decode_simply(self, body: bytes | bytearray) -> Decoded[T] | None:
        """The list, by the shortest way; None where it is long, or anything else than most are."""
        try:
            items = self._strict.decode(body) if len(body) < _MIN_COUNTED_BYTES else []
        except (msgspec.ValidationError, *_NOT_JSON):
            return None
        if not items or len(items) > min(SIMPLE, self.max_items):
            return None
        times = self._times(items)
        if not times:
            return Decoded(items)
        if max(map(len, times)) > _LONGEST_TIME or not all(map(_is_rfc3339, times)):
            return None
        return Decoded(items, times=times, text_bytes=_text_bytes(body))

    def decode_in_pieces(self, body: bytes | bytearray) -> Pieces[Decoded[T]]:
        """The same for a large body."""
        return (yield from self.decode_page(body)).require_usable()

    def decode_page(self, body: bytes | bytearray) -> Pieces[Decoded[T]]:
        """The same for a list that may have further pages: other pages may hold the rows that can be used."""
        try:
            try:
                decoded = yield from self._read(body)
            except msgspec.DecodeError:
                if b"\\ud" not in body and b"\\uD" not in body:
                    raise
                # Half a character in one row must not take the others away.
                body = yield from _without_lone_surrogates(body)
                decoded = yield from self._with_whole_ids((yield from self._read(body)))
        except _NOT_JSON:
            raise UpstreamInvalidAnswer("Leyr's answer is not JSON") from None
        if len(decoded.items) + decoded.dropped > self.max_items:
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
            items = yield from self._normalised(decoded.items, times)
            dropped = decoded.dropped + len(decoded.items) - len(items)
            decoded = replace(decoded, items=items, dropped=dropped)
            times = self._times(items)
        return replace(decoded, times=times, text_bytes=_text_bytes(body)) if times else decoded

    def _read(self, body: bytes | bytearray) -> Pieces[Decoded[T]]:
        """The rows as they come. Raises one of _NOT_JSON, and what `decode` raises."""
        self._check_length(body)
        try:
            return Decoded(self._strict.decode(body))
        except msgspec.ValidationError:
            return (yield from self._decode_tolerantly(body))

    def _check_length(self, body: bytes | bytearray) -> None:
        """Count the items of a list before they are made. Raises UpstreamInvalidAnswer."""
        if len(body) < max(self.max_items * _MIN_ITEM_BYTES, _MIN_COUNTED_BYTES):
            return
        # Each item has a brace; where they are more than the items may be, some may belong to what items hold.
        braces = body.count(b"{")
        if braces > self.max_items:
            with suppress(msgspec.ValidationError):  # not a list of objects, which is found out later
                # Of almost nothing but braces there are more than can be counted in one go.
                if braces > len(body) // (_MIN_ITEM_BYTES + 1) or len(_OBJECTS.decode(body)) > self.max_items:
                    raise _too_long()

    def _check_rows(self, body: bytes | bytearray) -> None:
        """Count rows of any kind before they are told apart. Raises UpstreamInvalidAnswer."""
        commas = body.count(b",")
        if commas <= _FEW_COMMAS:
            return
        try:
            count = len(_OBJECTS.decode(body))
        except msgspec.ValidationError:
            if commas > _MANY_COMMAS:
                raise _too_long() from None
            count = len(_ANYTHING.decode(body))
        if count > self.max_items:
            raise _too_long()

    def _decode_tolerantly(self, body: bytes | bytearray) -> Pieces[Decoded[T]]:
        """Row by row: drop what cannot be used, and take empty texts for missing ones."""
        listed: bytes | bytearray = body
        beside: Mapping[str, bytes] | None = None
        yield
        if _BEGINNING_OF_LIST.match(body) is None:
            listed, beside = _unwrapped(body)
            yield
            self._check_length(listed)
        if not listed.isascii():
            # Texts that are read past are not checked otherwise.
            listed.decode()
        self._check_rows(listed)
        yield
        items: list[T] = []
        rows = _ROWS.decode(listed)
        read = 0
        for raw in rows:
            row = bytes(raw)
            read += len(row) + _STEP_BYTES // PIECE
            if read > _STEP_BYTES:
                read = 0
                yield
            item = self._item_of(row)
            if item is not None:
                items.append(item)
        return Decoded(items, len(rows) - len(items), wrapped=listed is not body, beside=beside)

    def _item_of(self, row: bytes) -> T | None:
        """The item in a row; None where the row cannot be used."""
        with suppress(msgspec.ValidationError):
            return self._row.decode(row)
        try:
            fields = self._fields.decode(row)
        except msgspec.ValidationError:
            return None
        texts: dict[str, str | None] = {}
        for name, read in self._raw_readers:
            try:
                texts[name] = _text_of(bytes(read(fields)))
            except ValueError:
                if name in self._mandatory:
                    return None
        return None if texts.get(self._identity) is None else self._item(**texts)

    def _with_whole_ids(self, decoded: Decoded[T]) -> Pieces[Decoded[T]]:
        """A list without the rows whose ids hold what stands for half a character: they are not those ids any more."""
        usable: list[T] = []
        for some in batches(decoded.items):
            usable.extend(
                item for item in some if not any(_HALF in (getattr(item, name) or "") for name in self._mandatory)
            )
            yield
        return replace(decoded, items=usable, dropped=decoded.dropped + len(decoded.items) - len(usable))

    def _times(self, items: Sequence[T]) -> set[str]:
        texts: set[str | None] = set()
        for read in self._readers:
            texts.update(map(read, items))
        texts.discard(None)
        return cast("set[str]", texts)

    def _normalised(self, items: Sequence[T], times: Iterable[str]) -> Pieces[list[T]]:
        """The items with their times as RFC 3339 text, without those whose identity is a time that names no instant."""
        texts: dict[str | None, str | None] = {None: None}
        for batch in batches(times):
            texts.update((text, _normalised(text)) for text in batch)
            yield
        is_dated = self._identity in self._instants
        usable: list[T] = []
        for some in batches(items):
            for item in some:
                fields = {name: texts[getattr(item, name)] for name in self._instants}
                if not is_dated or fields[self._identity] is not None:
                    usable.append(msgspec.structs.replace(item, **fields))
            yield
        return usable


def _too_long() -> UpstreamAnswerTooLarge:
    return UpstreamAnswerTooLarge("Leyr's list holds more items than the gateway reads")


def _unwrapped(body: bytes | bytearray) -> tuple[bytes, Mapping[str, bytes]]:
    """The only list in an object beside those of errors, warnings and links; and the other fields.

    Raises UpstreamInvalidAnswer, also where there is an error beside the list, and UpstreamAnswerTooLarge.
    """
    if len(body) > _MAX_WRAPPED_BYTES:
        raise _too_long()
    with suppress(msgspec.ValidationError):
        found = _WRAPPER.decode(body)
        beside = {name: bytes(value) for name, value in found.items()}
        errors = {_WHITE_SPACE.sub(b"", beside.get(name, b"null")[:_MAX_NOTHING]) for name in ("error", "errors")}
        lists = [name for name, value in beside.items() if value.startswith(b"[") and name not in _NOTES]
        if len(lists) == 1 and "code" not in beside and errors <= _NO_ERRORS:
            return beside.pop(lists[0]), beside
    raise UpstreamInvalidAnswer("Leyr's answer is not a list")


_WHITE_SPACE = re.compile(rb"\s+")
_MAX_NOTHING = 64


def _text_of(value: bytes) -> str | None:
    """The text in a field, numbers as they are written; None where it is null or empty.

    Raises ValueError for anything else.
    """
    if value[:1] == b'"':
        return _TEXT.decode(value) or None
    if value == b"null":
        return None
    if value[:1] not in _BEGINNING_OF_NUMBERS:
        raise ValueError("neither a text nor a number")
    return value.decode()


_BEGINNING_OF_NUMBERS = frozenset(b"-0123456789"[at : at + 1] for at in range(11))


def _without_lone_surrogates(body: bytes | bytearray) -> Pieces[bytes]:
    r"""JSON whose texts hold U+FFFD for each half of a surrogate pair, as in `"\ud83d"`.

    JSON allows them (RFC 8259, section 8.2), and whoever cuts a text off in UTF-16 makes them. Raises DecodeError where
    there are none, or more than are read.
    """
    parts: list[bytes] = []
    start = count = 0
    while start < len(body):
        # No escape goes on beyond a quotation mark, and none but `\"` holds one.
        end = body.find(b'"', start + _STEP_BYTES) + 1 or len(body)
        # Then every backslash begins an escape.
        text = bytes(body[start:end]).replace(rb"\\", rb"\u005c")
        text, found = _LONE_SURROGATE.subn(rb"\\ufffd", text, _MOST_LONE_SURROGATES + 1)
        parts.append(text)
        start, count = end, count + found
        yield
    if not 0 < count <= _MOST_LONE_SURROGATES:
        raise msgspec.DecodeError
    return b"".join(parts)


_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|[c-fC-F](?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD].)[0-9a-fA-F]{2})"
)
_MOST_LONE_SURROGATES = 10_000
_HALF = "\N{REPLACEMENT CHARACTER}"


def _text_bytes(body: bytes | bytearray) -> int:
    """The most bytes that the texts of a JSON body take: one character beyond ASCII may make all others wider."""
    # To look for one byte takes a hundredth of the time that it takes to look for two.
    is_plain = body.isascii() and (b"\\" not in body or b"\\u" not in body)
    return len(body) if is_plain else 4 * len(body)


def _normalised(text: str) -> str | None:
    """A time as RFC 3339 text; None where it names no instant, or its offset is not of whole minutes."""
    # Later versions of Python read 24:00 as the next day's midnight.
    if len(text) > _LONGEST_ISO_8601 or _HOUR_24.search(text):
        return None
    try:
        time = instant(text).isoformat()
    except ValueError:
        return None
    return time if _is_rfc3339(time) else None


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
# With nine digits of a second, and more than any EHR has use for.
_LONGEST_ISO_8601 = 64
_HOUR_24 = re.compile(r"[T ]24")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
