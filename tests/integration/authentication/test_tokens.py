"""Callers with tokens, over HTTP: trusted keys, needed claims, and what is logged of the subject."""

import hmac
import json
import logging
import socket
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import serve_in_thread
from gateway.settings import SettingsError
from tests.harness import CACHES_ON, NOW, Clock, Gateway, Simulator, refusal
from tests.stand_ins.canned_application import CannedApplication, CannedResponse
from tests.unit.auth.issuer import (
    AUDIENCE,
    ISSUER,
    SUBJECT,
    key_set,
    private_key,
    public_jwk,
    said,
    signed,
)

EMRS = "{ emrs { code } }"
UNITS = "{ careUnits { id } }"
IN_TEN_MINUTES = NOW.timestamp() + 600
RSA, EC, ED = "RS256", "ES256", "EdDSA"
KEYS = key_set(*(public_jwk(private_key(algorithm), kid) for algorithm, kid in ((RSA, "k1"), (EC, "k2"), (ED, "k3"))))
NEW_KEYS = key_set(public_jwk(private_key(EC, "new"), "k4"))
JWT: dict[str, Any] = {"gateway_auth": "jwt", "gateway_jwt_issuer": ISSUER, "gateway_jwt_audience": AUDIENCE}
Serve = Callable[..., Gateway]


def published(keys: bytes, status: int = 200) -> CannedResponse:
    return CannedResponse(status, keys, ((b"content-type", b"application/jwk-set+json"),))


class KeyServer(CannedApplication):
    """Publishes an issuer's key set on a port of this machine, which is closed until it opens."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(published(KEYS))
        self._stack = stack
        # Bound but not listened on, so that connections are refused and no other process gets the port.
        self._bound = stack.enter_context(socket.socket())
        self._bound.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._bound.getsockname()[1]}/keys"

    def open(self) -> None:
        self._bound.listen()
        self._stack.enter_context(serve_in_thread(self, self._bound))

    @property
    def asked(self) -> int:
        """How often its keys were fetched."""
        return self.calls.count("/keys?")


@pytest.fixture
def closed_key_server() -> Iterator[KeyServer]:
    with ExitStack() as stack:
        yield KeyServer(stack)


@pytest.fixture
def key_server(closed_key_server: KeyServer) -> KeyServer:
    closed_key_server.open()
    return closed_key_server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve(serve_gateway: Serve, clock: Clock) -> Serve:
    """Start a gateway that trusts the keys at a place, its caches on."""

    def start(place: str | Path, **settings: Any) -> Gateway:
        return serve_gateway(clock=clock, **JWT, gateway_jwt_jwks=str(place), **CACHES_ON, **settings)

    return start


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(KEYS)
    return path


@pytest.fixture
def gateway(serve: Serve, key_file: Path) -> Gateway:
    return serve(key_file)


def token(algorithm: str = RSA, kid: str | None = "k1", which: str = "first", **claims: Any) -> str:
    return signed(said(**{"exp": IN_TEN_MINUTES, **claims}), algorithm, kid, which)


def new_token() -> str:
    return token(EC, "k4", "new")


def post(gateway: Gateway, bearer: str | None, query: str = EMRS, **headers: str) -> Any:
    credential = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
    return gateway.http.post("/graphql", json={"query": query}, headers={**credential, **headers})


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


@pytest.mark.parametrize("by_url", [False, True])
def test_rotated_keys_replace_the_former_ones(
    serve: Serve, key_server: KeyServer, key_file: Path, clock: Clock, by_url: bool
) -> None:
    gateway = serve(key_server.url if by_url else key_file)
    assert post(gateway, token()).status_code == 200
    assert refusal(post(gateway, new_token())) == (401, "UNAUTHENTICATED")

    key_server.response = published(NEW_KEYS)
    key_file.write_bytes(NEW_KEYS)
    clock.seconds += 30

    assert post(gateway, new_token()).status_code == 200
    assert refusal(post(gateway, token())) == (401, "UNAUTHENTICATED")


def test_unknown_key_ids_do_not_refetch_keys_each_time(serve: Serve, key_server: KeyServer, clock: Clock) -> None:
    gateway = serve(key_server.url)
    assert post(gateway, token()).status_code == 200
    for _ in range(3):
        clock.seconds += 30
        assert {post(gateway, token(kid=f"made-up-{n}")).status_code for n in range(20)} == {401}

    assert key_server.asked == 4
    assert post(gateway, token()).status_code == 200


def test_unavailable_keys_are_503_until_they_can_be_fetched(
    serve: Serve, closed_key_server: KeyServer, simulator: Simulator, clock: Clock
) -> None:
    gateway = serve(closed_key_server.url)
    down = [post(gateway, token()) for _ in range(3)]
    assert [refusal(each) for each in down] == [(503, "KEYS_UNAVAILABLE")] * 3
    assert {each.headers["retry-after"] for each in down} == {"5"}
    assert all(each.json()["errors"][0]["extensions"]["retryable"] for each in down)
    assert not any("www-authenticate" in each.headers for each in down)
    assert refusal(post(gateway, None)) == (401, "UNAUTHENTICATED")
    assert [gateway.http.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]

    closed_key_server.open()
    closed_key_server.response = published(KEYS, 500)
    clock.seconds += 5
    assert refusal(post(gateway, token())) == (503, "KEYS_UNAVAILABLE")
    closed_key_server.response = published(KEYS)
    clock.seconds += 5

    assert post(gateway, token()).status_code == 200
    assert closed_key_server.asked == 2
    # The first token may have come while the fetch of the start went on, or after it.
    failed = dict.fromkeys(line["reason"] for line in gateway.lines() if line["event"] == "callers.keys_failed")
    assert list(failed) == [
        "no connection: refused",
        "the answer has status 500",
    ]
    assert simulator.calls() == []


def test_keys_fetched_once_outlive_an_outage_of_the_issuer(serve: Serve, key_server: KeyServer, clock: Clock) -> None:
    gateway = serve(key_server.url)
    assert post(gateway, token(exp=IN_TEN_MINUTES + 86_400)).status_code == 200
    key_server.response = published(KEYS, 503)
    for _ in range(10):
        clock.seconds += 2 * 3_600
        assert post(gateway, token(exp=IN_TEN_MINUTES + 86_400)).status_code == 200
    clock.seconds += 5 * 3_600

    assert refusal(post(gateway, token(exp=IN_TEN_MINUTES + 2 * 86_400))) == (503, "KEYS_UNAVAILABLE")


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


def test_a_key_url_that_does_not_answer_is_a_warning_at_the_start_and_asked_again_for_the_first_token(
    closed_key_server: KeyServer, serve: Serve
) -> None:
    gateway = serve(closed_key_server.url)

    for _ in range(1_000):
        if warned := [line for line in gateway.lines() if line["event"] == "callers.keys_failed"]:
            break
        sleep(0.01)
    closed_key_server.open()

    assert [(line["level"], line["reason"]) for line in warned] == [("warning", "no connection: refused")]
    assert post(gateway, token()).status_code == 200
