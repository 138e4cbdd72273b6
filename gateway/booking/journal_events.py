"""What may be wrong with the journal in the shared store, and who hears of it."""

from enum import StrEnum
from typing import Protocol


class JournalTrouble(StrEnum):
    """What is wrong with the journal in the shared store; a closed set, of which each is said with what to do."""

    EMPTIED = "emptied"
    """The store was emptied, or another one stands in its place."""
    WENT_BACK = "went back"
    """The store has lost what it had acknowledged."""
    OTHER_SECRET = "other secret"  # noqa: S105 # no secret, but that it is another
    """Its keys are kept under a secret that this process does not accept."""
    EVICTS = "evicts"
    """The store may forget what it was told when its memory is full."""
    NOT_ON_DISK = "not on disk"
    """The store keeps nothing over a restart."""
    NOT_TOLD = "not told"
    """The user may not ask how the store keeps what it is told."""
    REFUSED = "refused"
    """The store answers with an error, such as that it is full or that the user may not write."""


class JournalEvents(Protocol):
    """Who hears of the journal in the shared store; called on the event loop."""

    def opened(self) -> None:
        """Bookings are taken, for the first time or again."""

    def trouble(self, what: JournalTrouble) -> None:
        """Something is wrong with it."""
