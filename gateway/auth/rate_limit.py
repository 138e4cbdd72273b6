"""How often each caller may ask: a token bucket a caller, which is full after a pause."""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import NamedTuple

from gateway.auth.caller import Caller, Rate
from gateway.domain.errors import RateLimited

# More than the rounding errors of a bucket, so that whoever waits as long as told is not turned away again.
_MARGIN_SECONDS = 1e-6


class Bucket(NamedTuple):
    """How many requests are left, and when they were counted, in seconds."""

    left: float
    at: float

    def refilled(self, rate: Rate, now: float) -> "Bucket":
        """The bucket at a later time."""
        gained = max(0.0, now - self.at) * rate.per_second
        return Bucket(min(float(rate.burst), self.left + gained), now)

    def wait(self, rate: Rate) -> int:
        """After how many whole seconds it holds a request; at least 1."""
        return max(1, ceil((1.0 - self.left) / rate.per_second + _MARGIN_SECONDS))


class RateLimits:
    """Counts the requests of callers, by their names.

    Of the buckets beyond `most`, those that were not asked for the longest are forgotten. A forgotten caller starts
    with a full bucket, as after a pause.
    """

    def __init__(self, clock: Callable[[], float], most: int = 10_000) -> None:
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: Caller) -> None:
        """Count one request. Raises RateLimited, with the seconds to wait, and then counts none."""
        now, rate = self._clock(), caller.rate
        bucket = self._buckets.get(caller.name, Bucket(rate.burst, now)).refilled(rate, now)
        if bucket.left < 1:
            # A caller that goes on asking must not be forgotten, since that would fill its bucket.
            self._buckets.move_to_end(caller.name)
            seconds = bucket.wait(rate)
            raise RateLimited(
                f"You may send {rate.per_second:g} requests a second, and {rate.burst} at once after a pause; "
                f"try again in {seconds} s",
                retryable=True,
                retry_after=seconds,
            )
        self._buckets[caller.name] = bucket._replace(left=bucket.left - 1)
        self._buckets.move_to_end(caller.name)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
