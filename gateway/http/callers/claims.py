"""What a genuine token says (RFC 7519): whether it holds here and now, whose it is, and what its caller may see."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any

import orjson

from gateway.domain.errors import Forbidden, Unauthenticated
from gateway.domain.models import Access
from gateway.http.callers.grants import care_units, is_emr_code

# How far the issuer's clock may be off, in seconds.
LEEWAY = 30.0

_ALL = "*"
_DIGITS_OF_A_NAME = 12
# Tokens of programs need no subject; they name the program then.
_WHO = ("sub", "client_id", "azp")


@dataclass(frozen=True, slots=True)
class Rules:
    """What tokens must say, and the claims that list what a caller may see."""

    issuer: str
    audience: str
    emrs_claim: str = "emrs"
    care_units_claim: str = "care_units"


def valid_until(claims: Mapping[str, Any], rules: Rules, now: float) -> float:
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


def name(claims: Mapping[str, Any], rules: Rules, secret: bytes) -> str:
    """A name for whoever the token is about, which does not tell who that is.

    A subject may be a personal number, and there are so few of those that a digest without a secret could be undone.
    """
    who = next(([each, claims[each]] for each in _WHO if claims.get(each) is not None), [])
    if not all(isinstance(part, str) for part in who):
        raise Unauthenticated("The token's subject is not a text (`sub`)")
    digest = blake2b(orjson.dumps([rules.issuer, *who]), key=secret)
    return f"token:{digest.hexdigest()[:_DIGITS_OF_A_NAME]}"


def access(claims: Mapping[str, Any], rules: Rules) -> Access:
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
