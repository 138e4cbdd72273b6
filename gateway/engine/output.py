"""Sheets: the bytes of an answer in the order in which they leave, with gaps for what is still awaited."""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.engine.errors import AnswerTooLargeError
from gateway.engine.lazy_list import FragmentCache, LazyObjectList, ObjectList
from gateway.engine.rows import Projection

Output: TypeAlias = "list[bytes | DeferredRows | Output]"
# Pieces below this many bytes are joined: copying them costs less than handing each on.
_WORTH_ITS_OWN = 64 * 1024


class SizeBudget:
    """The bytes that an answer may still take; what is written for rows to link to counts by itself too."""

    __slots__ = ("left", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.left = most

    def take(self, size: int) -> None:
        """Raises AnswerTooLargeError."""
        self.left -= size
        if self.left < 0:
            raise AnswerTooLargeError

    def check(self, size: int) -> None:
        """Raises AnswerTooLargeError where so many bytes, which are not made yet, would be too many."""
        if size > self.left:
            raise AnswerTooLargeError


class DeferredRows:
    """A list that is encoded when the whole answer is known to stand."""

    __slots__ = ("_fragments", "_kept_as", "_links", "_objects", "_projection")

    def __init__(
        self, projection: Projection, objects: Sequence[Any], links: Mapping[str, Mapping[Any, Output]]
    ) -> None:
        self._projection = projection
        self._objects = objects
        self._links = links
        self._fragments: FragmentCache | None = None
        self._kept_as: Hashable = None
        # What linked objects say may differ between answers, so such rows are not kept.
        if not links and isinstance(objects, LazyObjectList | ObjectList):
            self._fragments = objects.fragments
            self._kept_as = (projection.identity, objects.part)

    def encoded(self, encoder: msgspec.json.Encoder, budget: SizeBudget) -> bytes:
        """The JSON array. Raises what `Projection.rows` raises, and AnswerTooLargeError."""
        if self._fragments is not None and (kept := self._fragments.get(self._kept_as)) is not None:
            return kept
        texts = {
            key: {value: joined(output, encoder, budget) for value, output in values.items()}
            for key, values in self._links.items()
        }
        if texts:
            self._check(texts, budget)
        links = {key: {value: msgspec.Raw(text) for value, text in each.items()} for key, each in texts.items()}
        made = encoder.encode(self._projection.rows(self._objects, links))
        if self._fragments is not None:
            self._fragments.keep(self._kept_as, made)
        return made

    def _check(self, texts: Mapping[str, Mapping[Any, bytes]], budget: SizeBudget) -> None:
        """Raises AnswerTooLargeError: what links say is written once, and copied into every row."""
        longest = sum(max(map(len, each.values()), default=0) for each in texts.values())
        if len(self._objects) * longest > budget.left:
            budget.check(
                sum(
                    len(texts[key][value]) * times
                    for key, values in self._projection.linked(self._objects)
                    for value, times in Counter(values).items()
                )
            )


def joined(output: Output, encoder: msgspec.json.Encoder, budget: SizeBudget) -> bytes:
    """A output without gaps left, as one text. Raises AnswerTooLargeError."""
    made = b"".join(_flat(output, encoder, budget))
    budget.take(len(made))
    return made


def pieces(output: Output, encoder: msgspec.json.Encoder, budget: SizeBudget) -> list[bytes]:
    """A output without gaps left, in pieces that are worth their own message; large ones are not copied again.

    Raises AnswerTooLargeError.
    """
    made: list[bytes] = []
    small: list[bytes] = []
    waiting = 0
    for piece in _flat(output, encoder, budget):
        if len(piece) >= _WORTH_ITS_OWN:
            budget.take(len(piece))
            made += (b"".join(small), piece) if small else (piece,)
            small, waiting = [], 0
            continue
        small.append(piece)
        waiting += len(piece)
        if waiting >= _WORTH_ITS_OWN:
            budget.take(waiting)
            made.append(b"".join(small))
            small, waiting = [], 0
    return [*made, b"".join(small)] if small else made


def _flat(output: Output, encoder: msgspec.json.Encoder, budget: SizeBudget) -> Iterator[bytes]:
    for piece in output:
        if type(piece) is bytes:
            yield piece
        elif isinstance(piece, DeferredRows):
            yield piece.encoded(encoder, budget)
        elif isinstance(piece, list):
            yield from _flat(piece, encoder, budget)
