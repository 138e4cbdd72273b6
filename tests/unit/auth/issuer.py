"""An issuer of tokens with real keys, and its key set."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.auth.jwks import UnusableKeysError

ISSUER, AUDIENCE = "https://issuer.example/", "leyr-gateway"
SUBJECT = "191212121212"
START = datetime(2026, 11, 23, 7, 0, tzinfo=UTC).timestamp()

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def private_key(algorithm: str, which: str = "first") -> PrivateKey:
    """The same key for the same arguments."""
    return _made(algorithm, which)


@cache
def _made(algorithm: str, _which: str) -> PrivateKey:
    """Made once, since RSA keys take a while."""
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[algorithm])


def public_jwk(key: PrivateKey, kid: str | None = None, **more: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        text = RSAAlgorithm.to_jwk(key.public_key())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        text = ECAlgorithm.to_jwk(key.public_key())
    else:
        text = OKPAlgorithm.to_jwk(key.public_key())
    jwk = {name: value for name, value in json.loads(text).items() if name != "key_ops"}
    return jwk | ({} if kid is None else {"kid": kid}) | more


def key_set(*jwks: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def said(**changed: Any) -> dict[str, Any]:
    """A token's claims; those that are None are left out."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "exp": START + 600, "emrs": ["webdoc"], **changed}
    return {name: value for name, value in claims.items() if value is not None}


def signed(
    claims: Mapping[str, Any], algorithm: str = "RS256", kid: str | None = "k1", which: str = "first", **header: Any
) -> str:
    named = header if kid is None else {"kid": kid, **header}
    return jwt.encode(dict(claims), private_key(algorithm, which), algorithm, named)


@dataclass
class Published:
    """A key set that can be had, until it fails or keeps whoever asks waiting."""

    text: bytes
    failure: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fetches: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self) -> bytes:
        self.fetches += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.text

    async def close(self) -> None:
        self.closed = True


NO_ANSWER = UnusableKeysError("no answer within 5 s")


@dataclass
class Time:
    """A clock, in seconds since 1970, that stands still until a test moves it."""

    seconds: float = START

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)
