"""A caller: the name that a log may hold, what the caller may see, and how often it may ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Protocol

from gateway.domain.models import Access


class CallersError(Exception):
    """The configuration of callers is wrong; the message says where and what to write, and never quotes a value."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second, and `burst` of them at once after a pause. Raises ValueError for less than that."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not 0 < self.per_second < inf or self.burst < 1:
            raise ValueError("a rate is above 0 requests a second, with a burst of at least 1")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    `name` is the same for all requests of a caller, different for each caller, and holds nothing personal.
    """

    name: str
    access: Access
    rate: Rate


class Callers(Protocol):
    """Tells callers by the credentials that they send."""

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """Who sent these headers, their names in lower case and their values decoded from Latin-1.

        Raises Unauthenticated and Forbidden, neither of which quotes a credential, and KeysUnavailableError where the
        credential could not be judged.
        """
        ...

    async def close(self) -> None:
        """Give back what is held open."""
        ...
