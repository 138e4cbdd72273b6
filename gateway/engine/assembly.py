"""Makes the bytes of an answer of its complete output, in steps."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.engine.budget import BYTES_PER_WORK, Budget
from gateway.engine.errors import LimitExceededError
from gateway.engine.paths import Output, SharedObject
from gateway.engine.rows import Rows, encoded_in_steps

# Pieces below this many bytes are joined: copying them costs less than sending each by itself.
_MIN_PIECE_BYTES = 64 * 1024
# Pieces between two looks at the step's work, and what each of them takes.
_PIECES = 200
_PIECE_WORK = 0.02

# Yields when it is time to pause; the result is how many counted objects there are.
_Steps: TypeAlias = Generator[None, None, int]


class Assembly:
    """The bytes of one answer; `made` are complete, in pieces of a size to send, when `pieces` has ended."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.made: list[bytes] = []
        self.unexpected: list[Rows] = []
        self._joined: list[SharedObject] = []

    def pieces(self, output: Output) -> Iterator[None]:
        """Make them; where a list turns out to hold what it must not, it is in `unexpected`, and nothing is made.

        Raises LimitExceededError.
        """
        sink: list[bytes] = []
        items = yield from self._collected(output, sink)
        if self.unexpected:
            for shared in self._joined:
                shared.text = None
            return
        self._budget.check_items(items)
        total = sum(map(len, sink))
        self._budget.check_size(total)
        if total < _MIN_PIECE_BYTES:
            self.made.append(b"".join(sink))
        else:
            yield from self._joined_pieces(sink)

    def _joined_pieces(self, sink: Sequence[bytes]) -> Iterator[None]:
        small: list[bytes] = []
        size = 0
        for number, piece in enumerate(sink):
            if len(piece) >= _MIN_PIECE_BYTES:
                self.made += (b"".join(small), piece) if small else (piece,)
                small, size = [], 0
            else:
                small.append(piece)
                size += len(piece)
                if size >= _MIN_PIECE_BYTES:
                    self.made.append(b"".join(small))
                    small, size = [], 0
            if number % _PIECES == 0 and self._is_step_over(_PIECES * _PIECE_WORK):
                yield
        if small:
            self.made.append(b"".join(small))

    def _collected(self, output: Output, sink: list[bytes]) -> _Steps:
        """Append the bytes of an output in order."""
        items = before = large = 0
        stack: list[Iterator[Any]] = [iter(output)]
        while stack:
            for piece in stack[-1]:
                kind = type(piece)
                if kind is bytes or kind is bytearray:
                    sink.append(piece)
                    continue
                if kind is list:
                    stack.append(iter(piece))
                    break
                if kind is int:
                    items += piece
                    continue
                within = _written_within(piece)
                if within is not None:
                    stack.append(iter(within))
                    break
                items += yield from self._rows(piece, sink) if kind is Rows else self._text(piece, sink)
                if not self.unexpected:
                    # Looked at as they are made: together they take far more memory than the answer may.
                    large += len(sink[-1])
                    self._budget.check_size(large)
                    self._budget.check_items(items)
            else:
                stack.pop()
            if len(sink) - before > _PIECES:
                if self._is_step_over((len(sink) - before) * _PIECE_WORK):
                    yield
                before = len(sink)
        return items

    def _is_step_over(self, work: float) -> bool:
        self._budget.step -= work
        return self._budget.step <= 0

    def _text(self, shared: SharedObject, sink: list[bytes]) -> _Steps:
        """Append what stands in several places, which is joined once."""
        if shared.text is None:
            parts: list[bytes] = []
            shared.items = yield from self._collected(shared.output, parts)
            size = sum(map(len, parts))
            self._budget.check_size(size)
            self._budget.check_items(shared.items)
            shared.text = b"".join(parts)
            self._joined.append(shared)
            if self._is_step_over(size / BYTES_PER_WORK):
                yield
        sink.append(shared.text)
        return shared.items

    def _rows(self, rows: Rows, sink: list[bytes]) -> _Steps:
        """Encode a list, and the cells of its resolved columns before it."""
        if rows.text is not None:
            sink.append(rows.text)
            return rows.counted
        resolved: dict[str, dict[Any, msgspec.Raw]] = {}
        items, longest = rows.counted, 0
        readers = {column.key: column.reader() for column in rows.projection.mapped if column.is_resolved}
        for key, outputs in rows.outputs.items():
            texts, within = yield from self._cells(outputs)
            resolved[key] = texts
            longest += max(map(len, texts.values()), default=0)
            if within or len(rows.items) * longest > self._budget.limits.answer_bytes:
                # What a resolver gives is written once, and copied into every row.
                counts = Counter(map(readers[key], rows.items))
                items += sum(within.get(value, 0) * count for value, count in counts.items())
                self._budget.check_size(sum(len(texts[value]) * count for value, count in counts.items()))
                yield
        self._budget.check_items(items)
        try:
            text = yield from encoded_in_steps(rows, resolved, self._budget)
            sink.append(text)
        except (LimitExceededError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 # whatever else it is, writing the items finds out which of them fail
            self.unexpected.append(rows)
        return items

    def _cells(
        self, outputs: Mapping[Any, Output | bytes]
    ) -> Generator[None, None, tuple[dict[Any, msgspec.Raw], dict[Any, int]]]:
        """The texts of a column's cells by value, and the numbers of counted objects in them."""
        texts: dict[Any, msgspec.Raw] = {}
        within: dict[Any, int] = {}
        # Each stands in the answer once at least.
        size = 0
        for number, (value, output) in enumerate(outputs.items()):
            if isinstance(output, bytes):
                texts[value] = msgspec.Raw(output)
                continue
            try:
                # Most cells hold nothing but bytes.
                texts[value] = msgspec.Raw(output[0] if len(output) == 1 else b"".join(output))
            except TypeError:
                parts: list[bytes] = []
                items = yield from self._collected(output, parts)
                if items:
                    within[value] = items
                joined = sum(map(len, parts))
                size += joined
                self._budget.check_size(size)
                texts[value] = msgspec.Raw(b"".join(parts))
                if self._is_step_over(joined / BYTES_PER_WORK):
                    yield
            if number % _PIECES == 0 and self._is_step_over(_PIECES * _PIECE_WORK):
                yield
        return texts, within


def _written_within(piece: SharedObject | Rows) -> Output | None:
    """What takes the place of a piece; None where it has to be made."""
    if isinstance(piece, Rows):
        return piece.written_anew
    return piece.output if len(piece.places) == 1 else None
