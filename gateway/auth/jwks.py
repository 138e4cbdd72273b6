"""An issuer's JSON Web Key Set (RFC 7517, RFC 8037), from a file or a URL.

It is fetched at the start, or else for the first token. It is fresh for ten minutes; then it is used while it is
refreshed, for up to a day if that fails. A token with an unknown kid has it fetched at once, since issuers change keys
at any time, but at most every 30 seconds on average, since anybody can make up kids.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
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
from gateway.files import FileError, FileTooLargeError, read_file
from gateway.http_client.connection import BodyTooLargeError
from gateway.http_client.content_encoding import ContentDecodingError
from gateway.http_client.failures import kind_of
from gateway.http_client.pool import HttpClient, HttpClientFactory

ALGORITHMS = ("RS256", "ES256", "EdDSA")
NAMES = {**{name: name for name in ALGORITHMS}, "Ed25519": "EdDSA"}
"""The names that tokens and keys may give an algorithm; RFC 9864 has a name for EdDSA with this curve."""

_NO_KEY = f"it holds no key for {', '.join(ALGORITHMS)}"
_MAX_KEYS = 100
# RSA keys of 12 288 bits; verifying with longer ones takes long.
_MAX_MEMBER = 2_048
_MAX_KID = 1_024
# By type and curve: the only algorithm that a key may be used with, and its public members.
_KINDS = {
    ("RSA", None): ("RS256", ("n", "e")),
    ("EC", "P-256"): ("ES256", ("crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("crv", "x")),
}
_MAX_BYTES = 256 * 1024
_FETCH_SECONDS = 5.0
_TOO_LARGE = f"it is larger than {_MAX_BYTES} bytes"
_LIFETIMES = Lifetimes(fresh=600.0, stale=86_400.0)
_SECONDS_BETWEEN_FETCHES = 30.0
# How many fetches for unknown kids may follow each other at once, so that a made-up kid delays no other.
_LOOKUPS_AT_ONCE = 5
# Shorter, since no caller can be authenticated until there are keys.
_SECONDS_BETWEEN_FIRST_FETCHES = 5.0


class UnusableKeysError(Exception):
    """A key set could not be fetched or read; the message says why without quoting anything."""


class KeysUnavailableError(GatewayError):
    """A token cannot be verified now, since the issuer's keys could not be fetched; they may be in some seconds."""

    code = "KEYS_UNAVAILABLE"

    def __init__(self, seconds: float) -> None:
        message = "The keys that tokens are checked with cannot be had at the moment; try again"
        super().__init__(message, retryable=True, retry_after=max(1, ceil(seconds)))


@dataclass(frozen=True, slots=True)
class Key:
    """A public key for one algorithm; `digest` is that of its public members."""

    kid: str | None
    algorithm: str
    digest: bytes
    public: PyJWK = field(compare=False, repr=False)


class Keys:
    """The usable keys of a key set; of several with the same kid and algorithm the first is used."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._all = tuple(keys)
        self._held = frozenset(self._all)
        self.kids = frozenset(key.kid for key in self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def knows(self, kid: str | None) -> bool:
        """Whether a key has this kid. True where a newer key set would not help: without a kid, or with a long one."""
        return kid is None or len(kid) > _MAX_KID or kid in self.kids

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names; without a kid, the only key of the set."""
        if kid is None and len(self._all) > 1:
            return None
        named = (key for key in self._all if kid is None or key.kid == kid)
        return next((key for key in named if key.algorithm == algorithm), None)


def read_keys(text: bytes | bytearray) -> Keys:
    """Read a JSON Web Key Set; keys of other types or for other purposes are left out.

    Raises UnusableKeysError for anything else than a key set, or one of more than 100 keys.
    """
    found = None
    with suppress(ValueError):
        found = orjson.loads(text)
    members = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(members, list):
        raise UnusableKeysError("it is not a JSON Web Key Set")
    if len(members) > _MAX_KEYS:
        raise UnusableKeysError(f"it holds more than {_MAX_KEYS} keys")
    keys = (_key(member) for member in members if isinstance(member, dict))
    return Keys(key for key in keys if key is not None)


def read_usable_keys(text: bytes | bytearray) -> Keys:
    """Read a JSON Web Key Set that has to hold a key. Raises UnusableKeysError."""
    keys = read_keys(text)
    if not keys:
        raise UnusableKeysError(_NO_KEY)
    return keys


def _key(jwk: dict[str, Any]) -> Key | None:
    kty, crv, kid = jwk.get("kty"), jwk.get("crv"), jwk.get("kid")
    if not isinstance(kty, str) or not isinstance(crv, str | None) or not isinstance(kid, str | None):
        return None
    kind = _KINDS.get((kty, None if kty == "RSA" else crv))
    if kind is None or len(kid or "") > _MAX_KID:
        return None
    algorithm, names = kind
    values = [jwk.get(name) for name in names]
    if not _is_meant_for(algorithm, jwk) or not all(isinstance(v, str) and len(v) <= _MAX_MEMBER for v in values):
        return None
    # Public members only: a private key that was published by mistake is not even read.
    members = {"kty": kty, **dict(zip(names, values, strict=True))}
    try:
        public = PyJWK(members, algorithm)
    except (PyJWTError, ValueError):
        return None
    # PyJWT has a message for keys that are too short, such as RSA keys of less than 2 048 bits.
    is_short = public.Algorithm.check_key_length(public.key)
    return None if is_short else Key(kid, algorithm, sha256(orjson.dumps(members)).digest(), public)


def _is_meant_for(algorithm: str, jwk: dict[str, Any]) -> bool:
    # Some issuers write null or an empty list where they mean nothing.
    use, named, operations = (None if jwk.get(name) == [] else jwk.get(name) for name in ("use", "alg", "key_ops"))
    if use not in (None, "sig") or not isinstance(named, str | None):
        return False
    is_named = named is None or NAMES.get(named) == algorithm
    return is_named and (operations is None or (isinstance(operations, list) and "verify" in operations))


class KeySource(Protocol):
    """Fetches the text of a key set, at most 256 KiB."""

    async def fetch(self) -> bytes | bytearray:
        """Raises UnusableKeysError."""
        ...

    async def close(self) -> None:
        """Close connections, if there are any."""
        ...


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key set in a file."""

    path: Path

    async def fetch(self) -> bytes:
        """Read the file, in a thread."""
        return await asyncio.to_thread(self.read)

    async def close(self) -> None:
        """Close nothing: the file is not kept open."""

    def read(self) -> bytes:
        """Read the file now. Raises UnusableKeysError."""
        try:
            return read_file(self.path, _MAX_BYTES)
        except FileTooLargeError:
            raise UnusableKeysError(_TOO_LARGE) from None
        except FileError as error:
            raise UnusableKeysError(f"the file cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class KeyUrl:
    """A key set at its issuer's URL. Redirects are not followed, since they could lead to another issuer's keys."""

    connections: HttpClient
    target: str

    async def fetch(self) -> bytes | bytearray:
        """Send a GET request."""
        try:
            response = await self.connections.get(self.target, max_bytes=_MAX_BYTES, timeout_seconds=_FETCH_SECONDS)
        except BodyTooLargeError:
            failure = _TOO_LARGE
        except TimeoutError:
            failure = f"no answer within {_FETCH_SECONDS:g} s"
        except ContentDecodingError:
            failure = "the answer is not in the encoding that it names"
        # A host name that cannot be encoded is a ValueError.
        except (OSError, ValueError) as error:
            failure = f"no connection: {kind_of(error).value}"
        else:
            if response.status == 200:  # noqa: PLR2004 # OK
                return response.body
            failure = f"the answer has status {response.status}"
        raise UnusableKeysError(failure)

    async def close(self) -> None:
        """Close the connections."""
        await self.connections.close()


def key_source(place: str, connections: HttpClientFactory) -> KeySource:
    """The source for an http or https URL, or else for a path. Raises AuthSettingsError."""
    if not re.match(r"https?:", place, re.IGNORECASE):
        if "://" in place:
            raise AuthSettingsError("a key set comes from a file, or from an http or https URL")
        return KeyFile(Path(place))
    try:
        parts = urlsplit(place)
        usable = re.fullmatch(r"[!-~]+", place) and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or not re.fullmatch(r"[A-Za-z0-9.:_\[\]-]+", parts.netloc) or parts.fragment:
        raise AuthSettingsError(
            "the key set's URL needs a host and visible ASCII characters, without user name or fragment"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"accept": "application/jwk-set+json, application/json"}
    return KeyUrl(connections(f"{parts.scheme}://{parts.netloc}", headers), target)


class _Lookups:
    """When unknown kids may have the keys fetched: each every 30 seconds, and all together as often on average.

    In between it is not known whether there is such a key, since it may be newer than the last fetch.
    """

    def __init__(self) -> None:
        self._left = float(_LOOKUPS_AT_ONCE)
        self._counted_at = 0.0
        self._began: dict[str, float] = {}

    def wait(self, kid: str, now: float) -> float:
        """The seconds until a fetch for this kid may begin; 0 where it may now."""
        self._left = min(self._left + (now - self._counted_at) / _SECONDS_BETWEEN_FETCHES, _LOOKUPS_AT_ONCE)
        self._counted_at = now
        for_all = (1 - self._left) * _SECONDS_BETWEEN_FETCHES
        return max(self._began.get(kid, -inf) + _SECONDS_BETWEEN_FETCHES - now, for_all, 0.0)

    def begin(self, kid: str, now: float) -> None:
        """Count a fetch."""
        self._left -= 1
        latest = now - _SECONDS_BETWEEN_FETCHES
        self._began = {kid: now, **{each: began for each, began in self._began.items() if began > latest}}


@dataclass(slots=True, eq=False)
class KeySet:
    """The current keys of one issuer; to be used inside one event loop.

    `clock` counts seconds; `on_failed` is called with the reason when a fetch brings no usable key.
    """

    source: KeySource
    _: KW_ONLY
    clock: Callable[[], float]
    on_failed: Callable[[str], None]
    _keys: Keys | None = None
    _fetched_at: float = -inf
    _last_fetch_at: float = -inf
    _withdrawn: frozenset[str | None] = frozenset()
    _call: SharedCall[Keys] | None = None
    _lookups: _Lookups = field(default_factory=_Lookups)

    def current(self) -> Keys | None:
        """The keys, None if they are missing or too old. Begins a refresh if they are stale."""
        now = self.clock()
        age = now - self._fetched_at
        if age >= _LIFETIMES.served:
            return None
        if age >= _LIFETIMES.fresh and self._call is None and now - self._last_fetch_at >= _SECONDS_BETWEEN_FETCHES:
            self._start_fetch(now)
        return self._keys

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names. Raises KeysUnavailableError, with the seconds to wait."""
        keys = self.current()
        if keys is None:
            keys = await self._after_first_fetch()
        elif kid is not None and not self.knows(kid):
            keys = await self._after_lookup(kid)
        return keys.find(kid, algorithm)

    def knows(self, kid: str | None) -> bool:
        """Whether no fetch is needed for a token with this kid alone."""
        keys = self.current()
        if keys is None or keys.knows(kid):
            return True
        # A key that was there before is withdrawn, not newer than the last fetch.
        return kid in self._withdrawn and self.clock() - self._fetched_at < _SECONDS_BETWEEN_FETCHES

    def start(self) -> None:
        """Begin the first fetch, or another one; where it fails, the first token has another one begun at once."""
        if self._call is None:
            self._start_fetch(self.clock())
            self._last_fetch_at = -inf

    async def close(self) -> None:
        """Cancel a running fetch, and close the source."""
        if self._call is not None:
            self._call.release()
        await self.source.close()

    async def _after_first_fetch(self) -> Keys:
        """The keys after the running fetch, or else after a new one, unless the last failed a moment ago."""
        call, now = self._call, self.clock()
        if call is None:
            wait = self._last_fetch_at + _SECONDS_BETWEEN_FIRST_FETCHES - now
            if wait > 0:
                raise KeysUnavailableError(wait)
            call = self._start_fetch(now)
        return await self._after(call, _SECONDS_BETWEEN_FIRST_FETCHES)

    async def _after_lookup(self, kid: str) -> Keys:
        """The keys after the running fetch, or else after a new one for this kid, unless it has to wait."""
        call, now = self._call, self.clock()
        if call is None:
            wait = self._lookups.wait(kid, now)
            if wait > 0:
                raise KeysUnavailableError(wait)
            self._lookups.begin(kid, now)
            call = self._start_fetch(now)
        return await self._after(call, _SECONDS_BETWEEN_FETCHES)

    async def _after(self, call: SharedCall[Keys], pause: float) -> Keys:
        with suppress(UnusableKeysError):
            return await call.wait()
        raise KeysUnavailableError(pause)

    def _start_fetch(self, now: float) -> SharedCall[Keys]:
        """Begin a fetch. It holds itself, so it goes on when the requests that wait for it are cancelled."""
        self._last_fetch_at = now
        self._call = SharedCall(self._fetch(now), now, self._ended)
        return self._call

    async def _fetch(self, started: float) -> Keys:
        try:
            keys = read_keys(await self.source.fetch())
        except UnusableKeysError as error:
            self.on_failed(str(error))
            raise
        if not keys:
            self.on_failed(_NO_KEY)
        # An empty key set counts too: keys that the issuer withdrew must not be used.
        self._withdrawn = frozenset() if self._keys is None else self._keys.kids - keys.kids
        self._keys, self._fetched_at = keys, started
        return keys

    def _ended(self, _: SharedCall[Keys]) -> None:
        self._call = None
