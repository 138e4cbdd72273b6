"""Persisted documents, which requests name instead of sending, as clients of codegen and Apollo do."""

import json
from collections.abc import Callable
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import SettingsError
from tests.harness import Gateway

JSON, GRAPHQL = "application/json", "application/graphql-response+json"
CODES = "query Codes { emrs { code } }"
NAMED = "query Named($id: ID!) { node(id: $id) { id } }"
BOOKS = "mutation Books { book }"
ELSE = "query Else { __typename }"
DATA = {"data": {"__typename": "Query"}}
KIBIBYTE = 1024


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def apollo(text: str, query: str | None = None) -> dict[str, Any]:
    """The body of an Apollo client: the hash of a text, and when the server did not know it the text too."""
    body: dict[str, Any] = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashed(text)}}}
    return body if query is None else {**body, "query": query}


Serve = Callable[..., Gateway]


@pytest.fixture
def trusting(serve_gateway: Serve, tmp_path: Path) -> Serve:
    """Starts a gateway with the given manifest."""

    def start(manifest: dict[str, Any] | None = None, **settings: Any) -> Gateway:
        texts = {hashed(text): text for text in (CODES, NAMED, BOOKS)}
        path = tmp_path / "persisted-documents.json"
        path.write_text(json.dumps(manifest or texts))
        return serve_gateway(gateway_documents=path, **settings)

    return start


def post(gateway: Gateway, body: dict[str, Any], accept: str = JSON) -> Any:
    return gateway.http.post("/graphql", json=body, headers={"accept": accept})


def get(gateway: Gateway, accept: str = JSON, **parameters: Any) -> Any:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    return gateway.http.get("/graphql", params=texts, headers={"accept": accept, "x-requested-with": "fetch"})


def error(response: Any) -> tuple[int, str, str]:
    """The status, and the code and the message of the only error."""
    assert response.json().keys() == {"errors"}
    (found,) = response.json()["errors"]
    return response.status_code, found["extensions"]["code"], found["message"]


def is_unknown(response: Any) -> bool:
    """Whether the error is the one that makes Apollo's clients send the document along."""
    if "data" in response.json():
        return False
    is_json = response.headers["content-type"].startswith(JSON + ";")
    status, code, message = error(response)
    assert code == "PERSISTED_QUERY_NOT_FOUND"
    assert message == "PersistedQueryNotFound"
    assert status == (200 if is_json else 400)
    assert response.headers["cache-control"] == "no-store"
    return True


def is_forbidden(response: Any) -> bool:
    return error(response)[:2] == (403, "FORBIDDEN")


def test_document_is_run_by_its_id(trusting: Serve) -> None:
    gateway = trusting()
    codes = gateway.data(CODES)

    for document_id in (hashed(CODES), f"sha256:{hashed(CODES)}"):
        assert post(gateway, {"documentId": document_id}).json()["data"] == codes
        assert post(gateway, {"documentId": document_id, "query": CODES}).json()["data"] == codes
        assert post(gateway, {"documentId": document_id, "query": None}).json()["data"] == codes
        assert get(gateway, documentId=document_id).json()["data"] == codes
    assert post(gateway, apollo(CODES)).json()["data"] == codes
    assert get(gateway, extensions=apollo(CODES)["extensions"]).json()["data"] == codes


def test_variables_and_operation_name_go_with_an_id(trusting: Serve) -> None:
    gateway = trusting()
    rest: dict[str, Any] = {"operationName": "Named", "variables": {"id": "nonsense"}}

    for response in (
        post(gateway, {"documentId": hashed(NAMED), **rest}),
        get(gateway, documentId=hashed(NAMED), **rest),
    ):
        assert response.json()["data"] == {"node": None}
        assert response.json()["errors"][0]["path"] == ["node"]
    assert error(post(gateway, {"documentId": hashed(NAMED), "operationName": "Codes"}))[1] == "BAD_USER_INPUT"


def test_apollo_manifest_is_read(trusting: Serve) -> None:
    operations = [{"id": "codes", "name": "Codes", "type": "query", "body": CODES}]
    gateway = trusting({"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations})

    for body in ({"documentId": "codes"}, {"documentId": f"sha256:{hashed(CODES)}"}, apollo(CODES)):
        assert post(gateway, body).json()["data"] == gateway.data(CODES)
    assert is_unknown(post(gateway, {"documentId": "Codes"}))


def test_apollo_hash_finds_a_document_with_a_sha1_id(trusting: Serve) -> None:
    name = sha1(CODES.encode(), usedforsecurity=False).hexdigest()
    gateway = trusting({name: CODES}, gateway_documents_only=True)

    for body in ({"documentId": name}, {"documentId": f"sha1:{name}"}, apollo(CODES)):
        assert post(gateway, body).json()["data"]["emrs"]


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
@pytest.mark.parametrize("alone", [False, True])
def test_unknown_id_is_persisted_query_not_found(accept: str, alone: bool, trusting: Serve) -> None:
    gateway = trusting(gateway_documents_only=alone)

    for body in ({"documentId": hashed(ELSE)}, {"documentId": "sha256:"}, apollo(ELSE)):
        assert is_unknown(post(gateway, body, accept))
        assert is_unknown(get(gateway, accept, **body))


def test_query_that_is_not_the_documents_is_400(trusting: Serve) -> None:
    gateway = trusting()

    for body in (
        {"documentId": hashed(CODES), "query": ELSE},
        {"documentId": hashed(CODES), "query": NAMED},
        {"documentId": hashed(CODES), **apollo(NAMED)},
        apollo(CODES, ELSE),
        apollo(ELSE, f"{ELSE} "),
    ):
        for response in (post(gateway, body), post(gateway, body, GRAPHQL), get(gateway, **body)):
            assert error(response)[:2] == (400, "BAD_USER_INPUT")


def test_get_of_a_persisted_mutation_is_405(trusting: Serve) -> None:
    assert get(trusting(), documentId=hashed(BOOKS)).status_code == 405


def test_other_documents_run_beside_a_manifest_but_are_not_stored(trusting: Serve) -> None:
    gateway = trusting()

    assert post(gateway, {"query": ELSE}).json() == DATA
    for _ in range(2):
        assert is_unknown(post(gateway, apollo(ELSE)))
        assert post(gateway, apollo(ELSE, ELSE)).json() == DATA


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
def test_documents_only_mode_forbids_and_stores_no_text(accept: str, trusting: Serve) -> None:
    gateway = trusting(gateway_documents_only=True, gateway_introspection=True)

    for body in (
        {"query": ELSE},
        {"query": "{"},
        {"query": "{ __schema { types { name } } }"},
        {"query": CODES},
        {"query": CODES, "documentId": hashed(CODES)},
        {"query": ELSE, "documentId": "unknown"},
        apollo(CODES, CODES),
        apollo(ELSE, ELSE),
        apollo(ELSE, CODES),
    ):
        assert is_forbidden(post(gateway, body, accept))
        assert is_forbidden(get(gateway, accept, **body))
    assert is_unknown(post(gateway, apollo(ELSE), accept))
    assert post(gateway, {"documentId": hashed(CODES)}, accept).json()["data"]["emrs"]


def test_automatically_persisted_document_is_found_by_its_hash(gateway: Gateway) -> None:
    for accept in (JSON, GRAPHQL):
        assert is_unknown(post(gateway, apollo(ELSE), accept))
        assert is_unknown(get(gateway, accept, **apollo(ELSE)))

    assert post(gateway, apollo(ELSE, ELSE)).json() == DATA

    for accept in (JSON, GRAPHQL):
        assert post(gateway, apollo(ELSE), accept).json() == DATA
        assert get(gateway, accept, **apollo(ELSE)).json() == DATA


def test_automatic_persisting_works_by_get(gateway: Gateway) -> None:
    assert is_unknown(get(gateway, **apollo(ELSE)))
    assert get(gateway, **apollo(ELSE, ELSE)).json() == DATA
    assert get(gateway, **apollo(ELSE)).json() == post(gateway, apollo(ELSE)).json() == DATA


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
def test_without_automatic_documents_a_hash_alone_is_not_supported(accept: str, serve_gateway: Serve) -> None:
    gateway = serve_gateway(gateway_automatic_documents=False)
    refusal = (200 if accept == JSON else 400, "PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")

    for _ in range(2):
        for response in (post(gateway, apollo(ELSE), accept), get(gateway, accept, **apollo(ELSE))):
            assert error(response) == refusal
            assert response.headers["cache-control"] == "no-store"
        assert post(gateway, apollo(ELSE, ELSE), accept).json() == DATA
        assert get(gateway, accept, **apollo(ELSE, ELSE)).json() == DATA
    assert error(post(gateway, apollo(ELSE, CODES), accept))[:2] == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize("alone", [False, True])
def test_without_automatic_documents_those_of_a_manifest_are_found_by_their_hash(alone: bool, trusting: Serve) -> None:
    gateway = trusting(gateway_automatic_documents=False, gateway_documents_only=alone)

    assert post(gateway, apollo(CODES)).json()["data"]["emrs"]
    assert get(gateway, **apollo(CODES)).json()["data"]["emrs"]
    # A client that was told to stop would send no hash of the manifest any more.
    assert is_unknown(post(gateway, apollo(ELSE)))
    if alone:
        assert is_forbidden(post(gateway, apollo(ELSE, ELSE)))
    else:
        assert post(gateway, apollo(ELSE, ELSE)).json() == DATA
    assert is_unknown(post(gateway, apollo(ELSE)))


def test_document_with_a_wrong_hash_is_400_and_not_stored(gateway: Gateway) -> None:
    for response in (post(gateway, apollo(ELSE, CODES)), get(gateway, **apollo(ELSE, CODES))):
        assert error(response)[:2] == (400, "BAD_USER_INPUT")

    assert is_unknown(post(gateway, apollo(ELSE)))
    assert is_unknown(post(gateway, apollo(CODES)))


def test_automatically_persisted_documents_are_bounded(serve_gateway: Serve) -> None:
    gateway = serve_gateway(gateway_max_body_bytes=128 * KIBIBYTE)
    padded = [f"{ELSE} #{number:02}{' ' * 60 * KIBIBYTE}" for number in range(20)]
    for text in padded:
        assert post(gateway, apollo(text, text)).json() == DATA
    larger = ELSE + " " * 64 * KIBIBYTE
    assert post(gateway, apollo(larger, larger)).json() == DATA

    known = [not is_unknown(post(gateway, apollo(text))) for text in padded]

    assert known == [False] * 3 + [True] * 17
    assert is_unknown(post(gateway, apollo(larger)))


@pytest.mark.parametrize("text", [None, "", "canary", "[]", "{}", '{"canary": 1}', '{"canary": ""}'])
def test_unreadable_manifest_stops_the_start(text: str | None, serve_gateway: Serve, tmp_path: Path) -> None:
    path = tmp_path / "canary.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SettingsError) as refused:
        serve_gateway(gateway_documents=path)

    assert str(refused.value).startswith("GATEWAY_DOCUMENTS: ")
    assert "canary" not in str(refused.value)


def test_a_document_with_data_of_a_patient_is_neither_registered_nor_logged(serve_gateway: Serve) -> None:
    gateway = serve_gateway()
    text = """mutation { confirmAppointment(input: {idempotencyKey: "k", appointmentId: "a", code: "481516"}) {
      __typename } }"""

    status, code, message = error(post(gateway, apollo(text, text)))

    assert (status, code) == (200, "BAD_USER_INPUT")
    assert "variables only" in message
    assert is_unknown(post(gateway, apollo(text)))
    assert all(line.get("document") is None for line in gateway.lines() if line["event"] == "operation.answered")
    assert hashed(text)[:16] not in str(gateway.lines())
