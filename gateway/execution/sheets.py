"""Sheets: the bytes of an answer in the order in which they leave, with gaps for what is still awaited."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.domain.rendered import Rendered
from gateway.execution.projection import Projection
from gateway.schema.compact import CompactList, ViewList

Sheet: TypeAlias = "list[bytes | Rows | Sheet]"
# Pieces below this many bytes are joined: copying them costs less than handing each on.
_WORTH_ITS_OWN = 64 * 1024


class Rows:
    """A list that is encoded when the whole answer is known to stand."""

    __slots__ = ("_kept_as", "_links", "_objects", "_projection", "_rendered")

    def __init__(
        self, projection: Projection, objects: Sequence[Any], links: Mapping[str, Mapping[Any, Sheet]]
    ) -> None:
        self._projection = projection
        self._objects = objects
        self._links = links
        self._rendered: Rendered | None = None
        self._kept_as: Hashable = None
        # What linked objects say may differ between answers, so such rows are not kept.
        if not links and isinstance(objects, CompactList | ViewList):
            self._rendered = objects.rendered
            self._kept_as = (projection.identity, objects.part)

    def encoded(self, encoder: msgspec.json.Encoder) -> bytes:
        """The JSON array. Raises what `Projection.rows` raises."""
        if self._rendered is not None and (kept := self._rendered.get(self._kept_as)) is not None:
            return kept
        links = {
            key: {value: msgspec.Raw(joined(sheet, encoder)) for value, sheet in values.items()}
            for key, values in self._links.items()
        }
        made = encoder.encode(self._projection.rows(self._objects, links))
        if self._rendered is not None:
            self._rendered.keep(self._kept_as, made)
        return made


def joined(sheet: Sheet, encoder: msgspec.json.Encoder) -> bytes:
    """A sheet without gaps left, as one text."""
    return b"".join(_flat(sheet, encoder))


def pieces(sheet: Sheet, encoder: msgspec.json.Encoder) -> list[bytes]:
    """A sheet without gaps left, in pieces that are worth their own message; large ones are not copied again."""
    made: list[bytes] = []
    small: list[bytes] = []
    waiting = 0
    for piece in _flat(sheet, encoder):
        if len(piece) >= _WORTH_ITS_OWN:
            made += (b"".join(small), piece) if small else (piece,)
            small, waiting = [], 0
            continue
        small.append(piece)
        waiting += len(piece)
        if waiting >= _WORTH_ITS_OWN:
            made.append(b"".join(small))
            small, waiting = [], 0
    return [*made, b"".join(small)] if small else made


def _flat(sheet: Sheet, encoder: msgspec.json.Encoder) -> Iterator[bytes]:
    for piece in sheet:
        if type(piece) is bytes:
            yield piece
        elif isinstance(piece, Rows):
            yield piece.encoded(encoder)
        elif isinstance(piece, list):
            yield from _flat(piece, encoder)
