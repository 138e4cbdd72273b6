"""An issuer's JSON Web Key Set (RFC 7517, RFC 8037): read, fetched from a file or a URL, and fetched anew.

It is fetched when the first token comes. For ten minutes it is given as it is. An older one is given while it is
fetched anew, for as long as a day where that fails. A kid that is not in it has it fetched at once, since issuers
change keys at any time, but not more often than tokens with made-up kids may have the issuer asked.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil, inf
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from gateway.auth.caller import AuthSettingsError
from gateway.domain.errors import GatewayError
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.single_flight import SharedCall
from gateway.http_client.connection import BodyTooLargeError, ContentDecodingError
from gateway.http_client.pool import ConnectionPool, HttpClientFactory

ALGORITHMS = ("RS256", "ES256", "EdDSA")

_MOST_KEYS = 100
# RSA keys of 12 288 bits; verifying with longer ones takes long.
_LONGEST_MEMBER = 2_048
_LONGEST_KID = 1_024
# By type and curve: the only algorithm that a key may be used with, and its public members.
_KINDS = {
    ("RSA", None): ("RS256", ("n", "e")),
    ("EC", "P-256"): ("ES256", ("crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("crv", "x")),
}


class UnusableKeysError(Exception):
    """No key set could be had; the message says why without quoting anything."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, bound to one algorithm; equal where kid, algorithm and key are."""

    kid: str | None
    algorithm: str
    digest: bytes
    public: PyJWK = field(compare=False, repr=False)


class Keys:
    """The usable keys of a set; of several with one kid and one algorithm the first counts."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._all = tuple(keys)
        self._held = frozenset(self._all)
        self._kids = frozenset(key.kid for key in self._all if key.kid is not None)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def knows(self, kid: str | None) -> bool:
        """Whether a key has this kid; a token without one is known, since no newer set could help it."""
        return kid is None or kid in self._kids

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names; without a kid, the only one there is."""
        if kid is None and len(self._all) > 1:
            return None
        named = (key for key in self._all if kid is None or key.kid == kid)
        return next((key for key in named if key.algorithm == algorithm), None)


def read_keys(text: bytes | bytearray) -> Keys:
    """The keys of a JSON Web Key Set; those of other types or for other purposes are left out.

    Raises UnusableKeysError where it is no key set, or one of more than 100 keys.
    """
    try:
        found = orjson.loads(text)
    except ValueError:
        found = None
    members = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(members, list):
        raise UnusableKeysError("it is not a JSON Web Key Set")
    if len(members) > _MOST_KEYS:
        raise UnusableKeysError(f"it holds more than {_MOST_KEYS} keys")
    keys = (_key(member) for member in members if isinstance(member, dict))
    return Keys(key for key in keys if key is not None)


def _key(jwk: dict[str, Any]) -> Key | None:
    kty, crv, kid = jwk.get("kty"), jwk.get("crv"), jwk.get("kid")
    if not isinstance(kty, str) or not isinstance(crv, str | None) or not isinstance(kid, str | None):
        return None
    kind = _KINDS.get((kty, None if kty == "RSA" else crv))
    if kind is None or len(kid or "") > _LONGEST_KID:
        return None
    algorithm, names = kind
    values = [jwk.get(name) for name in names]
    if not _is_meant_for(algorithm, jwk) or not all(isinstance(v, str) and len(v) <= _LONGEST_MEMBER for v in values):
        return None
    # A private key that was published by mistake is not even read.
    members = {"kty": kty, **dict(zip(names, values, strict=True))}
    public = _public(members, algorithm)
    return None if public is None else Key(kid, algorithm, sha256(orjson.dumps(members)).digest(), public)


def _is_meant_for(algorithm: str, jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )


def _public(members: dict[str, Any], algorithm: str) -> PyJWK | None:
    try:
        public = PyJWK(members, algorithm)
    except (PyJWTError, ValueError):
        return None
    # PyJWT has a message for keys that are too short, such as RSA keys of less than 2 048 bits.
    return None if public.Algorithm.check_key_length(public.key) else public


_LARGEST_BYTES = 256 * 1024
_SECONDS = 5.0
_TOO_LARGE = f"it is larger than {_LARGEST_BYTES} bytes"


class KeySource(Protocol):
    """Brings the text of a key set, at most 256 KiB of it."""

    async def fetch(self) -> bytes | bytearray:
        """Raises UnusableKeysError."""
        ...

    async def close(self) -> None:
        """Give back what is held open."""
        ...


class KeyFile:
    """A key set in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> bytes:
        """See KeySource."""
        return await asyncio.to_thread(self._read)

    async def close(self) -> None:
        """See KeySource."""

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                text = file.read(_LARGEST_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "its path is not one"
            raise UnusableKeysError(f"the file cannot be read: {reason}") from None
        if len(text) > _LARGEST_BYTES:
            raise UnusableKeysError(_TOO_LARGE)
        return text


class KeyUrl:
    """A key set that its issuer publishes. Redirects are not followed."""

    def __init__(self, url: str, connections: HttpClientFactory = ConnectionPool) -> None:
        """Raises AuthSettingsError where the URL is unusable."""
        base, self._target = _parts(url)
        self._connections = connections(base, {"accept": "application/jwk-set+json, application/json"})

    async def fetch(self) -> bytes | bytearray:
        """See KeySource."""
        try:
            reply = await self._connections.get(self._target, max_bytes=_LARGEST_BYTES, timeout_seconds=_SECONDS)
        except BodyTooLargeError:
            failure = _TOO_LARGE
        except TimeoutError:
            failure = f"no answer within {_SECONDS:g} s"
        except ContentDecodingError:
            failure = "the answer is not in the encoding that it names"
        # A host name that cannot be encoded is a ValueError.
        except (OSError, ValueError) as error:
            failure = f"no connection: {type(error).__name__}"
        else:
            if reply.status == 200:  # noqa: PLR2004 # OK
                return reply.body
            failure = f"the answer has status {reply.status}"
        raise UnusableKeysError(failure)

    async def close(self) -> None:
        """See KeySource."""
        await self._connections.close()


def key_source(place: str, connections: HttpClientFactory = ConnectionPool) -> KeySource:
    """The source of a key set by its http or https URL, or else by its path. Raises AuthSettingsError."""
    if re.match(r"https?:", place, re.IGNORECASE):
        return KeyUrl(place, connections)
    if "://" in place:
        raise AuthSettingsError("a key set comes from a file, or from an http or https URL")
    return KeyFile(Path(place))


def _parts(url: str) -> tuple[str, str]:
    """Scheme and host, and what to ask there for."""
    try:
        parts = urlsplit(url)
        usable = re.fullmatch(r"[!-~]+", url) and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or not re.fullmatch(r"[A-Za-z0-9.:_\[\]-]+", parts.netloc) or parts.fragment:
        raise AuthSettingsError(
            "the key set's URL needs a host and visible ASCII characters, without user name or fragment"
        )
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + query


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
