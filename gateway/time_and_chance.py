"""Time and chance, which come from outside of the process and are handed in."""

from collections.abc import Callable
from typing import NamedTuple


class TimeAndChance(NamedTuple):
    """A monotonic clock in seconds, secrets of 32 random bytes, and chance from 0 to 1."""

    clock: Callable[[], float]
    new_secret: Callable[[], bytes]
    chance: Callable[[], float]
