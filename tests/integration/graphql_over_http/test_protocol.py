"""GraphQL over HTTP on the wire: methods, media types, statuses and paths; tests/security has what is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import Gateway

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
GOOD = {"query": "{ __typename }"}
# What tells a GET from one that a page of another site sent.
OWN = {"x-requested-with": "fetch"}


def media_type(response: Any) -> str:
    return str(response.headers["content-type"]).partition(";")[0]


def code(response: Any) -> str:
    """The code of the one error that is all of an answer; every error has a reference to quote."""
    assert response.json().keys() == {"errors"}
    (error,) = response.json()["errors"]
    assert error["message"]
    assert error["extensions"]["reference"]
    return str(error["extensions"]["code"])


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
    assert code(response) == "BAD_USER_INPUT"


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


def test_get_carries_queries(gateway: Gateway) -> None:
    query = "query A($id: ID!) { node(id: $id) { id } } query B { __typename }"

    response = gateway.http.get(
        "/graphql", params={"query": query, "operationName": "B", "variables": "{}"}, headers=OWN
    )

    assert response.status_code == 200
    assert response.json() == {"data": {"__typename": "Query"}}


def test_unknown_parameters_are_ignored(gateway: Gateway) -> None:
    response = gateway.http.get("/graphql?a=1&query={__typename}&a=2&%C3%A5=%C3%A5&variables=&extensions=", headers=OWN)

    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_carries_no_mutation(method: str, gateway: Gateway) -> None:
    response = gateway.http.request(method, "/graphql", params={"query": "mutation { book }"}, headers=OWN)

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert method == "HEAD" or code(response) == "BAD_USER_INPUT"


def test_a_subscription_is_told_that_there_are_none_whatever_the_method(gateway: Gateway) -> None:
    subscription = {"query": "subscription { changes }"}

    by_get = gateway.http.get("/graphql", params=subscription, headers=OWN).json()
    by_post = gateway.http.post("/graphql", json=subscription).json()

    assert "The subscription operation is not supported by the schema." in by_get["errors"][0]["message"]
    assert by_get["errors"][0]["message"] == by_post["errors"][0]["message"]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_before_the_body_is_ignored(bom: bytes, gateway: Gateway) -> None:
    body = bom + b'{"query": "{ __typename }"}'

    response = gateway.http.post("/graphql", content=body, headers={"content-type": "application/json"})

    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("parameters", ["query={__typename}", "query={nothing}", "query={", ""])
def test_head_is_get_without_a_body(parameters: str, gateway: Gateway) -> None:
    whole = gateway.http.get(f"/graphql?{parameters}", headers=OWN)
    head = gateway.http.head(f"/graphql?{parameters}", headers=OWN)
    # Were there a body, it would be taken for the beginning of the next answer on this connection.
    after = gateway.http.get(f"/graphql?{parameters}", headers=OWN)

    assert head.content == b""
    assert head.status_code == whole.status_code == after.status_code
    for name in ("content-type", "content-length", "cache-control", "vary", "etag"):
        assert head.headers.get(name) == whole.headers.get(name)
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{" * 50_000, "BAD_USER_INPUT"),
        ("{ a" * 5_000 + "}" * 5_000, "OPERATION_TOO_LARGE"),
        (f"{{ careUnits {{ timeslots(first: {'9' * 5_000}) {{ start }} }} }}", "BAD_USER_INPUT"),
    ],
    ids=["braces", "depth", "digits"],
)
def test_oversized_documents_are_client_errors(query: str, said: str, gateway: Gateway) -> None:
    response = gateway.http.post("/graphql", json={"query": query}, headers={"accept": GRAPHQL})

    assert response.status_code == 400
    assert {error["extensions"]["code"] for error in response.json()["errors"]} == {said}
    assert "operation.fault" not in gateway.log.getvalue()


@pytest.mark.parametrize("query", ["{}", "{ emrs {} }", "{,}", "query { ...F } fragment F on Query {}"])
def test_empty_selection_is_refused(query: str, gateway: Gateway) -> None:
    answer = gateway.ask(query)

    assert "data" not in answer
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_other_paths_are_404_without_a_redirect(method: str, gateway: Gateway) -> None:
    for path in ("/", "/graphql/", "/GraphQL", "/graphql/assets/nothing.js", "/metrics", "/livez/x"):
        response = gateway.http.request(method, path, json=GOOD, headers={"host": "evil.example"})

        # No redirect either: it would be built from the Host header.
        assert response.status_code == 404, path
        assert media_type(response) == JSON
        assert code(response) == "NOT_FOUND"
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_answer_get_and_head_only(path: str, gateway: Gateway) -> None:
    probe, refused = gateway.http.get(path), gateway.http.post(path)

    assert probe.status_code == 200
    assert probe.headers["cache-control"] == "no-store"
    assert gateway.http.head(path).content == b""
    assert refused.status_code == 405
    assert "GET" in refused.headers["allow"]
    assert code(refused) == "BAD_USER_INPUT"


def test_graphiql_is_off_unless_set(gateway: Gateway) -> None:
    response = gateway.http.get("/graphql", headers={**OWN, "accept": "text/html,*/*;q=0.8"})

    assert media_type(response) == JSON
    assert response.status_code == 400


def test_graphiql_is_served_to_browsers_alone(serve_gateway: Callable[..., Gateway]) -> None:
    gateway = serve_gateway(gateway_graphiql=True, notice='Simulated "data" <here>')

    page = gateway.http.get("/graphql", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    api = gateway.http.get("/graphql", params=GOOD, headers=OWN)

    assert media_type(page) == "text/html"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe-eval" not in page.headers["content-security-policy"]
    assert "<here>" not in page.text
    assert api.json() == {"data": {"__typename": "Query"}}
