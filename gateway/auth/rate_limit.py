"""Rate limits: token buckets of requests and of upstream calls, one of each for every caller.

Several processes may share what callers take: each goes by its own buckets, which are lowered by what others gave.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from enum import StrEnum
from math import ceil
from typing import Protocol, TypeAlias

from cachetools import LRUCache

from gateway.auth.caller import Rate
from gateway.domain.errors import RateLimited

# More than the rounding errors of a bucket, so that a caller that waits for `retry_after` is not rejected again.
_MARGIN_SECONDS = 1e-6
_EVICTIONS_TRIED = 4
_SHARED_BUCKETS = 1_024
_SECONDS_PER_MINUTE = 60
_SECONDS_PER_HOUR = 3_600


class Limit(StrEnum):
    """The limits on load; a closed set, so that it can label metrics."""

    REQUESTS = "requests"
    """All requests that are answered at a time."""
    REQUESTS_OF_CALLER = "requests_of_caller"
    REQUESTS_OF_EHR = "requests_of_ehr"
    UNSENT_BYTES = "unsent_bytes"
    """What a caller's clients have not read yet."""
    RATE = "rate"
    UPSTREAM_CALLS = "upstream_calls"
    BOOKINGS = "bookings"
    BOOKINGS_OF_PATIENT = "bookings_of_patient"


Reached: TypeAlias = Counter[Limit]
"""How often a request, or a field of it, was rejected because of each limit."""


class RateSharing(Protocol):
    """What lets several processes share token buckets."""

    def joined(self, kind: str, buckets: "TokenBuckets") -> Callable[[Hashable, float, float, float, float], None]:
        """Share buckets that all processes know by the same kind and keys.

        The result is told the key from whose bucket something was taken, how much, what is left, its refill a second
        and its burst.
        """


class TokenBuckets:
    """Token buckets by key, each as large as `burst` and refilled by `per_second`.

    A bucket is forgotten only when it is full again, since forgetting it fills it. Where `max_keys` keep theirs and
    none is full, further keys share a thousand buckets, which a flood of keys may empty and nobody else does.
    """

    def __init__(
        self, clock: Callable[[], float], max_keys: int = 10_000, kind: str = "", sharing: RateSharing | None = None
    ) -> None:
        """With `sharing` all processes have the buckets of a `kind` in common."""
        self._clock = clock
        self._max_keys = max_keys
        # The tokens that were left at a time, and the time at which the bucket is full.
        self._buckets: OrderedDict[Hashable, tuple[float, float, float]] = OrderedDict()
        self._shared: OrderedDict[Hashable, tuple[float, float, float]] = OrderedDict()
        self._note = None if sharing is None else sharing.joined(kind, self)

    def __len__(self) -> int:
        return len(self._buckets) + len(self._shared)

    def take(self, key: Hashable, per_second: float, burst: float, tokens: int = 1) -> float:
        """Take tokens, and return 0; or take none, and return the seconds until there are so many.

        A full bucket gives any number, and is refilled from below nothing: what one needs at once may be more.
        """
        now, buckets = self._clock(), self._buckets
        bucket = buckets.get(key)
        if bucket is None and len(buckets) >= self._max_keys and not self._evict(now):
            key = hash(key) % _SHARED_BUCKETS
            buckets = self._shared
            bucket = buckets.get(key)
        if bucket is None:
            left, at = burst, now
        else:
            left, at, _ = bucket
            at = min(at, now)
            left = min(burst, left + (now - at) * per_second)
        missing = min(tokens, burst) - left
        if missing > 0:
            buckets.move_to_end(key)
            return missing / per_second + _MARGIN_SECONDS
        left -= tokens
        buckets[key] = left, now, now + (burst - left) / per_second
        buckets.move_to_end(key)
        if self._note is not None and buckets is self._buckets:
            self._note(key, tokens, left, per_second, burst)
        return 0.0

    def lower(self, key: Hashable, per_second: float, burst: float, full_at: float) -> None:
        """Let a bucket be full at a time of the clock, if that is later than it would be full by itself."""
        bucket = self._buckets.get(key)
        if bucket is not None and bucket[2] < full_at:
            now = self._clock()
            self._buckets[key] = burst - (full_at - now) * per_second, now, full_at

    def _evict(self, now: float) -> bool:
        """Forget a bucket that is full, among those that were not used for the longest time; False if none is."""
        for _ in range(min(_EVICTIONS_TRIED, len(self._buckets))):
            key, (_, _, full_at) = next(iter(self._buckets.items()))
            if full_at <= now:
                del self._buckets[key]
                return True
            # A slow one must not keep others from being found.
            self._buckets.move_to_end(key)
        return False


class RateLimits:
    """What each caller may send a second, and make the gateway ask of upstream a minute; `reached` counts rejections.

    The key of a caller is a name, or the bytes of an anonymous one's address.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        max_callers: int = 10_000,
        *,
        reached: Reached | None = None,
        sharing: RateSharing | None = None,
    ) -> None:
        self._requests = TokenBuckets(clock, max_callers, "requests", sharing)
        self._calls = TokenBuckets(clock, max_callers, "calls", sharing)
        self._reached = Counter() if reached is None else reached

    def __len__(self) -> int:
        return len(self._requests)

    def take(self, caller: Hashable, rate: Rate) -> None:
        """Take a token for a request. Raises RateLimited, with the seconds to wait, if there is none."""
        wait = self._requests.take(caller, rate.per_second, rate.burst)
        if wait:
            self._reached[Limit.RATE] += 1
            raise _rate_limited(
                f"You may send {rate.per_second:g} requests a second, and {rate.burst} at once after a pause", wait
            )

    def take_calls(self, caller: Hashable, rate: Rate, calls: int) -> None:
        """Take tokens for upstream calls that are about to be made, all of them or none. Raises RateLimited.

        Half a minute's calls may come at once, so that no minute has more than one and a half times as many.
        """
        per_second = rate.calls_per_minute / _SECONDS_PER_MINUTE
        wait = self._calls.take(caller, per_second, max(1.0, rate.calls_per_minute / 2), calls)
        if wait:
            self._reached[Limit.UPSTREAM_CALLS] += 1
            raise _rate_limited(
                f"Your requests may take {rate.calls_per_minute} upstream calls a minute; without `no-cache` fewer do",
                wait,
            )


class BookingRates:
    """How many bookings each caller may ask for in a minute, and how many an hour may be asked for each patient.

    A key is counted once, as long as it is among the latest: asking again costs nothing. Patients are digests.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        per_patient: int,
        max_keys: int = 10_000,
        *,
        reached: Reached | None = None,
        sharing: RateSharing | None = None,
    ) -> None:
        self._of_callers = TokenBuckets(clock, max_keys, "bookings", sharing)
        self._of_patients = TokenBuckets(clock, max_keys, "bookings_of_patient", sharing)
        self._per_patient = per_patient
        # By their hashes, since keys are clients' to choose and may hold anything.
        self._counted: LRUCache[int, bool] = LRUCache(max_keys)
        self._reached = Counter() if reached is None else reached

    @property
    def known_keys(self) -> int:
        """How many keys are known to be counted."""
        return len(self._counted)

    def take(self, caller: str, key: str, per_minute: int, patient: bytes | None) -> float:
        """Count a request, and return 0; or the seconds to wait where there were too many."""
        counted = hash((caller, key))
        if self._counted.get(counted):
            return 0.0
        wait = self._of_callers.take(caller, per_minute / _SECONDS_PER_MINUTE, per_minute)
        if wait:
            self._reached[Limit.BOOKINGS] += 1
            return float(ceil(wait))
        if patient is not None:
            wait = self._of_patients.take(patient, self._per_patient / _SECONDS_PER_HOUR, self._per_patient)
            if wait:
                self._reached[Limit.BOOKINGS_OF_PATIENT] += 1
                return float(ceil(wait))
        self._counted[counted] = True
        return 0.0


def _rate_limited(message: str, wait: float) -> RateLimited:
    seconds = max(1, ceil(wait))
    return RateLimited(f"{message}; try again in {seconds} s", retryable=True, retry_after=seconds)
