"""What an execution may take: work, bytes and items of its answer, and work between two pauses.

One run of a resolver is one unit of work, some microseconds of a processor. Everything else is counted in parts of it.
"""

from dataclasses import dataclass
from typing import Protocol

from gateway.engine.errors import LimitExceededError

# What things take beside the runs of resolvers; `benchmarks/micro` measures them.
ATTRIBUTE_WORK = 0.2
"""To write one attribute of one object."""
ROW_WORK = 0.03
"""To write one object of a list that is encoded as rows."""
CELL_WORK = 0.02
"""To write one attribute of such an object."""
COMPUTED_WORK = 0.1
"""To compute one attribute of such an object from the object."""
OBJECT_WORK = 0.2
"""To choose the writer of an object, and to open it."""
LIST_WORK = 2.0
"""To begin a list, and to look at its type and at what is kept of it."""
BYTES_PER_WORK = 2_000
"""How many bytes are copied or encoded in the time of one unit."""


@dataclass(frozen=True, slots=True)
class ItemLimit:
    """How many objects of a type the lists of an answer may hold; `noun` is what they are for people."""

    type_name: str
    most: int
    noun: str = "objects"
    hint: str = "ask for less"


@dataclass(frozen=True, slots=True)
class ExecutionLimits:
    """The limits of one execution.

    `work` is in runs of a resolver, `answer_bytes` are those of the JSON of `data`, `list_items` is the most that a
    list in the arguments may hold. `step_work` is the work between two pauses. `hint` tells a client how to get a
    smaller answer.
    """

    work: float = 100_000
    answer_bytes: int = 64 * 1024 * 1024
    list_items: int = 1_000
    items: ItemLimit | None = None
    step_work: float = 2_000
    hint: str = "ask for less"


class Turns(Protocol):
    """Shares the event loop between executions that take long."""

    async def pause(self) -> None:
        """Give the other work of the event loop its turn. What this raises ends the execution."""
        ...

    def wait(self) -> None:
        """The execution waits for a resolver, and so needs no turn."""
        ...


class Budget:
    """What an execution has left. Every method raises LimitExceededError.

    `step` is the work that is left of the step, and `is_step_over` whether it is time to pause; writers count it
    themselves. `counted_type` is the name of the type whose objects are counted.
    """

    __slots__ = ("_bytes", "_work", "counted_type", "limits", "step")

    def __init__(self, limits: ExecutionLimits) -> None:
        self.limits = limits
        self.step = limits.step_work
        self.counted_type = None if limits.items is None else limits.items.type_name
        self._work = limits.work
        # A guard of memory while the answer is written; its exact size is known when it is complete.
        self._bytes = 2 * limits.answer_bytes

    @property
    def is_step_over(self) -> bool:
        """Whether it is time to pause."""
        return self.step <= 0

    def begin_step(self) -> None:
        """Go on after a pause."""
        self.step = self.limits.step_work

    def spend(self, work: float) -> None:
        """Count work that will be done."""
        self._work -= work
        if self._work < 0:
            most = self.limits.work
            raise LimitExceededError(
                f"The operation would take {most - self._work:.0f} units of work or more; the limit is {most:.0f}: "
                f"{self.limits.hint}"
            )

    def spend_now(self, work: float) -> None:
        """Count work that is done now."""
        self.step -= work
        self.spend(work)

    def write(self, size: int) -> None:
        """Count bytes that were written."""
        self._bytes -= size
        if size > BYTES_PER_WORK:
            self.step -= size / BYTES_PER_WORK
        if self._bytes < 0:
            raise self.too_large(2 * self.limits.answer_bytes - self._bytes)

    def too_large(self, size: int) -> LimitExceededError:
        """Say that the answer takes too many bytes."""
        limit = self.limits.answer_bytes
        return LimitExceededError(
            f"The answer would take {size} bytes or more; the limit is {limit}: {self.limits.hint}"
        )

    def check_size(self, size: int) -> None:
        """Check the size of a part of the answer."""
        if size > self.limits.answer_bytes:
            raise self.too_large(size)

    def check_items(self, number: int) -> None:
        """Check how many counted objects a part of the answer holds."""
        limit = self.limits.items
        if limit is not None and number > limit.most:
            raise LimitExceededError(
                f"The answer would hold {number} {limit.noun} or more; the limit is {limit.most}: {limit.hint}"
            )
