"""The output of an execution: the bytes of its answer in order, with placeholders for values still awaited."""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.engine.errors import AnswerTooLargeError
from gateway.engine.lazy_list import FragmentCache, LazyObjectList, ObjectList
from gateway.engine.rows import Projection

Output: TypeAlias = "list[bytes | DeferredRows | Output]"
# Pieces below this many bytes are joined: copying them costs less than sending each by itself.
_MIN_PIECE_BYTES = 64 * 1024
_ENCODER = msgspec.json.Encoder()


class SizeBudget:
    """The bytes that an answer may still take; what is written for rows to copy counts by itself too."""

    __slots__ = ("left",)

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes

    def spend(self, size: int) -> None:
        """Raises AnswerTooLargeError."""
        self.left -= size
        if self.left < 0:
            raise AnswerTooLargeError


class DeferredRows:
    """A list that is encoded when all resolvers of the answer have returned."""

    __slots__ = ("_fragment_key", "_fragments", "_objects", "_projection", "_resolved")

    def __init__(
        self, projection: Projection, objects: Sequence[Any], resolved: Mapping[str, Mapping[Any, Output]]
    ) -> None:
        self._projection = projection
        self._objects = objects
        self._resolved = resolved
        self._fragments: FragmentCache | None = None
        self._fragment_key: Hashable = None
        # What resolvers give may differ between answers, so rows with it are not cached.
        if not resolved and isinstance(objects, LazyObjectList | ObjectList):
            self._fragments = objects.fragments
            self._fragment_key = (projection.identity, objects.part)

    def encoded(self, budget: SizeBudget) -> bytes:
        """The JSON array. Raises what `Projection.rows` raises, and AnswerTooLargeError."""
        if self._fragments is not None and (cached := self._fragments.get(self._fragment_key)) is not None:
            return cached
        texts = {
            key: {value: joined(output, budget) for value, output in outputs.items()}
            for key, outputs in self._resolved.items()
        }
        if texts:
            self._check_size(texts, budget)
        resolved = {key: {value: msgspec.Raw(text) for value, text in each.items()} for key, each in texts.items()}
        encoded = _ENCODER.encode(self._projection.rows(self._objects, resolved))
        if self._fragments is not None:
            self._fragments.keep(self._fragment_key, encoded)
        return encoded

    def _check_size(self, texts: Mapping[str, Mapping[Any, bytes]], budget: SizeBudget) -> None:
        """Raises AnswerTooLargeError: what a resolver gives is written once, and copied into every row."""
        longest = sum(max(map(len, each.values()), default=0) for each in texts.values())
        if len(self._objects) * longest <= budget.left:
            return
        size = sum(
            len(texts[key][value]) * count
            for key, values in self._projection.resolved_values(self._objects)
            for value, count in Counter(values).items()
        )
        if size > budget.left:
            raise AnswerTooLargeError


def joined(output: Output, budget: SizeBudget) -> bytes:
    """A complete output as one text. Raises AnswerTooLargeError."""
    text = b"".join(_flattened(output, budget))
    budget.spend(len(text))
    return text


def pieces(output: Output, budget: SizeBudget) -> list[bytes]:
    """A complete output in pieces of a size to send; large ones are not copied again. Raises AnswerTooLargeError."""
    found: list[bytes] = []
    small: list[bytes] = []
    size = 0
    for piece in _flattened(output, budget):
        if len(piece) >= _MIN_PIECE_BYTES:
            budget.spend(len(piece))
            found += (b"".join(small), piece) if small else (piece,)
            small, size = [], 0
            continue
        small.append(piece)
        size += len(piece)
        if size >= _MIN_PIECE_BYTES:
            budget.spend(size)
            found.append(b"".join(small))
            small, size = [], 0
    return [*found, b"".join(small)] if small else found


def _flattened(output: Output, budget: SizeBudget) -> Iterator[bytes]:
    for piece in output:
        if type(piece) is bytes:
            yield piece
        elif isinstance(piece, DeferredRows):
            yield piece.encoded(budget)
        elif isinstance(piece, list):
            yield from _flattened(piece, budget)
