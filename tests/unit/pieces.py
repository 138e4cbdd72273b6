"""How much work stands between two pauses, counted in calls: a test that measured time would fail on a slow machine."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Generic, TypeVar

from gateway.domain.pieces import Pieces

T = TypeVar("T")


@dataclass
class Worked(Generic[T]):
    """What came of some work, and how many calls each of its pieces took."""

    result: T
    calls: list[int]


def worked(work: Pieces[T]) -> Worked[T]:
    """Do all the work, and count."""
    calls: list[int] = []
    while True:
        counter = _Counter()
        sys.setprofile(counter)
        try:
            next(work)
        except StopIteration as done:
            return Worked(done.value, [*calls, counter.calls])
        finally:
            sys.setprofile(None)
        calls.append(counter.calls)


class _Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _: FrameType, event: str, __: object) -> None:
        self.calls += event in {"call", "c_call"}


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of functions some work takes, those of C's included."""
    counter = _Counter()
    sys.setprofile(counter)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counter.calls
