"""What became of looking into the shared store instead of calling at once; both sets are closed, to label metrics."""

from enum import StrEnum
from typing import Protocol


class SharedRead(StrEnum):
    """What was looked for."""

    TIMESLOTS = "timeslots"
    LIST = "list"
    DOCUMENT = "document"


class ReadOutcome(StrEnum):
    """What was found."""

    HIT = "hit"
    """What was wanted."""
    MISS = "miss"
    """Nothing of use, and nobody who fetches it."""
    JOINED = "joined"
    """Another process fetched it, and this one waited for that."""
    LED = "led"
    """This process fetched it, for the others too."""


class ReadEvents(Protocol):
    """Who is told of each look; called on the event loop."""

    def shared_read(self, what: SharedRead, outcome: ReadOutcome) -> None:
        """A look into the store ended."""
