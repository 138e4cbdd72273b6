"""Signed bearer tokens: JWT (RFC 7519, RFC 8725) in the compact form of JWS (RFC 7515)."""

import json
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from hashlib import blake2b, sha256
from typing import Any, NamedTuple

import jwt
from cachetools import LRUCache
from jwt.exceptions import InvalidJTIError, InvalidSubjectError
from jwt.types import Options

from gateway.auth.caller import Caller, Rate, bearer, care_units, is_emr_code, patient_kinds
from gateway.auth.jwks import ALGORITHMS, NAMES, Key, KeySet
from gateway.domain.appointments import BookingRights
from gateway.domain.errors import Forbidden, Unauthenticated
from gateway.domain.models import Access

# How far the issuer's clock may be off, in seconds.
LEEWAY = 30.0

_ALL = "*"
_NAME_DIGITS = 12
# A program's token need not have a subject; it names the program then.
_SUBJECT_CLAIMS = ("sub", "client_id", "azp")
_MAX_TOKEN = 8_192
_MAX_CACHED = 2_048
# What a token takes by itself, in care units of a few hundred bytes each: it may list hundreds of them.
_TOKEN_SIZE = 8
_MAX_CACHED_SECONDS = 300.0
# Times are compared here, with the gateway's own clock.
_CHECKED: Options = {
    "require": ["exp"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_iss": True,
    "verify_aud": True,
    "enforce_minimum_key_length": True,
}
_FARTHEST = 1e12
_UNREADABLE = "The token cannot be read: it has three parts in base64url, joined by dots"
_UNSUPPORTED = "The token's header has `crit` or `b64`, which is not supported, or a `kid` that is not a text"
_REFUSALS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.InvalidIssuerError, "The token is not from the issuer (`iss`) that is trusted here"),
    (jwt.InvalidAudienceError, "The token is not meant for this gateway (`aud`)"),
    (InvalidSubjectError, "The token's subject is not a text (`sub`)"),
    (InvalidJTIError, "The token's own id is not a text (`jti`)"),
    (jwt.InvalidSignatureError, "The token's signature is wrong"),
)


@dataclass(frozen=True, slots=True)
class JwtRequirements:
    """The claims that a token must have, and the names of those that list what its caller may see."""

    issuer: str
    audience: str
    emrs_claim: str = "emrs"
    care_units_claim: str = "care_units"
    may_book_claim: str = "may_book"
    patient_by_claim: str = "patient_by"


def caller_name(claims: Mapping[str, Any], required: JwtRequirements, secret: bytes) -> str:
    """A pseudonym for the token's subject, which cannot be reversed without the secret.

    A subject may be a personal number, and those are so few that a digest without a secret could be reversed.
    """
    subject = next(([name, claims[name]] for name in _SUBJECT_CLAIMS if claims.get(name) is not None), [])
    if not all(isinstance(part, str) for part in subject):
        raise Unauthenticated("The token's subject is not a text (`sub`)")
    digest = blake2b(json.dumps([required.issuer, *subject]).encode("ascii"), key=secret)
    return f"token:{digest.hexdigest()[:_NAME_DIGITS]}"


def granted_access(claims: Mapping[str, Any], required: JwtRequirements) -> Access:
    """What a token's caller may see: the EHRs that it lists, and all their care units unless it lists those too.

    A list is an array or a text with spaces; `*` stands for all. Raises Forbidden for a token that allows nothing.
    """
    emrs = _listed(claims.get(required.emrs_claim))
    if not emrs or not all(each == _ALL or is_emr_code(each) for each in emrs):
        raise Forbidden(
            f"The token's claim `{required.emrs_claim}` must list the EHRs that it allows, or `{_ALL}` for all"
        )
    allowed = None if _ALL in emrs else emrs
    if required.care_units_claim not in claims:
        return Access(allowed)
    texts = _listed(claims[required.care_units_claim])
    if texts is not None and _ALL in texts:
        return Access(allowed)
    units = care_units(texts) if texts else None
    if units is None:
        raise Forbidden(
            f"The token's claim `{required.care_units_claim}` must list the care units that it allows, as node ids, "
            f"or `{_ALL}` for all"
        )
    return Access(allowed, units)


def granted_rights(claims: Mapping[str, Any], required: JwtRequirements) -> BookingRights:
    """Whether a token's caller may book, and how it may name patients. Raises Forbidden for claims of another form."""
    may_book = claims.get(required.may_book_claim, False)
    if not isinstance(may_book, bool):
        raise Forbidden(f"The token's claim `{required.may_book_claim}` must be true or false")
    if required.patient_by_claim not in claims:
        return BookingRights(may_book)
    kinds = patient_kinds(_listed(claims[required.patient_by_claim]) or ())
    if kinds is None:
        raise Forbidden(
            f"The token's claim `{required.patient_by_claim}` must list some of leyr_id, emr_id, national_number and "
            "details"
        )
    return BookingRights(may_book, kinds)


def _listed(value: object) -> frozenset[str] | None:
    if isinstance(value, str):
        return frozenset(value.split())
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return None
    return frozenset(value)


class _Cached(NamedTuple):
    """A verified token's caller, its key, and the time for which the result counts, in seconds since 1970.

    `secret` is what the caller's name was made with.
    """

    caller: Caller
    key: Key
    since: float
    until: float
    secret: bytes


def _size(cached: _Cached) -> int:
    return _TOKEN_SIZE + len(cached.caller.access.care_units or ())


def _new_cache() -> LRUCache[bytes, _Cached]:
    return LRUCache(_MAX_CACHED * _TOKEN_SIZE, getsizeof=_size)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JwtVerifier:
    """Verifies bearer tokens.

    Results are cached for minutes by the token's digest, as long as the issuer keeps the key. `secret` makes the
    callers' names: up to 64 random bytes. Where it is another than before, tokens are read again.
    """

    keys: KeySet
    required: JwtRequirements
    _: KW_ONLY
    rate: Rate
    secret: Callable[[], bytes]
    now: Callable[[], datetime]
    _cache: LRUCache[bytes, _Cached] = field(default_factory=_new_cache, init=False)

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """The caller that the token names."""
        token = bearer(headers)
        if token is None:
            raise Unauthenticated("Send a token as `Authorization: Bearer`")
        if len(token) > _MAX_TOKEN:
            raise Unauthenticated(f"The token is longer than {_MAX_TOKEN} characters")
        digest = sha256(token.encode()).digest()
        return self._cached(digest) or await self._verify(token, digest)

    async def start(self) -> None:
        """Begin to fetch the key set."""
        self.keys.start()

    async def close(self) -> None:
        """Close the key set."""
        await self.keys.close()

    def _cached(self, digest: bytes) -> Caller | None:
        cached = self._cache.get(digest)
        if cached is None:
            return None
        keys = self.keys.current()
        is_kept = keys is not None and cached.key in keys and cached.secret == self.secret()
        if is_kept and cached.since <= self.now().timestamp() < cached.until:
            return cached.caller
        del self._cache[digest]
        return None

    async def _verify(self, token: str, digest: bytes) -> Caller:
        kid, algorithm = _signed_with(token)
        if not self.keys.knows(kid):
            # Whatever its key: what would be refused is not worth a fetch, of which strangers get few.
            self._valid_until(self._claims(token))
        key = await self.keys.find(kid, NAMES[algorithm])
        if key is None:
            raise Unauthenticated("The token does not name (`kid`, `alg`) a key of its issuer")
        public = copy(key.public)
        # PyJWT knows EdDSA by its older name only, and has each key bound to one name.
        public.algorithm_name = algorithm
        claims = self._claims(token, public)
        now, until = self.now().timestamp(), self._valid_until(claims)
        secret = self.secret()
        name = caller_name(claims, self.required, secret)
        rights = granted_rights(claims, self.required)
        caller = Caller(name, granted_access(claims, self.required), self.rate, rights)
        self._cache[digest] = _Cached(caller, key, now, min(until, now + _MAX_CACHED_SECONDS), secret)
        return caller

    def _claims(self, token: str, key: jwt.PyJWK | None = None) -> dict[str, Any]:
        """The claims of a token that this key signed, or else anybody. Raises Unauthenticated."""
        options: Options = {**_CHECKED, "verify_signature": key is not None}
        issuer, audience = self.required.issuer, self.required.audience
        try:
            return jwt.decode(token, key or "", options=options, issuer=issuer, audience=audience)
        except jwt.PyJWTError as error:
            refusal = _refusal(error)
        raise refusal

    def _valid_until(self, claims: Mapping[str, Any]) -> float:
        """The end of a token's validity, in seconds since 1970. Raises Unauthenticated if it is not valid now."""
        now = self.now().timestamp()
        times = {name: claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
        for name, at in times.items():
            if type(at) not in {int, float} or not -_FARTHEST < at < _FARTHEST:
                raise Unauthenticated(f"The token's `{name}` is not a number of seconds")
        until: float = times.pop("exp") + LEEWAY
        if now >= until:
            raise Unauthenticated("The token has expired (`exp`); get a new one")
        if any(now < at - LEEWAY for at in times.values()):
            raise Unauthenticated("The token does not hold yet (`nbf`, `iat`)")
        return until


def _signed_with(token: str) -> tuple[str | None, str]:
    """The kid and the algorithm that a token names; not to be trusted yet. Raises Unauthenticated."""
    header: dict[str, Any] = {}
    refusal: str | None = None
    try:
        header = jwt.get_unverified_header(token)
    except jwt.DecodeError:
        refusal = _UNREADABLE
    except jwt.InvalidTokenError:
        refusal = _UNSUPPORTED
    if refusal is not None:
        raise Unauthenticated(refusal)
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in NAMES:
        raise Unauthenticated(f"The token must be signed with one of {', '.join(ALGORITHMS)}")
    # A server must understand all that `crit` names (RFC 7515, 4.1.11); the gateway understands none of it.
    if "crit" in header or "b64" in header:
        raise Unauthenticated(_UNSUPPORTED)
    return kid, algorithm


def _refusal(error: jwt.PyJWTError) -> Unauthenticated:
    """What a client is told; never PyJWT's own words, since they may quote the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return Unauthenticated(f"The token has no `{error.claim}`")
    said = next((message for kind, message in _REFUSALS if isinstance(error, kind)), None)
    return Unauthenticated(said or _UNREADABLE)
