"""Callers with API keys, over HTTP: which keys are accepted, rate limits, and what is logged."""

import logging
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import SettingsError
from tests.harness import CACHES_ON, Clock, Gateway, Simulator, refusal

KEY, NEXT_KEY, OTHER_KEY, BUSY_KEY = (f"key-canary-{number}" for number in range(4))
EMRS = "{ emrs { code } }"
UNITS = "{ careUnits { id } }"
OWN = {"x-requested-with": "fetch"}


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


CALLERS = f"""
[booking-web]
key_sha256 = ["{digest(KEY)}", "{digest(NEXT_KEY)}"]
emrs = ["webdoc", "takecare"]

[kiosk]
key_sha256 = "{digest(OTHER_KEY)}"
emrs = ["kaddio"]

[busy]
key_sha256 = "{digest(BUSY_KEY)}"
rate_per_second = 5
burst = 5
"""
Serve = Callable[..., Gateway]


@pytest.fixture
def serve(serve_gateway: Serve, tmp_path: Path) -> Serve:
    """Start a gateway with a keys file, its caches on."""

    def start(callers: str | bytes = CALLERS, **settings: Any) -> Gateway:
        path = tmp_path / "callers.toml"
        path.write_bytes(callers if isinstance(callers, bytes) else callers.encode())
        given: dict[str, Any] = {"gateway_auth": "api-keys", "gateway_api_keys": path, **CACHES_ON, **settings}
        return serve_gateway(**given)

    return start


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(serve: Serve, clock: Clock) -> Gateway:
    return serve(clock=clock)


def post(gateway: Gateway, query: str, headers: dict[str, str] | list[tuple[str, str]] | None = None) -> Any:
    return gateway.http.post("/graphql", json={"query": query}, headers=headers)


def get(gateway: Gateway, query: str, key: str, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.http.get("/graphql", params={"query": query}, headers={"x-api-key": key, **named})


def by(key: str) -> dict[str, str]:
    return {"x-api-key": key}


UNWELCOME: list[list[tuple[str, str]]] = [
    [],
    [("x-api-key", "")],
    [("x-api-key", "canary")],
    [("x-api-key", KEY.upper())],
    [("x-api-key", digest(KEY))],
    [("authorization", "Bearer canary")],
    [("authorization", f"Basic {KEY}")],
    [("authorization", KEY)],
    [("authorization", f"Bearer {KEY}"), ("x-api-key", OTHER_KEY)],
    [("authorization", f"Basic {KEY}"), ("x-api-key", KEY)],
    [("x-api-key", KEY), ("x-api-key", OTHER_KEY)],
    [("x-api-key", KEY), ("X-Api-Key", KEY)],
    [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {OTHER_KEY}")],
]


@pytest.mark.parametrize("headers", UNWELCOME, ids=str)
def test_request_without_exactly_one_known_key_is_401(
    gateway: Gateway, simulator: Simulator, headers: list[tuple[str, str]]
) -> None:
    posted = post(gateway, UNITS, headers)
    got = gateway.http.get("/graphql", params={"query": UNITS}, headers=[*OWN.items(), *headers])

    assert refusal(posted) == refusal(got) == (401, "UNAUTHENTICATED")
    assert posted.headers["www-authenticate"] == got.headers["www-authenticate"] == "Bearer"
    assert simulator.calls() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"query": "{"}', b"x" * 100_000])
def test_unauthenticated_request_is_401_whatever_its_body(gateway: Gateway, body: bytes) -> None:
    response = gateway.http.post("/graphql", content=body)

    assert refusal(response) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("key", [KEY, NEXT_KEY])
@pytest.mark.parametrize("name", ["x-api-key", "authorization", "both"])
def test_each_key_of_a_caller_is_accepted_in_each_header(gateway: Gateway, key: str, name: str) -> None:
    ways = {"x-api-key": key, "authorization": f"Bearer {key}"}
    headers = ways if name == "both" else {name: ways[name]}

    assert post(gateway, EMRS, headers).json() == {"data": {"emrs": [{"code": "webdoc"}, {"code": "takecare"}]}}
    assert gateway.lines()[-1]["caller"] == "booking-web"


def test_key_removed_from_the_file_is_401(serve: Serve) -> None:
    gateway = serve(CALLERS.replace(f'"{digest(KEY)}", ', ""))

    assert refusal(post(gateway, EMRS, by(KEY))) == (401, "UNAUTHENTICATED")
    assert post(gateway, EMRS, by(NEXT_KEY)).status_code == 200


def test_each_caller_sees_only_its_own_ehrs(gateway: Gateway) -> None:
    seen = {
        key: post(gateway, "{ emrs { code } careUnits { emr { code } } }", by(key)).json() for key in (KEY, OTHER_KEY)
    }

    assert {unit["emr"]["code"] for unit in seen[KEY]["data"]["careUnits"]} == {"webdoc"}
    assert {unit["emr"]["code"] for unit in seen[OTHER_KEY]["data"]["careUnits"]} == {"kaddio"}
    assert seen[OTHER_KEY]["data"]["emrs"] == [{"code": "kaddio"}]
    other = post(gateway, '{ careUnits(emr: "webdoc") { id } }', by(OTHER_KEY)).json()
    assert [error["extensions"]["code"] for error in other["errors"]] == ["FORBIDDEN"]


def test_a_key_is_in_no_log_answer_or_error(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = serve(clock=Clock(), gateway_log_level="debug", gateway_cors_origins=("https://book.example",))
    answers = [post(gateway, UNITS, headers) for headers in UNWELCOME]
    for key in (KEY, NEXT_KEY, OTHER_KEY, *[BUSY_KEY] * 7):
        answers.append(post(gateway, UNITS, by(key)))
        answers.append(get(gateway, "{ emrs { cod } }", key, origin="https://book.example"))
        answers.append(post(gateway, "{", {"authorization": f"Bearer {key}", "x-gateway-explain": "1"}))

    told = [each.text + repr(each.headers) for each in answers]
    # What the tests themselves use to ask logs its requests.
    others = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    seen = "".join(told) + repr(gateway.lines()) + "".join(others)
    assert {200, 401, 429} <= {each.status_code for each in answers}
    assert "canary" not in seen
    assert not [key for key in (KEY, NEXT_KEY, OTHER_KEY, BUSY_KEY) if digest(key)[:16] in seen]


def test_the_log_names_the_caller(gateway: Gateway) -> None:
    post(gateway, EMRS, by(KEY))
    post(gateway, EMRS, {"authorization": f"Bearer {OTHER_KEY}"})
    post(gateway, EMRS)
    for _ in range(6):
        post(gateway, EMRS, by(BUSY_KEY))
    gateway.http.post("/graphql", content=b"{", headers=by(KEY))

    assert [(line["event"], line["caller"], line["status"]) for line in gateway.lines()] == [
        ("operation.answered", "booking-web", 200),
        ("operation.answered", "kiosk", 200),
        ("request.refused", "anonymous", 401),
        *[("operation.answered", "busy", 200)] * 5,
        ("request.refused", "busy", 429),
        ("request.refused", "booking-web", 415),
    ]


def test_caller_above_its_rate_is_429_while_others_are_answered(gateway: Gateway, clock: Clock) -> None:
    busy, others = [], []
    for _ in range(4):
        for turn in range(50):
            busy.append(post(gateway, UNITS, by(BUSY_KEY)))
            if turn % 5 == 0:
                others += [post(gateway, UNITS, by(OTHER_KEY)), get(gateway, EMRS, KEY)]
        clock.seconds += 1

    assert [each.status_code for each in others] == [200] * 80
    assert [each.status_code for each in busy] == ([200] * 5 + [429] * 45) * 4
    turned_away = [each for each in busy if each.status_code == 429]
    assert {refusal(each) for each in turned_away} == {(429, "RATE_LIMITED")}
    assert {each.headers["retry-after"] for each in turned_away} == {"1"}
    assert all(each.json()["errors"][0]["extensions"]["retryable"] for each in turned_away)


def test_caller_that_waits_for_retry_after_is_answered(serve: Serve, clock: Clock) -> None:
    gateway = serve(f'[slow]\nkey_sha256 = "{digest(KEY)}"\nrate_per_second = 0.1\nburst = 1', clock=clock)
    assert post(gateway, EMRS, by(KEY)).status_code == 200

    turned_away = [post(gateway, EMRS, by(KEY)) for _ in range(3)]
    clock.seconds += int(turned_away[0].headers["retry-after"])

    assert [refusal(each) for each in turned_away] == [(429, "RATE_LIMITED")] * 3
    assert post(gateway, EMRS, by(KEY)).status_code == 200


def test_rate_limit_counts_both_keys_of_a_caller_together(serve: Serve, clock: Clock) -> None:
    gateway = serve(clock=clock, gateway_rate_per_second=1, gateway_rate_burst=2)

    answers = [post(gateway, EMRS, by(key)).status_code for key in (KEY, NEXT_KEY, KEY, OTHER_KEY)]

    assert answers == [200, 200, 429, 200]


def test_unknown_keys_use_up_no_callers_rate(serve: Serve, clock: Clock) -> None:
    gateway = serve(clock=clock, gateway_rate_per_second=1, gateway_rate_burst=2)

    assert {post(gateway, EMRS, by("canary")).status_code for _ in range(20)} == {401}
    assert post(gateway, EMRS, by(KEY)).status_code == 200


def test_rate_limit_counts_cached_responses(serve: Serve, clock: Clock) -> None:
    gateway = serve(clock=clock, gateway_rate_per_second=1, gateway_rate_burst=4)

    assert [get(gateway, UNITS, KEY).status_code for _ in range(6)] == [200] * 4 + [429] * 2


def test_probes_graphiql_and_preflights_need_no_key(serve: Serve) -> None:
    gateway = serve(gateway_graphiql=True, gateway_cors_origins=("https://book.example",))
    page = gateway.http.get("/graphql", headers={"accept": "text/html"})
    asked = {"origin": "https://book.example", "access-control-request-method": "POST"}
    preflight = gateway.http.options("/graphql", headers={**asked, "access-control-request-headers": "x-api-key"})

    assert [gateway.http.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    # A browser asks without credentials whether a page may ask, and shows a refusal only to pages that may read it.
    assert preflight.status_code == 200
    refused = post(gateway, EMRS, {"origin": "https://book.example"})
    assert refusal(refused) == (401, "UNAUTHENTICATED")
    assert refused.headers["access-control-allow-origin"] == "https://book.example"


def test_cache_headers_keep_callers_apart(gateway: Gateway, clock: Clock) -> None:
    first, second = get(gateway, UNITS, KEY), get(gateway, UNITS, OTHER_KEY)
    clock.seconds += 10
    tag = first.headers["etag"]
    again, elsewhere, nobody = (get(gateway, UNITS, key, if_none_match=tag) for key in (KEY, OTHER_KEY, "canary"))

    assert [each.headers["cache-control"] for each in (first, again)] == [
        "private, max-age=300",
        "private, max-age=290",
    ]
    for response in (first, second, again, elsewhere, nobody, post(gateway, UNITS, by(KEY))):
        named = {name.strip() for name in response.headers["vary"].split(",")}
        assert {"accept", "accept-encoding", "authorization", "x-api-key", "x-gateway-explain"} <= named
    assert [each.status_code for each in (again, elsewhere, nobody)] == [304, 200, 401]
    assert elsewhere.json() == second.json() != first.json()
    assert elsewhere.headers["etag"] != tag


FINE = f'key_sha256 = "{digest(KEY)}"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file names no caller"),
        (b"\xff\xfe", "the file is not text in UTF-8"),
        ("[canary", "the file is not TOML"),
        ('[a]\nkey_sha256 = "canary"', "a.key_sha256: a SHA-256 digest has 64 hexadecimal digits"),
        (f"[a]\n{FINE}\n[b]\n{FINE}", "b: key_sha256: a has this key too"),
        (f'[a]\n{FINE}\nemrs = ["can ary"]', "a.emrs: an EHR code is made of"),
        (f'[a]\n{FINE}\ncare_units = ["canary"]', "a.care_units: a care unit is a node id"),
        (f'[a]\n{FINE}\nrate_per_second = "canary"', "a.rate_per_second: "),
        (f"[a]\n{FINE}\nburst = 0\nrate = 1", "a.burst: "),
        (
            f'[a]\n{FINE}\nemrs = ["webdoc", "canary"]',
            "a: emrs: 1 of the EHRs here are not in LEYR_EMRS, which",
        ),
        (f'[a]\n{FINE}\ncare_units = ["canary/L0_1"]', "a: care_units: 1 of the EHRs here are not in LEYR_EMRS"),
    ],
)
def test_invalid_keys_file_stops_the_start(serve: Serve, text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        serve(text)

    said = str(refused.value).splitlines()
    assert said[0].startswith(f"GATEWAY_API_KEYS: {message}")
    assert all(line.startswith("GATEWAY_API_KEYS: ") for line in said)
    assert not [value for value in ("canary", "can ary", digest(KEY), str(tmp_path)) if value in repr(refused.value)]
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("name", ["missing-canary.toml", ".", "canary" * 100])
def test_unreadable_keys_file_stops_the_start(serve_gateway: Serve, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"^GATEWAY_API_KEYS: the file cannot be read: [\w ]+$"):
        serve_gateway(gateway_auth="api-keys", gateway_api_keys=tmp_path / name)


def test_a_keys_file_that_is_a_fifo_stops_the_start_at_once(serve_gateway: Serve, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys")

    with pytest.raises(SettingsError, match=r"^GATEWAY_API_KEYS: the file cannot be read: it is not a regular file$"):
        serve_gateway(gateway_auth="api-keys", gateway_api_keys=tmp_path / "keys")
