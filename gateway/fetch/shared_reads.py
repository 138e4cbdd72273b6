"""What fetching needs of other processes: what they ask, have fetched and have booked."""

from asyncio import Future
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.pending_reads import PendingRead
from gateway.fetch.snapshots import Snapshot

Position: TypeAlias = tuple[int, int]
"""Where something stands in the order in which processes said it."""


class RemoteRead(NamedTuple):
    """A pending call of another process; `outcome` waits for what it brings, None where it fails or nobody can tell."""

    read: PendingRead
    outcome: Callable[[], Awaitable[TimeslotList | None]]


@dataclass(slots=True, eq=False)
class Claim:
    """A call of this process that the others know of, until it `is_over`."""

    care_unit: CareUnitKey
    call: str
    is_over: bool = False


class SharedReads(Protocol):
    """What other processes do with timeslots, and what they are told of this one; never raises for the store."""

    def is_current(self, care_unit: CareUnitKey) -> bool:
        """Whether this process knows all that the others have said of a care unit, or cannot know it now."""

    def is_settled(self, care_unit: CareUnitKey) -> bool:
        """Whether nothing that the others have brought is still to be remembered here."""

    async def catch_up(self, care_unit: CareUnitKey) -> None:
        """Learn what the others have said of a care unit, and land what their calls brought."""

    def pending(self, care_unit: CareUnitKey) -> Sequence[RemoteRead]:
        """The calls of the others that are pending, or whose answers are not remembered here yet."""

    def position(self, care_unit: CareUnitKey) -> Position:
        """How much of what was said of a care unit is known here."""

    async def claim(
        self, care_unit: CareUnitKey, steps: Sequence[Step], reader: object, after: Position | None
    ) -> Mapping[Step, Claim] | None:
        """Say that calls begin; None where anything was said after a position, if one is given.

        Where nobody can be told there are no claims.
        """

    def read_time(self, seconds: float) -> float:
        """A time of this process's clock, with the instant that all processes say where that is known."""

    def landed(self, claim: Claim | None, snapshot: Snapshot) -> "Future[None]":
        """Say what a call has brought; without a claim the others are told that it was made.

        The result is done when they know, or cannot be told now.
        """

    def failed(self, claim: Claim) -> None:
        """Say that a call has brought nothing, unless it is over."""

    def taken(self, step: Step) -> None:
        """Say that nothing is free any more that matches a step."""

    def forgotten(self, care_unit: CareUnitKey, window: Window) -> None:
        """Say that a window has to be asked anew."""

    async def tell_others(self) -> None:
        """Wait until all others know what was said to be taken or forgotten, or cannot be told now."""
