"""Long work in pieces, so that others have their turn in between: a generator that yields after each piece.

Pure code yields, and its caller decides: `whole` does everything in one go, `await InPieces(work)` lets the event loop
go on, and cancel, after each piece.
"""

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

Pieces: TypeAlias = Generator[None, None, T]

PIECE = 5_000
"""Items of a piece: some microseconds each, so at most a few dozen milliseconds together."""

SIMPLE = 12_000
"""Items that are looked at in one go where each takes less than a microsecond."""


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of a piece each."""
    left = iter(items)
    while batch := list(islice(left, PIECE)):
        yield batch


def whole(work: Pieces[T]) -> T:
    """Do all the work, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


class InPieces(Generic[T]):
    """Awaited, it does the work with a pause after each piece, and returns its result."""

    __slots__ = ("_work",)

    def __init__(self, work: Pieces[T]) -> None:
        self._work = work

    def __await__(self) -> Pieces[T]:
        """Each bare yield is to an event loop what asyncio.sleep(0) is: the task goes on in its next turn."""
        return self._work
