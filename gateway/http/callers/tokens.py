"""Callers that are told by signed tokens (JWT bearer tokens, RFC 7519 and RFC 8725)."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from gateway.domain.errors import Unauthenticated
from gateway.http.callers import claims
from gateway.http.callers.caller import Caller, Rate
from gateway.http.callers.credentials import bearer
from gateway.http.callers.key_set import KeySet
from gateway.http.callers.keys import Key
from gateway.http.callers.signatures import Signatures, checked_form

_MOST_REMEMBERED = 2_048
_LONGEST_REMEMBERED_SECONDS = 300.0


class _Judged(NamedTuple):
    """A token that was found good, and the time for which that counts, in seconds since 1970."""

    caller: Caller
    key: Key
    since: float
    until: float


class Tokens:
    """Tells callers by their tokens.

    What was found out about a token is remembered for minutes, by its digest, as long as the issuer has its key.
    """

    def __init__(
        self, keys: KeySet, rules: claims.Rules, *, rate: Rate, secret: bytes, now: Callable[[], datetime]
    ) -> None:
        """`secret` makes the callers' names: up to 64 random bytes, others in every process."""
        self._keys = keys
        self._rules = rules
        self._rate = rate
        self._secret = secret
        self._now = now
        self._signatures = Signatures()
        self._judged: OrderedDict[bytes, _Judged] = OrderedDict()

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """See Callers."""
        given = bearer(headers)
        if given is None:
            raise Unauthenticated("Send a token as `Authorization: Bearer`")
        token = checked_form(given)
        digest = sha256(token.encode("ascii")).digest()
        return self._remembered(digest) or await self._judge(token, digest)

    async def close(self) -> None:
        """See Callers."""
        await self._keys.close()

    def _remembered(self, digest: bytes) -> Caller | None:
        judged = self._judged.get(digest)
        if judged is None:
            return None
        keys = self._keys.at_hand()
        if keys is None or judged.key not in keys or not judged.since <= self._now().timestamp() < judged.until:
            del self._judged[digest]
            return None
        self._judged.move_to_end(digest)
        return judged.caller

    async def _judge(self, token: str, digest: bytes) -> Caller:
        header = self._signatures.header(token)
        key = await self._keys.find(header.kid, header.algorithm)
        if key is None:
            raise Unauthenticated("The token does not name (`kid`, `alg`) a key of its issuer")
        said = self._signatures.claims(token, key)
        now = self._now().timestamp()
        until = claims.valid_until(said, self._rules, now)
        name = claims.name(said, self._rules, self._secret)
        caller = Caller(name, claims.access(said, self._rules), self._rate)
        self._judged[digest] = _Judged(caller, key, now, min(until, now + _LONGEST_REMEMBERED_SECONDS))
        if len(self._judged) > _MOST_REMEMBERED:
            self._judged.popitem(last=False)
        return caller
