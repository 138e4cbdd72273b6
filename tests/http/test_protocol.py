"""GraphQL over HTTP on the wire: methods, media types, statuses, and whose pages may ask."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import Gateway

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
GOOD = {"query": "{ __typename }"}


def media_type(response: Any) -> str:
    return str(response.headers["content-type"]).partition(";")[0]


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (None, JSON),
        ("*/*", JSON),
        (JSON, JSON),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}, {JSON};q=0.9", GRAPHQL),
        (f"{GRAPHQL};q=0.5, {JSON}", JSON),
        ("application/*", JSON),
        (f"{JSON};q=0, */*", GRAPHQL),
    ],
)
def test_the_preferred_media_type_is_answered(accept: str | None, answered: str, gateway: Gateway) -> None:
    request = gateway.http.build_request("POST", "/graphql", json=GOOD)
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept

    response = gateway.http.send(request)

    assert response.status_code == 200
    assert media_type(response) == answered
    assert response.json() == {"data": {"__typename": "Query"}}
    assert "accept" in response.headers["vary"].lower()


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/xml;q=1"])
def test_nothing_acceptable_is_406(accept: str, gateway: Gateway) -> None:
    response = gateway.http.post("/graphql", json=GOOD, headers={"accept": accept})

    assert response.status_code == 406
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


BAD_DOCUMENTS = [
    "{ nothing }",
    "{",
    "query { emrs }",
    "query A { emrs { code } } query B { emrs { code } }",
    "fragment F on Query { emrs { code } }",
]


@pytest.mark.parametrize("query", BAD_DOCUMENTS)
@pytest.mark.parametrize(("accept", "status"), [(GRAPHQL, 400), (JSON, 200)])
def test_a_bad_document_is_refused_without_data(query: str, accept: str, status: int, gateway: Gateway) -> None:
    response = gateway.http.post("/graphql", json={"query": query}, headers={"accept": accept})

    assert response.status_code == status
    answer = response.json()
    assert "data" not in answer
    assert all(error["extensions"]["code"] == "BAD_USER_INPUT" for error in answer["errors"])
    assert all(error["extensions"]["origin"] == "client" for error in answer["errors"])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"null", b"{}", b'{"query": 1}', b'{"query": ""}', b'{"query": null}', b"\xff\xfe",
     b'{"query": "{ __typename }", "variables": []}', b'{"query": "{ __typename }", "operationName": 7}',
     b'{"query": "{ __typename }", "extensions": "no"}', b'{"query": "\\ud800"}', b"[" * 100_000,
     b'[{"query": "{ __typename }"}]'],
)  # fmt: skip
def test_a_bad_body_is_refused(body: bytes, gateway: Gateway) -> None:
    response = gateway.http.post("/graphql", content=body, headers={"content-type": JSON})

    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


JSON_IN_LATIN_1 = f"{JSON}; charset=latin-1"
OTHER_TYPES = [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", JSON_IN_LATIN_1]


@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_other_content_types_are_refused(content_type: str | None, gateway: Gateway) -> None:
    headers = {"content-type": content_type} if content_type else {}

    response = gateway.http.post("/graphql", content=json.dumps(GOOD), headers=headers)

    assert response.status_code == 415


def test_an_endless_body_is_refused(gateway: Gateway) -> None:
    response = gateway.http.post("/graphql", content=b" " * (2 << 20), headers={"content-type": JSON})

    assert response.status_code == 413


def test_get_carries_queries(gateway: Gateway) -> None:
    query = "query A($id: ID!) { node(id: $id) { id } } query B { __typename }"

    response = gateway.http.get("/graphql", params={"query": query, "operationName": "B", "variables": "{}"})

    assert response.status_code == 200
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("params", [{}, {"query": ""}, {**GOOD, "variables": "{"}, {**GOOD, "variables": "[]"}])
def test_a_bad_get_is_refused(params: dict[str, str], gateway: Gateway) -> None:
    response = gateway.http.get("/graphql", params=params)

    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("operation", ["mutation { book }", "subscription { changes }"])
def test_get_carries_nothing_but_queries(operation: str, gateway: Gateway) -> None:
    response = gateway.http.get("/graphql", params={"query": operation})

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(method: str, gateway: Gateway) -> None:
    response = gateway.http.request(method, "/graphql", json=GOOD)

    assert response.status_code == 405
    assert {"GET", "POST"} <= set(response.headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    "query",
    ["{" * 50_000, "{ a" * 5_000 + "}" * 5_000, f"{{ careUnits {{ timeslots(first: {'9' * 5_000}) {{ start }} }} }}"],
    ids=["braces", "depth", "digits"],
)
def test_monstrous_documents_are_the_clients_fault(query: str, gateway: Gateway) -> None:
    response = gateway.http.post("/graphql", json={"query": query}, headers={"accept": GRAPHQL})

    assert response.status_code == 400
    assert {error["extensions"]["code"] for error in response.json()["errors"]} == {"BAD_USER_INPUT"}
    assert "operation.fault" not in gateway.log.getvalue()


def test_no_redirect_is_built_from_the_host_header(gateway: Gateway) -> None:
    response = gateway.http.post("/graphql/", json=GOOD, headers={"host": "evil.example"})

    assert response.status_code == 404


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_answer(path: str, gateway: Gateway) -> None:
    assert gateway.http.get(path).status_code == 200


def test_only_named_origins_may_ask(serve_gateway: Callable[..., Gateway]) -> None:
    gateway = serve_gateway(gateway_cors_origins=("https://book.example",))

    def preflight(origin: str) -> Any:
        headers = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }
        return gateway.http.options("/graphql", headers=headers)

    assert preflight("https://book.example").headers["access-control-allow-origin"] == "https://book.example"
    assert "access-control-allow-origin" not in preflight("https://evil.example").headers


def test_no_origin_may_ask_unless_named(gateway: Gateway) -> None:
    response = gateway.http.post("/graphql", json=GOOD, headers={"origin": "https://book.example"})

    assert "access-control-allow-origin" not in response.headers


def test_graphiql_is_off_unless_set(gateway: Gateway) -> None:
    response = gateway.http.get("/graphql", headers={"accept": "text/html,*/*;q=0.8"})

    assert media_type(response) == JSON
    assert response.status_code == 400


def test_graphiql_is_served_to_browsers_alone(serve_gateway: Callable[..., Gateway]) -> None:
    gateway = serve_gateway(gateway_graphiql=True, notice='Simulated "data" <here>')

    page = gateway.http.get("/graphql", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    api = gateway.http.get("/graphql", params={"query": "{ __typename }"})

    assert media_type(page) == "text/html"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe-eval" not in page.headers["content-security-policy"]
    assert "<here>" not in page.text
    assert api.json() == {"data": {"__typename": "Query"}}
