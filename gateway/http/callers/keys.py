"""The keys that tokens may be signed with: what a JSON Web Key Set says (RFC 7517, RFC 8037)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from jwt import PyJWK
from jwt.exceptions import PyJWTError

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
