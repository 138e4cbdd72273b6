"""An issuer of tokens with real keys, its key set, and a verifier that trusts it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.auth.caller import Caller, CredentialVerifier, Rate
from gateway.auth.jwks import KeySet, UnusableKeysError
from gateway.auth.jwt import JwtRequirements, JwtVerifier
from gateway.domain.errors import GatewayError, Unauthenticated

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


RATE = Rate(5, 10)
KEYS = key_set(
    public_jwk(private_key("RS256"), "k1", alg="RS256", use="sig"),
    public_jwk(private_key("ES256"), "k2"),
    public_jwk(private_key("EdDSA"), "k3"),
)


class VerifierUnderTest:
    """A JwtVerifier with an issuer and a clock that the test controls."""

    def __init__(self, text: bytes = KEYS) -> None:
        self.published = Published(text)
        self.time = Time()
        self.reasons: list[str] = []
        self.secret = b"canary-secret"
        keys = KeySet(self.published, clock=self.time, on_failed=self.reasons.append)
        self.callers: CredentialVerifier = JwtVerifier(
            keys, JwtRequirements(ISSUER, AUDIENCE), rate=RATE, secret=lambda: self.secret, now=self.time.now
        )

    async def enter(self, token: str) -> Caller:
        return await self.callers.identify({b"authorization": f"Bearer {token}"})

    async def refusal(self, token: str, error: type[GatewayError] = Unauthenticated) -> str:
        with pytest.raises(error) as refusal:
            await self.enter(token)
        assert refusal.value.__context__ is None
        shown = f"{refusal.value!r} {refusal.value.message} {self.callers!r} {self.reasons}"
        assert token not in shown
        assert SUBJECT not in shown
        assert "canary" not in shown
        return refusal.value.message
