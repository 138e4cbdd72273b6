"""What the log is told of booking's journal in the shared store: what is wrong with it, and what to do."""

import structlog

from gateway.booking.journal_events import JournalTrouble

_EVENTS = {
    JournalTrouble.EMPTIED: (
        "journal.emptied",
        "used keys are forgotten, so that bookings are refused for a while: find out what emptied the store",
    ),
    JournalTrouble.WENT_BACK: (
        "journal.went_back",
        "used keys are forgotten, so that bookings are refused for a while: let the store sync what it acknowledges",
    ),
    JournalTrouble.OTHER_SECRET: (
        "journal.other_secret",
        "set GATEWAY_BOOKING_SECRET_FORMER to the secret that the other processes keep keys under",
    ),
    JournalTrouble.EVICTS: ("journal.store_evicts", "set the store's maxmemory-policy to noeviction"),
    JournalTrouble.NOT_ON_DISK: ("journal.not_on_disk", "set the store's appendonly to yes, or keys go with a restart"),
    JournalTrouble.NOT_TOLD: (
        "journal.store_not_told",
        "see that the store has noeviction and appendonly yes, or let the user ask it by +info",
    ),
    JournalTrouble.REFUSED: (
        "journal.refused",
        "bookings are refused: look at the store's ACL, its memory and whether it is a replica",
    ),
}


class JournalLog:
    """Writes each change once."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log

    def opened(self) -> None:
        """Bookings are taken, for the first time or again."""
        self._log.info("journal.opened")

    def trouble(self, what: JournalTrouble) -> None:
        """Something is wrong with the journal."""
        event, action = _EVENTS[what]
        self._log.warning(event, action=action)
