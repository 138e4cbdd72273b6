"""Callers that are told by signed tokens (bearer JWTs: RFC 7519, RFC 8725; JWS compact form: RFC 7515)."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b, sha256
from math import isfinite
from typing import Any, NamedTuple

import orjson
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from gateway.auth.caller import Caller, Rate, bearer, care_units, is_emr_code
from gateway.auth.jwks import ALGORITHMS, Key, KeySet
from gateway.domain.errors import Forbidden, Unauthenticated
from gateway.domain.models import Access

# How far the issuer's clock may be off, in seconds.
LEEWAY = 30.0

_ALL = "*"
_DIGITS_OF_A_NAME = 12
# JwtVerifier of programs need no subject; they name the program then.
_WHO = ("sub", "client_id", "azp")


@dataclass(frozen=True, slots=True)
class JwtRequirements:
    """What tokens must say, and the claims that list what a caller may see."""

    issuer: str
    audience: str
    emrs_claim: str = "emrs"
    care_units_claim: str = "care_units"


def valid_until(claims: Mapping[str, Any], rules: JwtRequirements, now: float) -> float:
    """Until when a token holds, in seconds since 1970. Raises Unauthenticated where it does not hold now."""
    if claims.get("iss") != rules.issuer:
        raise Unauthenticated("The token is not from the issuer (`iss`) that is trusted here")
    audience = claims.get("aud")
    if audience != rules.audience and not (isinstance(audience, list) and rules.audience in audience):
        raise Unauthenticated("The token is not meant for this gateway (`aud`)")
    expires, begins, issued = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise Unauthenticated("The token does not say when it expires (`exp`)")
    if now >= expires + LEEWAY:
        raise Unauthenticated("The token has expired (`exp`); get a new one")
    if any(at is not None and now < at - LEEWAY for at in (begins, issued)):
        raise Unauthenticated("The token does not hold yet (`nbf`, `iat`)")
    return expires + LEEWAY


def caller_name(claims: Mapping[str, Any], rules: JwtRequirements, secret: bytes) -> str:
    """A name for whoever the token is about, which does not tell who that is.

    A subject may be a personal number, and there are so few of those that a digest without a secret could be undone.
    """
    who = next(([each, claims[each]] for each in _WHO if claims.get(each) is not None), [])
    if not all(isinstance(part, str) for part in who):
        raise Unauthenticated("The token's subject is not a text (`sub`)")
    digest = blake2b(orjson.dumps([rules.issuer, *who]), key=secret)
    return f"token:{digest.hexdigest()[:_DIGITS_OF_A_NAME]}"


def granted_access(claims: Mapping[str, Any], rules: JwtRequirements) -> Access:
    """What a token lets its caller see: no EHR that it does not list, and of those all care units unless it lists some.

    A list is an array, or a text with spaces; `*` stands for all. Raises Forbidden for a token that allows nothing.
    """
    emrs = _listed(claims.get(rules.emrs_claim))
    if not emrs or not all(each == _ALL or is_emr_code(each) for each in emrs):
        raise Forbidden(
            f"The token's claim `{rules.emrs_claim}` must list the EHRs that it allows, or `{_ALL}` for all"
        )
    allowed = None if _ALL in emrs else emrs
    if rules.care_units_claim not in claims:
        return Access(allowed)
    texts = _listed(claims[rules.care_units_claim])
    if texts is not None and _ALL in texts:
        return Access(allowed)
    units = care_units(texts) if texts else None
    if units is None:
        raise Forbidden(
            f"The token's claim `{rules.care_units_claim}` must list the care units that it allows, as node ids, "
            f"or `{_ALL}` for all"
        )
    return Access(allowed, units)


def _seconds(claims: Mapping[str, Any], claim: str) -> float | None:
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Unauthenticated(f"The token's `{claim}` is not a number of seconds")
    return float(value)


def _listed(value: object) -> frozenset[str] | None:
    if isinstance(value, str):
        return frozenset(value.split())
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return None
    return frozenset(value)


_LONGEST = 8_192
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Header:
    """What a token says about its signature."""

    kid: str | None
    algorithm: str


def checked_form(token: str) -> str:
    """The token itself, if it may be one. Raises Unauthenticated."""
    if len(token) > _LONGEST:
        raise Unauthenticated(f"The token is longer than {_LONGEST} characters")
    if not _FORM.fullmatch(token):
        raise Unauthenticated("This is not a token: it has three parts in base64url, joined by dots")
    return token


class Signatures:
    """Reads signed tokens. Errors of PyJWT are swallowed, since they may quote what they are about."""

    def __init__(self) -> None:
        self._jws = PyJWS(ALGORITHMS, {"verify_signature": True, "enforce_minimum_key_length": True})

    def header(self, token: str) -> Header:
        """What names the key; not yet to be trusted. Raises Unauthenticated."""
        header = self._header(token)
        if header is None:
            raise Unauthenticated("The token's header cannot be read")
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise Unauthenticated(f"The token must be signed with one of {', '.join(ALGORITHMS)}")
        # What `crit` names must be understood (RFC 7515, 4.1.11), and nothing of it is.
        if "crit" in header or "b64" in header:
            raise Unauthenticated("The token's header has `crit` or `b64`, which is not supported")
        return Header(kid, algorithm)

    def claims(self, token: str, key: Key) -> dict[str, Any]:
        """What a token says that was signed with this key. Raises Unauthenticated."""
        payload = self._payload(token, key)
        if payload is None:
            raise Unauthenticated("The token's signature is wrong")
        claims = _parsed(payload)
        if not isinstance(claims, dict):
            raise Unauthenticated("The token holds no JSON object")
        return claims

    def _header(self, token: str) -> dict[str, Any] | None:
        try:
            return self._jws.get_unverified_header(token)
        except PyJWTError:
            return None

    def _payload(self, token: str, key: Key) -> bytes | None:
        try:
            payload: bytes = self._jws.decode(token, key.public, [key.algorithm])
        except PyJWTError:
            return None
        return payload


def _parsed(payload: bytes) -> object:
    try:
        return orjson.loads(payload)
    except ValueError:
        return None


_MOST_REMEMBERED = 2_048
_LONGEST_REMEMBERED_SECONDS = 300.0


class _Verified(NamedTuple):
    """A token that was found good, and the time for which that counts, in seconds since 1970."""

    caller: Caller
    key: Key
    since: float
    until: float


class JwtVerifier:
    """Tells callers by their tokens.

    What was found out about a token is remembered for minutes, by its digest, as long as the issuer has its key.
    """

    def __init__(
        self, keys: KeySet, rules: JwtRequirements, *, rate: Rate, secret: bytes, now: Callable[[], datetime]
    ) -> None:
        """`secret` makes the callers' names: up to 64 random bytes, others in every process."""
        self._keys = keys
        self._rules = rules
        self._rate = rate
        self._secret = secret
        self._now = now
        self._signatures = Signatures()
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """See CredentialVerifier."""
        given = bearer(headers)
        if given is None:
            raise Unauthenticated("Send a token as `Authorization: Bearer`")
        token = checked_form(given)
        digest = sha256(token.encode("ascii")).digest()
        return self._remembered(digest) or await self._verify(token, digest)

    async def close(self) -> None:
        """See CredentialVerifier."""
        await self._keys.close()

    def _remembered(self, digest: bytes) -> Caller | None:
        verified = self._verified.get(digest)
        if verified is None:
            return None
        keys = self._keys.at_hand()
        if keys is None or verified.key not in keys or not verified.since <= self._now().timestamp() < verified.until:
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return verified.caller

    async def _verify(self, token: str, digest: bytes) -> Caller:
        header = self._signatures.header(token)
        key = await self._keys.find(header.kid, header.algorithm)
        if key is None:
            raise Unauthenticated("The token does not name (`kid`, `alg`) a key of its issuer")
        said = self._signatures.claims(token, key)
        now = self._now().timestamp()
        until = valid_until(said, self._rules, now)
        name = caller_name(said, self._rules, self._secret)
        caller = Caller(name, granted_access(said, self._rules), self._rate)
        self._verified[digest] = _Verified(caller, key, now, min(until, now + _LONGEST_REMEMBERED_SECONDS))
        if len(self._verified) > _MOST_REMEMBERED:
            self._verified.popitem(last=False)
        return caller
