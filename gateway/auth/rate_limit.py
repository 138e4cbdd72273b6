"""Rate limits: a token bucket for each caller."""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil

from gateway.auth.caller import Caller
from gateway.domain.errors import RateLimited

# More than the rounding errors of a bucket, so that a caller that waits for `retry_after` is not rejected again.
_MARGIN_SECONDS = 1e-6


class RateLimits:
    """The token buckets of callers, by name: the tokens that were left at a time in seconds.

    Beyond `max_callers` the least recently used bucket is dropped. Its caller starts with a full one, as after a pause.
    """

    def __init__(self, clock: Callable[[], float], max_callers: int = 10_000) -> None:
        self._clock = clock
        self._max_callers = max_callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: Caller) -> None:
        """Take a token for a request. Raises RateLimited, with the seconds to wait, if there is none."""
        now, rate = self._clock(), caller.rate
        tokens, at = self._buckets.get(caller.name, (rate.burst, now))
        tokens = min(float(rate.burst), tokens + max(0.0, now - at) * rate.per_second)
        if tokens < 1:
            # Keeps the bucket of a caller that goes on sending: dropping it would fill it.
            self._buckets.move_to_end(caller.name)
            seconds = max(1, ceil((1.0 - tokens) / rate.per_second + _MARGIN_SECONDS))
            raise RateLimited(
                f"You may send {rate.per_second:g} requests a second, and {rate.burst} at once after a pause; "
                f"try again in {seconds} s",
                retryable=True,
                retry_after=seconds,
            )
        self._buckets[caller.name] = tokens - 1, now
        self._buckets.move_to_end(caller.name)
        while len(self._buckets) > self._max_callers:
            self._buckets.popitem(last=False)
