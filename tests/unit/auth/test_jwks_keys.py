"""Which keys of a key set are used."""

from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from gateway.auth.jwks import ALGORITHMS, UnusableKeysError, read_keys
from tests.unit.auth.issuer import key_set, private_key, public_jwk

RSA = public_jwk(private_key("RS256"), "k1")
EC = public_jwk(private_key("ES256"), "k2")
OKP = public_jwk(private_key("EdDSA"), "k3")


def test_a_key_is_found_for_its_own_algorithm_only() -> None:
    keys = read_keys(key_set(RSA, EC, OKP))

    found = {(kid, algorithm) for kid in ("k1", "k2", "k3") for algorithm in ALGORITHMS if keys.find(kid, algorithm)}
    assert found == {("k1", "RS256"), ("k2", "ES256"), ("k3", "EdDSA")}
    assert len(keys) == 3


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k"},
        public_jwk(private_key("ES384"), "k"),
        RSA | {"kty": "rsa"},
        RSA | {"kty": ["RSA"]},
        RSA | {"use": "enc"},
        RSA | {"alg": "RS512"},
        RSA | {"alg": "HS256"},
        RSA | {"key_ops": ["encrypt"]},
        RSA | {"key_ops": 1},
        RSA | {"kid": 1},
        RSA | {"kid": "k" * 2_000},
        RSA | {"n": "_" * 3_000},
        RSA | {"n": 5},
        RSA | {"n": "!"},
        RSA | {"e": "AA"},
        {name: value for name, value in RSA.items() if name != "e"},
        EC | {"x": "AAAA"},
        EC | {"y": EC["x"]},
        EC | {"crv": None},
        EC | {"crv": ["P-256"]},
        EC | {"crv": "P-384"},
        OKP | {"x": "AAAA"},
        OKP | {"crv": "X25519"},
        OKP | {"crv": "Ed448"},
        {},
    ],
)
def test_an_unsuitable_key_is_left_out(jwk: dict[str, Any]) -> None:
    assert len(read_keys(key_set(jwk))) == 0
    assert len(read_keys(key_set(jwk, RSA))) == 1


def test_a_short_rsa_key_is_left_out() -> None:
    short = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505 # it is to be refused

    assert len(read_keys(key_set(public_jwk(short, "k")))) == 0


def test_a_private_key_published_by_mistake_is_used_as_the_public_one() -> None:
    private = private_key("RS256")
    assert isinstance(private, rsa.RSAPrivateKey)
    published = orjson.loads(RSAAlgorithm.to_jwk(private)) | {"kid": "k1", "key_ops": ["verify"]}

    key, same = read_keys(key_set(published)).find("k1", "RS256"), read_keys(key_set(RSA)).find("k1", "RS256")

    assert key is not None
    assert isinstance(key.public.key, rsa.RSAPublicKey)
    assert key == same


def test_without_a_kid_a_key_is_found_only_if_it_is_the_only_one() -> None:
    assert read_keys(key_set(RSA)).find(None, "RS256") is not None
    assert read_keys(key_set(RSA)).find(None, "ES256") is None
    assert read_keys(key_set(RSA, EC)).find(None, "RS256") is None
    assert read_keys(key_set(RSA | {"kid": None})).find("k1", "RS256") is None


def test_of_keys_with_the_same_kid_the_first_of_the_algorithm_is_used() -> None:
    later = public_jwk(private_key("RS256", "second"), "k1")
    keys = read_keys(key_set(RSA, later, EC | {"kid": "k1"}))

    assert keys.find("k1", "RS256") == read_keys(key_set(RSA)).find("k1", "RS256")
    assert keys.find("k1", "ES256") is not None


def test_keys_are_equal_only_with_equal_kid_and_public_members() -> None:
    held = read_keys(key_set(RSA))
    others = [RSA | {"kid": "k9"}, public_jwk(private_key("RS256", "second"), "k1")]
    again = read_keys(key_set(RSA | {"use": "sig", "x5t": "ignored"})).find("k1", "RS256")

    assert again is not None
    assert again in held
    for jwk in others:
        other = read_keys(key_set(jwk)).find(jwk["kid"], "RS256")
        assert other is not None
        assert other not in held


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys":{}}', b'"canary"', b"canary\xff", b"[" * 100_000])
def test_anything_but_a_key_set_is_unusable(text: bytes) -> None:
    with pytest.raises(UnusableKeysError, match=r"^it is not a JSON Web Key Set$"):
        read_keys(text)


def test_more_than_a_hundred_keys_are_unusable() -> None:
    assert len(read_keys(key_set(*[OKP] * 100))) == 100
    with pytest.raises(UnusableKeysError, match="more than 100 keys"):
        read_keys(key_set(*[OKP] * 101))


names = st.sampled_from(["kty", "crv", "kid", "n", "e", "x", "y", "use", "alg", "key_ops", "d", "k"])
words = st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "sig", "verify", "AQAB", RSA["n"], EC["x"], OKP["x"]])
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | words | st.text(max_size=5), st.lists, max_leaves=3
)
altered = st.tuples(st.sampled_from([RSA, EC, OKP, {}]), st.dictionaries(names, values, max_size=3))


@given(st.lists(values | altered.map(lambda pair: pair[0] | pair[1]), max_size=5))
def test_any_key_set_is_read(members: list[Any]) -> None:
    keys = read_keys(orjson.dumps({"keys": members}))

    assert len(keys) <= len(members)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_unusable(text: bytes) -> None:
    with pytest.raises(UnusableKeysError):
        read_keys(text)


@pytest.mark.parametrize("nothing", [None, []])
@pytest.mark.parametrize("member", ["use", "alg", "key_ops"])
def test_a_member_that_says_nothing_is_as_good_as_none(member: str, nothing: list[str] | None) -> None:
    assert read_keys(key_set(RSA | {member: nothing})).find("k1", "RS256") is not None


def test_a_key_may_have_the_newer_name_of_its_algorithm() -> None:
    assert read_keys(key_set(OKP | {"alg": "Ed25519"})).find("k3", "EdDSA") is not None
    assert len(read_keys(key_set(RSA | {"alg": "Ed25519"}, EC | {"alg": "Ed25519"}))) == 0
    assert len(read_keys(key_set(OKP | {"alg": "Ed448"}))) == 0
