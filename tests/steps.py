"""An event loop that counts what each of its steps does, so that tests find long steps without a clock.

A step is one callback of the loop, such as the part of a coroutine between two of its awaits that wait. Its size is the
number of events of Python's tracing in it: calls, lines (each round of a loop or a comprehension is one) and returns.
It is the same on every machine. Work inside one function of C, such as a sort or a decoder, is no event; a test adds
it by `Steps.charge`, or gives the code `Steps.charged(function, size)` in place of the function.
"""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple, ParamSpec, TypeVar, TypeVarTuple

P = ParamSpec("P")
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Step(NamedTuple):
    """A step: its size, and the name of the function that it entered first."""

    size: int
    name: str


@dataclass(slots=True)
class Steps:
    """The steps of an event loop, in order."""

    all: list[Step] = field(default_factory=list)
    _size: int = 0
    _thread: int | None = None
    """The thread that is in a step."""

    @property
    def largest(self) -> Step:
        """The step with the most work."""
        return max(self.all)

    @property
    def total(self) -> int:
        """The work of all steps together."""
        return sum(step.size for step in self.all)

    def charge(self, size: int) -> None:
        """Add work to the step that runs; what other threads do adds nothing."""
        if threading.get_ident() == self._thread:
            self._size += size

    def charged(self, function: Callable[P, T], size: Callable[P, int]) -> Callable[P, T]:
        """The function, charged with a size that is computed from its arguments."""

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            self.charge(size(*args, **kwargs))
            return function(*args, **kwargs)

        return call

    def counted(self, callback: Callable[[*Arguments], object]) -> Callable[[*Arguments], None]:
        """A callback of the loop that counts its events as a step."""

        def run(*args: *Arguments) -> None:
            name, events = "", 0

            def enter(frame: FrameType, _event: str, _arg: object) -> Any:
                nonlocal name, events
                name = name or frame.f_code.co_qualname
                events += 1
                return inside

            def inside(_frame: FrameType, _event: str, _arg: object) -> None:
                nonlocal events
                events += 1

            before, self._size, self._thread = sys.gettrace(), 0, threading.get_ident()
            sys.settrace(enter)
            try:
                callback(*args)
            finally:
                sys.settrace(before)
                self._thread = None
                self.all.append(Step(self._size + events, name))

        return run


class CountingLoop(asyncio.SelectorEventLoop):
    """asyncio's own event loop; every callback that is scheduled is counted, those of tasks and timers too."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        super().__init__()

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._steps.counted(callback), *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(self._steps.counted(callback), *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when, self._steps.counted(callback), *args, context=context)


def run_counted(work: Callable[[Steps], Coroutine[Any, Any, T]]) -> tuple[T, Steps]:
    """Run a coroutine that is made with the steps, so that it can charge them; its result and its steps."""
    steps = Steps()
    with _no_collections(), asyncio.Runner(loop_factory=lambda: CountingLoop(steps)) as runner:
        result = runner.run(work(steps))
        # Those of closing the loop are none of the work.
        return result, Steps(list(steps.all))


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the garbage collector from running finalisers of other tests' objects in a step that is counted."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
