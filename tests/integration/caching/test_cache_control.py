"""Cache-Control, ETag and Vary: what clients and proxies may cache, and for how long."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, Clock, Gateway, Simulator

UNIT = care_unit_id(CareUnitKey("webdoc", "L0_1"))
STATIC = "{ __typename }"
UNITS = "{ careUnits { name } }"
SLOTS = f'{{ careUnit(id: "{UNIT}") {{ name timeslots(first: 3) {{ start }} }} }}'
LARGE = f'{{ careUnit(id: "{UNIT}") {{ timeslots(first: 200) {{ start end }} }} }}'
OWN = {"x-requested-with": "fetch"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(serve_gateway: Callable[..., Gateway], clock: Clock) -> Gateway:
    """A gateway with its caches on, whose time a test moves."""
    return serve_gateway(clock=clock, **CACHES_ON)


def get(gateway: Gateway, query: str, **headers: str) -> Any:
    asked = {**OWN, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return gateway.http.get("/graphql", params={"query": query}, headers=asked)


def kept(gateway: Gateway, query: str, **headers: str) -> str:
    """The Cache-Control of a response with data."""
    response = get(gateway, query, **headers)
    assert response.json()["data"]
    return str(response.headers["cache-control"])


RESOURCES = f'{{ careUnit(id: "{UNIT}") {{ resources {{ name }} }} }}'


def test_max_age_is_the_shortest_lifetime_of_the_lists(gateway: Gateway, clock: Clock) -> None:
    assert kept(gateway, STATIC) == "public, max-age=300"
    assert kept(gateway, UNITS) == "public, max-age=300"
    clock.seconds += 10
    assert kept(gateway, RESOURCES) == "public, max-age=290"


@pytest.mark.parametrize("query", [SLOTS, f"{{ first: {UNITS[1:-1]} second: {SLOTS[1:-1]} }}", LARGE])
def test_responses_with_free_times_must_be_revalidated(query: str, gateway: Gateway) -> None:
    # The third is sent as it was made for the second.
    assert [kept(gateway, query) for _ in range(3)] == ["public, no-cache"] * 3
    assert kept(gateway, query, cache_control="no-cache") == "public, no-cache"
    assert get(gateway, query, if_none_match=get(gateway, query).headers["etag"]).status_code == 304


def test_max_age_of_a_cached_response_is_its_remaining_lifetime(
    gateway: Gateway, clock: Clock, simulator: Simulator
) -> None:
    # The third is sent as it was made for the second.
    said = [kept(gateway, UNITS) for _ in range(3)]
    executed = clock.times_asked
    clock.seconds += 290
    said.append(kept(gateway, UNITS))
    clock.seconds += 9.5
    said.append(kept(gateway, UNITS))

    assert said == [*["public, max-age=300"] * 3, "public, max-age=10", "public, no-cache"]
    assert clock.times_asked == executed == 2
    assert simulator.count() == {"care_units": 1}


def test_max_age_after_a_no_cache_request_is_a_whole_lifetime(gateway: Gateway, clock: Clock) -> None:
    kept(gateway, UNITS)
    clock.seconds += 10

    assert kept(gateway, UNITS, cache_control="no-cache") == "public, max-age=300"
    assert kept(gateway, UNITS) == "public, max-age=300"


def test_response_with_stale_data_must_be_revalidated(gateway: Gateway, clock: Clock, simulator: Simulator) -> None:
    kept(gateway, SLOTS)
    clock.seconds += 15
    simulator.fault("hang", endpoint="timeslots")

    assert [kept(gateway, SLOTS) for _ in range(3)] == ["public, no-cache"] * 3
    assert kept(gateway, UNITS) == "public, max-age=285"


def test_max_age_returns_after_a_refresh(gateway: Gateway, clock: Clock) -> None:
    kept(gateway, UNITS)
    clock.seconds += 310
    assert kept(gateway, UNITS) == "public, no-cache"
    gateway.settle()

    assert kept(gateway, UNITS) == "public, max-age=300"


def test_responses_must_be_revalidated_where_caches_are_off(serve_gateway: Callable[..., Gateway]) -> None:
    gateway = serve_gateway(clock=Clock())

    assert kept(gateway, UNITS) == kept(gateway, SLOTS) == "public, no-cache"
    assert kept(gateway, STATIC) == "public, max-age=300"
    tag = get(gateway, UNITS).headers["etag"]
    assert get(gateway, UNITS, if_none_match=tag).status_code == 304


@pytest.mark.parametrize(
    ("query", "status"),
    [("{ nothing }", 200), ("{", 200), ("", 400), ("mutation { book }", 405), ('{ node(id: "nonsense") { id } }', 200)],
)
def test_responses_with_errors_are_no_store(query: str, status: int, gateway: Gateway) -> None:
    for condition in ({}, {"if_none_match": "*"}):
        response = get(gateway, query, **condition)

        assert response.status_code == status
        assert response.json()["errors"]
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers


def test_partial_responses_are_no_store(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("service_unavailable", endpoint="timeslots")

    response = get(gateway, SLOTS, if_none_match="*")

    assert response.json()["data"]["careUnit"]["name"]
    assert response.json()["errors"]
    assert response.headers["cache-control"] == "no-store"


def test_responses_with_a_fetch_report_are_no_store(gateway: Gateway) -> None:
    response = get(gateway, SLOTS, x_gateway_explain="1", if_none_match="*")

    assert response.json()["extensions"]
    assert response.headers["cache-control"] == "no-store"
    assert kept(gateway, SLOTS) == "public, no-cache"


def test_responses_to_post_are_no_store(gateway: Gateway) -> None:
    tag = get(gateway, UNITS).headers["etag"]

    for _ in range(3):
        response = gateway.http.post("/graphql", json={"query": UNITS}, headers={"if-none-match": f"{tag}, *"})
        assert response.json()["data"]
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers


def test_etag_is_the_same_in_every_encoding(gateway: Gateway) -> None:
    responses = [get(gateway, LARGE, accept_encoding=encoding) for encoding in ("identity", "gzip", "zstd", "identity")]

    assert [response.headers.get("content-encoding") for response in responses] == [None, "gzip", "zstd", None]
    assert len({response.headers["etag"] for response in responses}) == 1
    assert responses[0].headers["etag"] != get(gateway, UNITS).headers["etag"]


def test_etag_changes_only_with_the_response(gateway: Gateway, clock: Clock, simulator: Simulator) -> None:
    tag = get(gateway, SLOTS).headers["etag"]
    clock.seconds += 40
    assert get(gateway, SLOTS, if_none_match=tag).status_code == 304

    simulator.fault("empty_list", endpoint="timeslots")
    clock.seconds += 40
    changed = get(gateway, SLOTS, if_none_match=tag)

    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_matching_if_none_match_is_304(gateway: Gateway, clock: Clock) -> None:
    whole = get(gateway, LARGE)
    tag = whole.headers["etag"]
    clock.seconds += 5

    # Tags of other encodings and of caches that left out the mark, lists, and whatever there is.
    for asked in (tag, tag.removeprefix("W/"), f'"other", {tag}', f'W/"a",{tag.removeprefix("W/")}', "*"):
        for encoding in ("identity", "gzip"):
            head = get(gateway, LARGE, if_none_match=asked, accept_encoding=encoding)

            assert head.status_code == 304
            assert head.content == b""
            assert head.headers["etag"] == tag
            assert head.headers["cache-control"] == "public, no-cache"
            assert head.headers["vary"] == whole.headers["vary"]
            for name in ("content-length", "content-encoding", "transfer-encoding", "content-type"):
                assert name not in head.headers
    # On the same connection, so what came before was whole.
    assert get(gateway, LARGE).json() == whole.json()


def test_other_if_none_match_is_200(gateway: Gateway) -> None:
    tag = get(gateway, UNITS).headers["etag"]

    for asked in ('"other"', tag.strip('W/"'), tag[:-2] + '"', "", get(gateway, SLOTS).headers["etag"]):
        assert get(gateway, UNITS, if_none_match=asked).status_code == 200


def test_head_has_the_headers_of_get(gateway: Gateway) -> None:
    whole = get(gateway, LARGE)
    head = gateway.http.head("/graphql", params={"query": LARGE}, headers=OWN)
    known = gateway.http.head("/graphql", params={"query": LARGE}, headers={**OWN, "if-none-match": "*"})

    assert (head.status_code, known.status_code) == (200, 304)
    for name in ("etag", "cache-control", "vary"):
        assert head.headers[name] == known.headers[name] == whole.headers[name]
    assert get(gateway, LARGE).json() == whole.json()


def test_vary_names_the_request_headers_that_matter(gateway: Gateway) -> None:
    post = gateway.http.post("/graphql", json={"query": UNITS})

    for response in (get(gateway, UNITS), get(gateway, "{"), get(gateway, UNITS, if_none_match="*"), post):
        assert {"accept", "accept-encoding", "x-gateway-explain"} <= set(response.headers["vary"].lower().split(", "))


def test_response_media_type_has_its_own_body_and_lifetime(gateway: Gateway) -> None:
    accept = "application/graphql-response+json"

    assert get(gateway, UNITS, accept=accept).headers["content-type"].startswith(accept)
    assert kept(gateway, UNITS, accept=accept) == "public, max-age=300"


def test_persisted_document_has_the_cache_headers_of_its_text(gateway: Gateway) -> None:
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": sha256(UNITS.encode()).hexdigest()}}

    def named() -> Any:
        return gateway.http.get("/graphql", params={"extensions": json.dumps(persisted)}, headers=OWN)

    unknown = named()
    gateway.http.post("/graphql", json={"query": UNITS, "extensions": persisted})
    known, sent = named(), get(gateway, UNITS)

    assert unknown.headers["cache-control"] == "no-store"
    assert known.json() == sent.json()
    assert known.headers["cache-control"] == sent.headers["cache-control"] == "public, max-age=300"
    assert known.headers["etag"] == sent.headers["etag"]
