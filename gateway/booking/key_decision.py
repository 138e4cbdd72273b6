"""What is done with an idempotency key: a table from what the journal holds, and who works on it, to what is next."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from gateway.booking.journal import JournalEntry, JournalState


class Worker(StrEnum):
    """Who works on a key."""

    THIS_PROCESS = "this process"
    OTHER_PROCESS = "another live process"
    NOBODY = "nobody"


class KeyAction(StrEnum):
    """What is done next."""

    BEGIN = "begin"
    """Claim the key, and do what is asked."""
    TAKE_OVER = "take over"
    """Nothing was sent by the one who had it: do what is asked in its place."""
    WAIT = "wait"
    """Wait for the outcome, until the deadline; then it is IN_PROGRESS."""
    LOOK_UP = "look up"
    """Something was sent, and never is again: ask the EHR what it has."""
    REPLAY = "replay"
    """Answer with the first outcome."""
    MISMATCH = "mismatch"
    """The key stands for something else, of which nothing is shown: KEY_MISMATCH."""


ACTIONS: Mapping[tuple[JournalState, Worker], KeyAction] = MappingProxyType(
    {
        (JournalState.CLAIMED, Worker.THIS_PROCESS): KeyAction.WAIT,
        (JournalState.CLAIMED, Worker.OTHER_PROCESS): KeyAction.WAIT,
        (JournalState.CLAIMED, Worker.NOBODY): KeyAction.TAKE_OVER,
        (JournalState.SENT, Worker.THIS_PROCESS): KeyAction.WAIT,
        (JournalState.SENT, Worker.OTHER_PROCESS): KeyAction.WAIT,
        (JournalState.SENT, Worker.NOBODY): KeyAction.LOOK_UP,
        (JournalState.UNKNOWN, Worker.THIS_PROCESS): KeyAction.WAIT,
        (JournalState.UNKNOWN, Worker.OTHER_PROCESS): KeyAction.LOOK_UP,
        (JournalState.UNKNOWN, Worker.NOBODY): KeyAction.LOOK_UP,
        (JournalState.DONE, Worker.THIS_PROCESS): KeyAction.REPLAY,
        (JournalState.DONE, Worker.OTHER_PROCESS): KeyAction.REPLAY,
        (JournalState.DONE, Worker.NOBODY): KeyAction.REPLAY,
    }
)
"""For a request that asks the same; one that asks something else is always a MISMATCH."""


def decide(entry: JournalEntry | None, digest: bytes | None, worker: Worker) -> KeyAction:
    """What is done for a request whose input has a digest; None for one that only asks for the outcome."""
    if entry is None:
        return KeyAction.BEGIN
    if digest is not None and digest != entry.input:
        return KeyAction.MISMATCH
    return ACTIONS[entry.state, worker]
