"""Automatic persisted queries over several gateways: what one registered, all find, and none trusts blindly."""

from collections.abc import Callable
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.harness import Clock, Gateway
from tests.integration.shared_store.fleet import fleet, heard
from tests.stores import Store, running_store

DOCUMENTS = [f"query Codes{number} {{ emrs {{ code }} }}" for number in range(30)]
UNKNOWN = "PERSISTED_QUERY_NOT_FOUND"

Serve = Callable[..., Gateway]


def apollo(text: str, *, whole: bool = False) -> dict[str, Any]:
    digest = sha256(text.encode()).hexdigest()
    body: dict[str, Any] = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}}
    return {**body, "query": text} if whole else body


def is_missed(gateway: Gateway, text: str) -> bool:
    """Whether a gateway does not know a hash; else it must answer."""
    answer = gateway.http.post("/graphql", json=apollo(text)).json()
    if "errors" in answer:
        assert [each["extensions"]["code"] for each in answer["errors"]] == [UNKNOWN]
        return True
    assert "data" in answer
    return False


def register(gateway: Gateway, text: str) -> dict[str, Any]:
    answer: dict[str, Any] = gateway.http.post("/graphql", json=apollo(text, whole=True)).json()
    return answer


def shared(gateway: Gateway, store: Store, text: str) -> str:
    """Register a document, and wait until the server has it under a name that it did not have."""
    before = names(store)
    assert "data" in register(gateway, text)
    for _ in range(1_000):
        if new := names(store) - before:
            return new.pop()
        sleep(0.01)
    raise AssertionError("it is not there")


def names(store: Store) -> set[str]:
    """Under which names documents are in the store."""
    return set(store.command("KEYS", "*document:*").decode().split()[2::2])


def reads(gateway: Gateway) -> float:
    """How many documents a gateway looked for in the store."""
    return gateway.gauge("gateway_shared_reads_total")


def test_each_document_is_missed_once_over_a_fleet_behind_round_robin(serve_gateway: Serve, store: Store) -> None:
    turns = cycle(fleet(serve_gateway, store, 4))

    missed = 0
    for _ in range(5):
        for text in DOCUMENTS:
            if is_missed(next(turns), text):
                missed += 1
                assert "data" in register(next(turns), text)

    assert missed == len(DOCUMENTS)


def test_a_document_that_is_found_is_read_once_by_each_process(serve_gateway: Serve, store: Store) -> None:
    first, second = fleet(serve_gateway, store, 2)
    shared(first, store, DOCUMENTS[0])

    assert [is_missed(second, DOCUMENTS[0]) for _ in range(5)] == [False] * 5
    assert [is_missed(first, DOCUMENTS[0]) for _ in range(5)] == [False] * 5
    assert [reads(first), reads(second)] == [0, 1]


def test_a_hash_that_nobody_knows_is_asked_for_once_until_it_is_registered(serve_gateway: Serve, store: Store) -> None:
    # Time stands still, so that only the message that it was registered has it asked for again.
    first, second = fleet(serve_gateway, store, 2, clock=Clock())

    assert all(is_missed(second, DOCUMENTS[0]) for _ in range(10))
    assert reads(second) == 1
    register(first, DOCUMENTS[0])
    for _ in range(1_000):
        if not is_missed(second, DOCUMENTS[0]):
            break
        sleep(0.01)
    assert reads(second) == 2


def test_a_document_that_is_not_valid_is_shared_with_nobody(serve_gateway: Serve, store: Store) -> None:
    first, second = fleet(serve_gateway, store, 2)

    for text in ("query { nothing }", "query {"):
        assert "errors" in register(first, text)
        assert is_missed(second, text)
    assert not names(store)


def test_what_stands_in_the_store_is_opened_under_its_own_hash_alone(serve_gateway: Serve, store: Store) -> None:
    first, second = fleet(serve_gateway, store, 2)
    name, other = shared(first, store, DOCUMENTS[0]), shared(first, store, DOCUMENTS[1])

    assert store.command("COPY", name, other, "REPLACE") == b":1\r\n"
    assert is_missed(second, DOCUMENTS[1])
    store.command("SET", name, DOCUMENTS[0])
    assert is_missed(second, DOCUMENTS[0])


def test_gateways_with_another_secret_or_trusted_documents_find_nothing(
    serve_gateway: Serve, store: Store, tmp_path: Path
) -> None:
    (first,) = fleet(serve_gateway, store, 1)
    shared(first, store, DOCUMENTS[0])
    manifest = tmp_path / "documents.json"
    manifest.write_text('{"a": "{ __typename }"}')

    (trusting,) = fleet(serve_gateway, store, 1, gateway_documents=manifest)
    assert is_missed(trusting, DOCUMENTS[0])
    (off,) = fleet(serve_gateway, store, 1, gateway_automatic_documents=False)
    answer = off.http.post("/graphql", json=apollo(DOCUMENTS[0])).json()
    assert answer["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_SUPPORTED"
    assert [reads(first), reads(trusting), reads(off)] == [0, 0, 0]
    (stranger,) = fleet(serve_gateway, store, 1, leyr_client_id="another")
    assert is_missed(stranger, DOCUMENTS[0])


def test_without_the_store_each_gateway_registers_for_itself(serve_gateway: Serve) -> None:
    with running_store() as store:
        first, second = fleet(serve_gateway, store, 2)
        shared(first, store, DOCUMENTS[0])
        assert not is_missed(second, DOCUMENTS[0])
        store.kill()
        for each in (first, second):
            heard(each, "shared_store.away")

        register(first, DOCUMENTS[1])
        assert [is_missed(each, DOCUMENTS[0]) for each in (first, second)] == [False, False]
        assert [is_missed(each, DOCUMENTS[1]) for each in (first, second)] == [False, True]
        register(second, DOCUMENTS[1])
        assert not is_missed(second, DOCUMENTS[1])


def test_the_store_keeps_so_many_documents_and_bytes_and_the_oldest_go(
    serve_gateway: Serve, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.shared_documents._MOST_DOCUMENTS", 5)
    first, second = fleet(serve_gateway, store, 2)
    for text in DOCUMENTS[:20]:
        shared(first, store, text)

    assert not is_missed(second, DOCUMENTS[19])
    assert [is_missed(second, text) for text in DOCUMENTS[14:20]] == [True, *[False] * 5]
    assert len(names(store)) == 5
    monkeypatch.setattr("gateway.http.shared_documents._MOST_BYTES", 300)
    shared(first, store, DOCUMENTS[20])
    assert not is_missed(second, DOCUMENTS[20])
    assert len(names(store)) < 5
