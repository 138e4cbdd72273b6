"""Whether a token is signed (JWS compact serialisation, RFC 7515). What it says is for claims.py."""

import re
from dataclasses import dataclass
from typing import Any

import orjson
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from gateway.domain.errors import Unauthenticated
from gateway.http.callers.keys import ALGORITHMS, Key

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
