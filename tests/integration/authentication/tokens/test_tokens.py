"""Callers with tokens, over HTTP: trusted keys, needed claims, and what is logged of the subject."""

import hmac
import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.settings import SettingsError
from tests.harness import NOW, Clock, Gateway, Simulator, refusal
from tests.integration.authentication.tokens.conftest import (
    EC,
    ED,
    IN_TEN_MINUTES,
    KEYS,
    RSA,
    UNITS,
    KeyServer,
    Serve,
    post,
    published,
    token,
)
from tests.unit.auth.issuer import (
    ISSUER,
    SUBJECT,
    key_set,
    private_key,
    public_jwk,
    said,
)


def encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def forged(header: Mapping[str, Any], secret: bytes | None = None) -> str:
    """A token that an attacker can make: without a signature, or signed with what everybody knows."""
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, said(exp=IN_TEN_MINUTES, emrs="*")))
    signature = b"" if secret is None else hmac.digest(secret, text.encode(), sha256)
    return f"{text}.{encoded(signature)}"


@pytest.mark.parametrize("by_url", [False, True])
@pytest.mark.parametrize(("algorithm", "kid"), [(RSA, "k1"), (EC, "k2"), (ED, "k3")])
def test_validly_signed_token_is_accepted(
    serve: Serve, key_server: KeyServer, key_file: Path, algorithm: str, kid: str, by_url: bool
) -> None:
    gateway = serve(key_server.url if by_url else key_file)

    answers = [post(gateway, token(algorithm, kid)) for _ in range(3)]

    assert [each.json() for each in answers] == [{"data": {"emrs": [{"code": "webdoc"}]}}] * 3
    assert key_server.asked == int(by_url)


JWK = public_jwk(private_key(RSA), "k1")
PEM = private_key(RSA).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
REFUSED = {
    "none": None,
    "not-a-token": "canary",
    "expired": token(exp=NOW.timestamp() - 31),
    "never-expires": token(exp=None),
    "not-yet": token(nbf=NOW.timestamp() + 60),
    "other-audience": token(aud="other"),
    "no-audience": token(aud=None),
    "other-issuer": token(iss="https://other.example/"),
    "other-key": token(which="other"),
    "other-key-of-a-kid": token(EC, "k1"),
    "unknown-kid": token(kid="k9"),
    "unsigned": forged({"alg": "none", "kid": "k1"}),
    "unsigned-in-capitals": forged({"alg": "NONE", "kid": "k1"}),
    "signed-with-the-public-key": forged({"alg": "HS256", "kid": "k1"}, PEM),
    "signed-with-the-published-key": forged({"alg": "HS256", "kid": "k1"}, json.dumps(JWK).encode()),
    "signed-with-nothing": forged({"alg": "HS256", "kid": "k1"}, b""),
    "no-signature": token().rpartition(".")[0] + ".",
    "own-key": forged({"alg": RSA, "kid": "k1", "jwk": JWK}, b"canary"),
}


@pytest.mark.parametrize("bearer", REFUSED.values(), ids=REFUSED.keys())
def test_invalid_token_is_401(gateway: Gateway, simulator: Simulator, bearer: str | None) -> None:
    response = post(gateway, bearer, UNITS)

    assert refusal(response) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"] == "Bearer"
    assert simulator.calls() == []
    assert bearer is None or bearer not in response.text


@pytest.mark.parametrize(
    ("claims", "codes"),
    [
        ({"emrs": ["takecare", "webdoc"]}, ["webdoc", "takecare"]),
        ({"emrs": "kaddio takecare"}, ["kaddio", "takecare"]),
        ({"emrs": "*"}, None),
        ({"emrs": ["elsewhere"]}, []),
        ({"emrs": "*", "care_units": [care_unit_id(CareUnitKey("kaddio", "1"))]}, ["kaddio"]),
    ],
)
def test_emrs_claim_decides_which_ehrs_are_visible(
    gateway: Gateway, simulator: Simulator, claims: dict[str, Any], codes: list[str] | None
) -> None:
    expected = simulator.emrs if codes is None else codes

    assert [each["code"] for each in post(gateway, token(**claims)).json()["data"]["emrs"]] == list(expected)
    for code in simulator.emrs:
        asked = post(gateway, token(**claims), f'{{ careUnits(emr: "{code}") {{ emr {{ code }} }} }}').json()
        refused = [error["extensions"]["code"] for error in asked.get("errors", ())]
        assert refused == ([] if code in expected else ["FORBIDDEN"])
    assert {call["emr"] for call in simulator.calls()} == set(expected)


def test_care_units_claim_narrows_an_ehr_to_a_care_unit(gateway: Gateway) -> None:
    unit = care_unit_id(CareUnitKey("webdoc", "L0_2"))

    assert post(gateway, token(care_units=[unit]), UNITS).json()["data"] == {"careUnits": [{"id": unit}]}
    assert len(post(gateway, token(), UNITS).json()["data"]["careUnits"]) == 4


@pytest.mark.parametrize("claims", [{"emrs": None}, {"emrs": []}, {"emrs": 1}, {"care_units": []}])
def test_token_that_allows_nothing_is_403(gateway: Gateway, claims: dict[str, Any]) -> None:
    response = post(gateway, token(**claims))

    assert refusal(response) == (403, "FORBIDDEN")
    assert "www-authenticate" not in response.headers


def test_emrs_claim_may_have_another_name(serve: Serve, key_file: Path) -> None:
    gateway = serve(key_file, gateway_jwt_emrs_claim="https://x.example/ehrs")

    assert post(gateway, token(**{"https://x.example/ehrs": "kaddio"})).json()["data"]["emrs"] == [{"code": "kaddio"}]
    assert refusal(post(gateway, token())) == (403, "FORBIDDEN")


def test_expired_token_is_401_though_its_response_is_cached(gateway: Gateway, clock: Clock) -> None:
    # The third answer is one that was kept.
    assert [post(gateway, token(), UNITS).status_code for _ in range(3)] == [200] * 3
    clock.seconds += 629
    assert post(gateway, token(), UNITS).status_code == 200
    clock.seconds += 1

    assert refusal(post(gateway, token(), UNITS)) == (401, "UNAUTHENTICATED")


def test_rate_limit_counts_all_tokens_of_a_subject_together(serve: Serve, key_file: Path) -> None:
    gateway = serve(key_file, gateway_rate_per_second=1, gateway_rate_burst=2)
    other = token(sub="somebody-else")

    answers = [post(gateway, each) for each in (token(), token(EC, "k2"), token(ED, "k3"), other)]

    assert [each.status_code for each in answers] == [200, 200, 429, 200]
    assert refusal(answers[2]) == (429, "RATE_LIMITED")
    named = [line["caller"] for line in gateway.lines()]
    assert named[0] == named[1] != named[3]
    assert all(name.startswith("token:") for name in (named[0], named[3]))


def test_neither_subject_nor_token_is_in_a_log_or_an_answer(
    serve: Serve, key_server: KeyServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = serve(key_server.url, gateway_log_level="debug", gateway_rate_per_second=1, gateway_rate_burst=4)
    bearers = [each for each in REFUSED.values() if each is not None]
    bearers += [token(emrs=None), token(emrs=[SUBJECT]), token(), token(), token(), token(), token(kid=SUBJECT)]
    answers = [post(gateway, each, UNITS, **{"x-gateway-explain": "1"}) for each in bearers]
    key_server.response = published(KEYS, 500)
    clock.seconds += 3 * 86_400
    bearers.append(token(exp=IN_TEN_MINUTES + 4 * 86_400))
    answers.append(post(gateway, bearers[-1]))

    assert {200, 401, 403, 429, 503} <= {each.status_code for each in answers}
    # What the tests themselves use to ask logs its requests.
    others = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    seen = "".join(each.text + repr(each.headers) for each in answers) + repr(gateway.lines()) + "".join(others)
    for secret in (SUBJECT, encoded(SUBJECT.encode())[:-1], ISSUER, *bearers):
        assert secret not in seen
    parts = {part for each in bearers for part in each.split(".") if part}
    assert not [part for part in parts if part in seen]


def test_cache_control_is_private_for_callers_with_tokens(gateway: Gateway) -> None:
    own = {"authorization": f"Bearer {token()}", "x-requested-with": "fetch"}
    response = gateway.http.get("/graphql", params={"query": UNITS}, headers=own)

    assert response.headers["cache-control"] == "private, max-age=300"
    assert {"authorization", "x-api-key"} <= {name.strip() for name in response.headers["vary"].split(",")}


@pytest.mark.parametrize(
    "place", ["ftp://canary.example/keys", "https://canary@x.example/", "http://", "https://x/#canary"]
)
def test_invalid_place_of_keys_stops_the_start(serve: Serve, place: str) -> None:
    with pytest.raises(SettingsError, match=r"^GATEWAY_JWT_JWKS: ") as refused:
        serve(place)

    assert "canary" not in repr(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "the file cannot be read: No such file or directory"),
        (b"", "it is not a JSON Web Key Set"),
        (key_set(), "it holds no key for"),
        (key_set({"kty": "oct", "k": "canary"}), "it holds no key for"),
    ],
)
def test_a_key_file_without_a_key_stops_the_start(serve: Serve, tmp_path: Path, text: bytes | None, why: str) -> None:
    if text is not None:
        (tmp_path / "canary").write_bytes(text)

    with pytest.raises(SettingsError, match=f"^GATEWAY_JWT_JWKS: {why}") as refused:
        serve(tmp_path / "canary")

    assert "canary" not in repr(refused.value)
