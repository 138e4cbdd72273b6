"""An issuer's keys as they are now: fetched when the first token comes, kept, and fetched anew as they change.

Ten minutes long they are given as they are. Older ones are given while they are fetched anew, for as long as a day
where that fails. A kid that is not among them has them fetched at once, since issuers change keys at any time, but
not more often than tokens with made-up kids may have the issuer asked.
"""

from collections.abc import Callable
from contextlib import suppress
from math import ceil, inf

from gateway.domain.errors import GatewayError
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.single_flight import SharedCall
from gateway.http.callers.key_sources import KeySource
from gateway.http.callers.keys import ALGORITHMS, Key, Keys, UnusableKeysError, read_keys

_LIFETIMES = Lifetimes(fresh=600.0, stale=86_400.0)
_SECONDS_BETWEEN_FETCHES = 30.0
# Nobody can be told while there are no keys at all.
_SECONDS_BETWEEN_FIRST_FETCHES = 5.0


class KeysUnavailableError(GatewayError):
    """Whether a token is genuine cannot be told now, since the issuer's keys cannot be had."""

    code = "KEYS_UNAVAILABLE"


class KeySet:
    """The keys of one issuer; to be used inside one loop."""

    def __init__(self, source: KeySource, *, clock: Callable[[], float], on_failed: Callable[[str], None]) -> None:
        """`clock` counts seconds; `on_failed` gets the reason where a fetch brought no usable key."""
        self._source = source
        self._clock = clock
        self._on_failed = on_failed
        self._keys: Keys | None = None
        self._fetched_at = -inf
        self._asked_at = -inf
        self._failed = False
        self._flight: SharedCall[Keys] | None = None

    def at_hand(self) -> Keys | None:
        """The keys, unless they have to be waited for; old ones are fetched anew meanwhile."""
        now = self._clock()
        age = now - self._fetched_at
        if age >= _LIFETIMES.served:
            return None
        if age >= _LIFETIMES.fresh and self._flight is None and now - self._asked_at >= _SECONDS_BETWEEN_FETCHES:
            self._launch(now)
        return self._keys

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names. Raises KeysUnavailableError, with the seconds to wait."""
        keys = self.at_hand()
        if keys is None:
            keys = await self._fetched(_SECONDS_BETWEEN_FIRST_FETCHES)
        elif not keys.knows(kid):
            keys = await self._fetched(_SECONDS_BETWEEN_FETCHES)
        return keys.find(kid, algorithm)

    async def close(self) -> None:
        """End a fetch that is on its way, and close the source."""
        if self._flight is not None:
            self._flight.release()
        await self._source.close()

    async def _fetched(self, pause: float) -> Keys:
        """What the fetch on its way brings, or else one that begins now, unless the last began within the pause."""
        flight, now = self._flight, self._clock()
        if flight is None:
            wait = self._asked_at + pause - now
            if wait > 0:
                if self._keys is None or self._failed:
                    raise _unavailable(wait)
                return self._keys
            flight = self._launch(now)
        with suppress(UnusableKeysError):
            return await flight.outcome()
        raise _unavailable(pause)

    def _launch(self, now: float) -> SharedCall[Keys]:
        """Begin a fetch. It holds itself: its time is bounded, and whoever gives up waiting leaves it to the others."""
        self._asked_at = now
        self._flight = SharedCall(self._fetch(now), now, self._landed)
        return self._flight

    async def _fetch(self, started: float) -> Keys:
        try:
            keys = read_keys(await self._source.fetch())
        except UnusableKeysError as error:
            self._on_failed(str(error))
            raise
        if not keys:
            self._on_failed(f"it holds no key for {', '.join(ALGORITHMS)}")
        # Even so it is the issuer's word: the keys that are gone must not be used.
        self._keys, self._fetched_at = keys, started
        return keys

    def _landed(self, flight: SharedCall[Keys]) -> None:
        self._flight = None
        self._failed = flight.answer is None


def _unavailable(seconds: float) -> KeysUnavailableError:
    return KeysUnavailableError(
        "The keys that tokens are checked with cannot be had at the moment; try again",
        retryable=True,
        retry_after=max(1, ceil(seconds)),
    )
