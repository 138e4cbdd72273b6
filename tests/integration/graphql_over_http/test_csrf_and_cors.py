"""CSRF and CORS: what pages of other sites may send, and what pages of allowed origins may send and read."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import Gateway

QUERY = {"query": "{ __typename }"}
DATA = {"data": {"__typename": "Query"}}
OURS, THEIRS = "https://book.example", "https://evil.example"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PROOFS = {
    "x-requested-with": "fetch",
    "apollo-require-preflight": "true",
    "x-apollo-operation-name": "Free",
    "graphql-require-preflight": "1",
    "x-api-key": "key",
    "authorization": "Bearer token",
    "content-type": "application/json",
}
CLIENT_HEADERS = (
    *PROOFS,
    "x-request-id",
    "traceparent",
    "sentry-trace",
    "x-header-of-tomorrow",
    "x-gateway-explain",
    "cache-control",
    "if-none-match",
)


@pytest.fixture
def named(serve_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway whose settings allow one origin."""
    return serve_gateway(gateway_cors_origins=(OURS,))


def is_refused(response: Any) -> bool:
    if response.status_code != 403:
        assert response.json() == DATA
        return False
    assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["FORBIDDEN"]
    assert response.headers["cache-control"] == "no-store"
    return True


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=a"},
        {"authorization": "Basic YTpi"},
        {"cookie": "session=1", "origin": THEIRS, "referer": THEIRS},
    ],
)
def test_cross_site_get_is_403(headers: dict[str, str], gateway: Gateway) -> None:
    for accept in ("*/*", "application/json", "image/*,*/*;q=0.1", BROWSER):
        assert is_refused(gateway.http.get("/graphql", params=QUERY, headers={"accept": accept, **headers}))


@pytest.mark.parametrize("site", [{}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}])
def test_get_with_a_header_that_needs_a_preflight_is_answered(site: dict[str, str], gateway: Gateway) -> None:
    for name, value in PROOFS.items():
        assert not is_refused(gateway.http.get("/graphql", params=QUERY, headers={**site, name: value})), name


def test_same_origin_get_is_answered(gateway: Gateway) -> None:
    for headers in (
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"sec-fetch-mode": "cors"},
    ):
        assert not is_refused(gateway.http.get("/graphql", params=QUERY, headers=headers)), headers


def test_refused_head_and_mutation_are_403(gateway: Gateway) -> None:
    head = gateway.http.head("/graphql", params=QUERY)
    mutation = gateway.http.get("/graphql", params={"query": "mutation { book }"})

    assert head.status_code == mutation.status_code == 403


def test_post_with_a_form_content_type_is_415_despite_other_headers(gateway: Gateway) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        headers = {"sec-fetch-site": "same-origin", "x-requested-with": "fetch", "content-type": content_type}

        response = gateway.http.post("/graphql", content=json.dumps(QUERY), headers=headers)

        assert response.status_code == 415, content_type


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}])
def test_graphiql_needs_no_csrf_header(headers: dict[str, str], serve_gateway: Callable[..., Gateway]) -> None:
    gateway = serve_gateway(gateway_graphiql=True)

    page = gateway.http.get("/graphql", params=QUERY, headers={"accept": BROWSER, **headers})

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert is_refused(gateway.http.get("/graphql", params=QUERY, headers=headers))


def preflight(gateway: Gateway, origin: str, method: str = "POST", *headers: str) -> Any:
    asked = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": ",".join(headers or ("content-type",)),
    }
    return gateway.http.options("/graphql", headers=asked)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_cors_preflight_allows_the_headers_that_clients_need(method: str, named: Gateway) -> None:
    response = preflight(named, OURS, method, *sorted(CLIENT_HEADERS))

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OURS
    assert set(CLIENT_HEADERS) <= set(response.headers["access-control-allow-headers"].lower().split(","))
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("headers", [{}, {"if-none-match": "*"}])
def test_cors_exposes_the_headers_that_clients_need(headers: dict[str, str], named: Gateway) -> None:
    asked = {"origin": OURS, "x-requested-with": "fetch", **headers}

    response = named.http.get("/graphql", params=QUERY, headers=asked)

    assert response.status_code == (304 if headers else 200)
    assert response.headers["access-control-allow-origin"] == OURS
    exposed = set(response.headers["access-control-expose-headers"].lower().split(", "))
    assert {"x-request-id", "etag", "retry-after"} <= exposed


def test_cors_lets_allowed_origins_read_errors(named: Gateway) -> None:
    for body in ({}, {"query": "{"}, {"query": "{ nothing }"}):
        response = named.http.post("/graphql", json=body, headers={"origin": OURS})

        assert response.json()["errors"]
        assert response.headers["access-control-allow-origin"] == OURS


def test_cors_allows_no_other_origin(named: Gateway) -> None:
    for origin in (THEIRS, "null", f"{OURS}.evil.example", f"{OURS}:444", "http://book.example"):
        answer = named.http.post("/graphql", json=QUERY, headers={"origin": origin})

        assert "access-control-allow-origin" not in preflight(named, origin).headers
        assert "access-control-allow-origin" not in answer.headers


def test_cors_is_off_unless_origins_are_set(gateway: Gateway) -> None:
    answer = gateway.http.post("/graphql", json=QUERY, headers={"origin": OURS})

    for response in (answer, preflight(gateway, OURS)):
        assert not [name for name in response.headers if name.startswith("access-control-")]
    assert preflight(gateway, OURS).status_code == 405


def test_cors_responses_vary_by_origin(named: Gateway) -> None:
    for origin in ({}, {"origin": OURS}, {"origin": THEIRS}):
        response = named.http.get("/graphql", params=QUERY, headers={"x-requested-with": "fetch", **origin})

        assert response.headers["cache-control"].startswith("public")
        assert "origin" in response.headers["vary"].lower().split(", ")
