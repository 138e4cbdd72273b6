"""Verification of tokens, how long it is cached, and that no message quotes a token."""

import json
import logging
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.jwks import KeysUnavailableError
from gateway.domain.errors import Forbidden, Unauthenticated
from gateway.domain.models import Access
from tests.unit.auth.issuer import (
    NO_ANSWER,
    RATE,
    START,
    SUBJECT,
    VerifierUnderTest,
    key_set,
    private_key,
    public_jwk,
    said,
    signed,
)


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(("algorithm", "kid"), [("RS256", "k1"), ("ES256", "k2"), ("EdDSA", "k3")])
async def test_a_signed_token_identifies_its_caller(algorithm: str, kid: str) -> None:
    caller = await VerifierUnderTest().enter(signed(said(), algorithm, kid))

    assert caller.access == Access(frozenset({"webdoc"}))
    assert caller.rate == RATE
    assert caller.name.startswith("token:")
    assert SUBJECT not in repr(caller)


@pytest.mark.parametrize("named", [{}, {"alg": "Ed25519"}, {"alg": "EdDSA"}])
async def test_a_token_may_have_the_newer_name_of_its_algorithm(named: dict[str, str]) -> None:
    keys = public_jwk(private_key("EdDSA"), "k3", **named), public_jwk(private_key("RS256"), "k1")
    verifier = VerifierUnderTest(key_set(*keys))
    head = f"{part({'alg': 'Ed25519', 'kid': 'k3'})}.{part(said())}"
    key = private_key("EdDSA")
    assert isinstance(key, Ed25519PrivateKey)
    seal = urlsafe_b64encode(key.sign(head.encode())).rstrip(b"=").decode()

    assert (await verifier.enter(f"{head}.{seal}")).access == Access(frozenset({"webdoc"}))
    wrong = urlsafe_b64encode(key.sign(b"canary")).rstrip(b"=").decode()
    assert await verifier.refusal(f"{head}.{wrong}") == "The token's signature is wrong"
    other = f"{part({'alg': 'Ed25519', 'kid': 'k1'})}.{part(said())}.{seal}"
    assert "does not name" in await verifier.refusal(other)


async def test_a_token_may_have_a_type_in_its_header() -> None:
    assert await VerifierUnderTest().enter(sealed({"alg": "RS256", "kid": "k1", "typ": "at+jwt"})) is not None


async def test_tokens_of_one_subject_identify_one_caller() -> None:
    verifier = VerifierUnderTest()
    first, second = (
        await verifier.enter(signed(said())),
        await verifier.enter(signed(said(exp=START + 9), "ES256", "k2")),
    )

    assert first == second
    assert first.name != (await verifier.enter(signed(said(sub="another")))).name


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": START - 31}, "has expired"),
        ({"exp": None}, "`exp`"),
        ({"nbf": START + 31}, "not hold yet"),
        ({"iat": START + 31}, "not hold yet"),
        ({"aud": "canary"}, "`aud`"),
        ({"iss": "canary"}, "`iss`"),
        ({"aud": None}, "`aud`"),
        ({"iss": None}, "`iss`"),
    ],
)
async def test_a_genuine_token_with_invalid_claims_is_unauthenticated(claims: dict[str, Any], message: str) -> None:
    assert message in await VerifierUnderTest().refusal(signed(said(**claims)))


async def test_a_token_that_allows_no_ehr_is_forbidden() -> None:
    assert "`emrs`" in await VerifierUnderTest().refusal(signed(said(emrs=None)), Forbidden)


def forged(algorithm: str) -> str:
    """Signed with the public key as if it were a shared secret."""
    public = private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # PyJWT refuses such a secret itself, unless it comes as something else than PEM.
    signer = jwt.get_algorithm_by_name("HS256")
    start = f"{part({'alg': algorithm, 'kid': 'k1'})}.{part(said())}"
    return f"{start}.{urlsafe_b64encode(signer.sign(start.encode(), public)).rstrip(b'=').decode()}"


def sealed(header: dict[str, Any]) -> str:
    """Signed as it stands, whatever its header says."""
    start = f"{part(header)}.{part(said())}"
    signature = jwt.get_algorithm_by_name("RS256").sign(start.encode(), private_key("RS256"))
    return f"{start}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


WHOLE = signed(said())
HEAD, PAYLOAD, SIGNATURE = WHOLE.split(".")
RSA = private_key("RS256")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (f"{part({'alg': 'none', 'kid': 'k1'})}.{part(said())}.", "one of RS256, ES256, EdDSA"),
        (f"{part({'alg': 'none', 'kid': 'k1'})}.{part(said())}.{SIGNATURE}", "one of RS256, ES256, EdDSA"),
        (f"{part({'kid': 'k1'})}.{PAYLOAD}.{SIGNATURE}", "one of RS256, ES256, EdDSA"),
        (f"{part({'alg': ['RS256'], 'kid': 'k1'})}.{PAYLOAD}.{SIGNATURE}", "one of RS256, ES256, EdDSA"),
        (f"{part({'alg': 'rs256', 'kid': 'k1'})}.{PAYLOAD}.{SIGNATURE}", "one of RS256, ES256, EdDSA"),
        (jwt.encode(said(), RSA, "PS256", {"kid": "k1"}), "one of RS256, ES256, EdDSA"),
        (jwt.encode(said(), RSA, "RS512", {"kid": "k1"}), "one of RS256, ES256, EdDSA"),
        (jwt.encode(said(), "canary" * 9, "HS256", {"kid": "k1"}), "one of RS256, ES256, EdDSA"),
        (forged("HS256"), "one of RS256, ES256, EdDSA"),
        (forged("RS256"), "signature is wrong"),
        (signed(said(), "ES256", "k1"), "does not name"),
        (signed(said(), "RS256", "k2"), "does not name"),
        (signed(said(), "RS256", "k9"), "does not name"),
        (signed(said(), "RS256", "k1\n"), "does not name"),
        (signed(said(), "RS256", "../k1"), "does not name"),
        (signed(said(), "RS256", ""), "does not name"),
        (signed(said(), "RS256", None), "does not name"),
        (f"{part({'alg': 'RS256', 'kid': 1})}.{PAYLOAD}.{SIGNATURE}", "`kid` that is not a text"),
        (f"{part({'alg': 'RS256', 'kid': None})}.{PAYLOAD}.{SIGNATURE}", "`kid` that is not a text"),
        (signed(said(), which="second"), "signature is wrong"),
        (f"{HEAD}.{part(said(emrs='*'))}.{SIGNATURE}", "signature is wrong"),
        (f"{part({'alg': 'RS256', 'kid': 'k1', 'typ': 'at+jwt'})}.{PAYLOAD}.{SIGNATURE}", "signature is wrong"),
        (f"{HEAD}.{PAYLOAD}.", "signature is wrong"),
        (f"{HEAD}.{PAYLOAD}.AAAA", "signature is wrong"),
        (jwt.PyJWS().encode(b'["canary"]', RSA, "RS256", {"kid": "k1"}), "token cannot be read"),
        (jwt.PyJWS().encode(b"canary", RSA, "RS256", {"kid": "k1"}), "token cannot be read"),
        (jwt.PyJWS().encode(b"[" * 4_000, RSA, "RS256", {"kid": "k1"}), "token cannot be read"),
        (sealed({"alg": "RS256", "kid": "k1", "crit": ["exp"], "exp": 1}), "`crit` or `b64`"),
        (sealed({"alg": "RS256", "kid": "k1", "crit": []}), "`crit` or `b64`"),
        (sealed({"alg": "RS256", "kid": "k1", "crit": ["b64"], "b64": True}), "`crit` or `b64`"),
        (sealed({"alg": "RS256", "kid": "k1", "b64": 0}), "`crit` or `b64`"),
        (f"{part({'alg': 'RS256', 'kid': 'k1', 'b64': False})}.{PAYLOAD}.{SIGNATURE}", "token cannot be read"),
        (f"{part(['RS256'])}.{PAYLOAD}.{SIGNATURE}", "token cannot be read"),
        (f"{part('canary')[:-1]}.{PAYLOAD}.{SIGNATURE}", "token cannot be read"),
        ("W1tb" * 1_500 + f".{PAYLOAD}.{SIGNATURE}", "token cannot be read"),
        (f"{HEAD}.A.{SIGNATURE}", "token cannot be read"),
        (WHOLE + "=", "token cannot be read"),
        ("canary", "token cannot be read"),
        ("canary.canary", "token cannot be read"),
        (f"{WHOLE}.{WHOLE}", "token cannot be read"),
        (f"{HEAD}.{PAYLOAD}.{SIGNATURE[:-1]}\xe9", "token cannot be read"),
        ("canary" * 500_000, "longer than 8192"),
        (signed(said(more="canary" * 2_000)), "longer than 8192"),
    ],
    ids=range(43),
)
async def test_a_token_not_signed_by_the_issuer_is_unauthenticated(token: str, message: str) -> None:
    assert message in await VerifierUnderTest().refusal(token)


@pytest.mark.parametrize(
    "headers",
    [{}, {b"x-api-key": WHOLE}, {b"authorization": ""}, {b"authorization": f"Bearer {WHOLE}, Bearer {WHOLE}"}],
)
async def test_a_token_is_accepted_as_bearer_only(headers: dict[bytes, str]) -> None:
    verifier = VerifierUnderTest()
    with pytest.raises(Unauthenticated, match="Bearer") as refusal:
        await verifier.callers.identify(headers)

    assert WHOLE not in repr(refusal.value)
    assert verifier.published.fetches == 0


async def test_a_token_without_a_kid_is_verified_with_the_only_key() -> None:
    lone = VerifierUnderTest(key_set(public_jwk(RSA)))

    await lone.enter(signed(said(), kid=None))
    await lone.refusal(signed(said(), kid=None, which="second"))


async def test_a_verified_token_is_cached_until_it_expires() -> None:
    verifier = VerifierUnderTest()
    token = signed(said(exp=START + 100))
    first = await verifier.enter(token)

    verifier.time.seconds += 129.5
    assert await verifier.enter(token) is first
    verifier.time.seconds += 0.5

    assert "expired" in await verifier.refusal(token)


async def test_callers_are_named_anew_once_their_names_are_made_with_another_secret() -> None:
    verifier = VerifierUnderTest()
    text = signed(said())
    before = await verifier.enter(text)
    verifier.secret = b"canary-of-the-journal"
    after = await verifier.enter(text)

    assert before.name != after.name
    assert await verifier.enter(text) is after


async def test_a_token_is_verified_again_after_five_minutes_or_a_clock_step_back() -> None:
    verifier = VerifierUnderTest()
    token = signed(said(nbf=START - 30))
    first = await verifier.enter(token)

    verifier.time.seconds += 299
    assert await verifier.enter(token) is first
    verifier.time.seconds += 1
    again = await verifier.enter(token)
    assert again == first
    assert again is not first
    verifier.time.seconds = START - 61

    assert "not hold yet" in await verifier.refusal(token)


async def test_the_least_recently_used_of_many_tokens_are_verified_again() -> None:
    verifier = VerifierUnderTest(key_set(public_jwk(private_key("EdDSA"), "k3")))
    tokens = [signed(said(jti=str(number)), "EdDSA", "k3") for number in range(2_049)]
    first, second = await verifier.enter(tokens[0]), await verifier.enter(tokens[1])
    for token in (*tokens[:1], *tokens[2:]):
        await verifier.enter(token)

    assert await verifier.enter(tokens[0]) is first
    assert await verifier.enter(tokens[1]) is not second


async def test_tokens_that_list_many_care_units_are_cached_until_they_list_too_many_together() -> None:
    verifier = VerifierUnderTest(key_set(public_jwk(private_key("EdDSA"), "k3")))
    units = [f"webdoc/{number}" for number in range(400)]
    tokens = [signed(said(jti=str(number), care_units=units), "EdDSA", "k3") for number in range(41)]
    callers = [await verifier.enter(token) for token in tokens]

    assert await verifier.enter(tokens[-1]) is callers[-1]
    assert await verifier.enter(tokens[1]) is callers[1]
    assert await verifier.enter(tokens[0]) is not callers[0]


async def test_a_withdrawn_key_invalidates_its_cached_tokens() -> None:
    verifier = VerifierUnderTest()
    token, other = signed(said()), signed(said(), "ES256", "k2")
    await verifier.enter(token)
    kept = await verifier.enter(other)

    verifier.published.text = key_set(public_jwk(private_key("ES256"), "k2"), public_jwk(private_key("EdDSA"), "k9"))
    verifier.time.seconds += 30
    await verifier.enter(signed(said(), "EdDSA", "k9"))

    assert "does not name" in await verifier.refusal(token)
    assert await verifier.enter(other) is kept


async def test_a_replaced_key_with_the_same_kid_invalidates_cached_tokens() -> None:
    verifier = VerifierUnderTest()
    token = signed(said())
    await verifier.enter(token)

    verifier.published.text = key_set(public_jwk(private_key("RS256", "second"), "k1"))
    verifier.time.seconds += 30
    await verifier.refusal(signed(said(), "ES256", "k9"))

    assert "signature is wrong" in await verifier.refusal(token)
    await verifier.enter(signed(said(), which="second"))


async def test_without_keys_a_token_is_keys_unavailable() -> None:
    verifier = VerifierUnderTest()
    verifier.published.failure = NO_ANSWER

    message = await verifier.refusal(WHOLE, KeysUnavailableError)

    assert "try again" in message
    await verifier.callers.close()
    assert verifier.published.closed


async def test_verifying_tokens_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    verifier = VerifierUnderTest()
    await verifier.enter(WHOLE)
    await verifier.refusal(signed(said(), which="second"))

    assert SUBJECT not in caplog.text
    assert PAYLOAD not in caplog.text


@given(st.text(max_size=50) | st.lists(st.sampled_from([HEAD, PAYLOAD, SIGNATURE, "", "A"]), max_size=4).map(".".join))
async def test_any_other_text_than_the_token_is_unauthenticated(text: str) -> None:
    verifier = VerifierUnderTest()
    try:
        await verifier.callers.identify({b"authorization": f"Bearer {text}"})
    except Unauthenticated:
        return
    assert text.strip() == WHOLE
