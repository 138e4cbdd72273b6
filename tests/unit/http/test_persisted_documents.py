"""The document of a request: trusted documents, registered ones, and the forms of manifests."""

import gc
import json
import tracemalloc
from collections import OrderedDict
from hashlib import md5, sha1, sha256, sha512
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.domain.errors import Forbidden, UnknownDocument
from gateway.fetch.cache_budget import CacheBudget
from gateway.http.error_responses import HttpError
from gateway.http.persisted_documents import ManifestError, PersistedDocuments, read_manifest
from gateway.http.requests import GraphQLRequest

CODES, NAMES = "query Codes { emrs { code } }", "query Names { careUnits { name } }"
ELSE = "{ __typename }"
MIBIBYTE = 1024 * 1024
APOLLO = "apollo-persisted-query-manifest"


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def stored(by_id: dict[str, str] | None = None, *, only: bool = False) -> PersistedDocuments:
    return PersistedDocuments(by_id, only=only)


def by_id(document_id: str, query: str | None = None) -> GraphQLRequest:
    return GraphQLRequest(query, document_id=document_id)


def by_hash(text: str, query: str | None = None) -> GraphQLRequest:
    return GraphQLRequest(query, sha256=hashed(text))


def status_of(documents: PersistedDocuments, request: GraphQLRequest) -> int:
    with pytest.raises(HttpError) as refused:
        documents.text(request)
    assert (refused.value.status == 403) is isinstance(refused.value.error, Forbidden)
    return refused.value.status


def is_unknown(documents: PersistedDocuments, request: GraphQLRequest) -> bool:
    try:
        documents.text(request)
    except UnknownDocument as error:
        # Apollo's clients know it by both.
        return (error.message, error.code) == ("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
    return False


def test_a_codegen_manifest_is_read_as_texts_by_hash() -> None:
    assert read_manifest(json.dumps({"a": CODES, "b": NAMES}).encode()) == {"a": CODES, "b": NAMES}


def test_an_apollo_manifest_is_read_as_a_list_of_operations() -> None:
    operations = [
        {"id": "a", "name": "Codes", "type": "query", "body": CODES},
        {"id": "b", "name": "Names", "type": "query", "body": NAMES},
    ]
    manifest = {"format": APOLLO, "version": 1, "operations": operations}

    assert read_manifest(json.dumps(manifest).encode()) == {"a": CODES, "b": NAMES}


@pytest.mark.parametrize(
    "text",
    [b"", b"canary", b"{", b"\xff", b'{"a": "\\ud800"}', b"[" * 100_000, b"[]", b"null", b'"canary"', b"7", b"{}",
     b'["canary"]', b'{"canary": 1}', b'{"canary": null}', b'{"canary": ""}', b'{"canary": " \\n"}',
     b'{"": "{ a }"}', b'{"a": {"canary": "{ a }"}}'],
)  # fmt: skip
def test_an_invalid_manifest_is_refused_without_quoting_it(text: bytes) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(text)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": None},
        {"operations": None},
        {"operations": {}},
        {"operations": []},
        {"operations": ["canary"]},
        {"operations": [{"body": "canary"}]},
        {"operations": [{"id": "canary"}]},
        {"operations": [{"id": "", "body": "canary"}]},
        {"operations": [{"id": 7, "body": "canary"}]},
        {"operations": [{"id": ["canary"], "body": "canary"}]},
        {"operations": [{"id": "canary", "body": ["canary"]}]},
        {"operations": [{"id": "canary", "body": CODES}, {"id": "canary", "body": NAMES}]},
    ],
)
def test_an_invalid_apollo_manifest_is_refused_without_quoting_it(changes: dict[str, Any]) -> None:
    manifest = {"format": APOLLO, "version": 1, "operations": [{"id": "a", "body": CODES}], **changes}

    with pytest.raises(ManifestError) as refused:
        read_manifest(json.dumps(manifest).encode())
    assert "canary" not in str(refused.value)


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda some: st.lists(some) | st.dictionaries(st.text(), some))
)
def test_any_manifest_is_documents_by_id_or_refused(found: Any) -> None:
    for text in (found, {"format": APOLLO, "version": 1, "operations": found}):
        try:
            manifest = read_manifest(json.dumps(text).encode())
        except ManifestError:
            continue
        assert all(name and document.strip() for name, document in manifest.items())
        documents = PersistedDocuments(manifest)
        assert all(documents.text(by_id(name)) == document for name, document in manifest.items())


@pytest.mark.parametrize("prefix", ["", "sha1:", "SHA1:"])
@pytest.mark.parametrize("known_as", ["", "sha1:"])
def test_a_document_id_may_name_its_hash_algorithm(prefix: str, known_as: str) -> None:
    name = "0b" * 20
    documents = stored({f"{known_as}{name}": CODES, "a": NAMES})

    assert documents.text(by_id(f"{prefix}{name}")) == CODES


@pytest.mark.parametrize("algorithm", [md5, sha1, sha256, sha512])
def test_a_trusted_document_is_found_by_its_hash_whatever_its_id(algorithm: Any) -> None:
    name = algorithm(CODES.encode()).hexdigest()
    documents = stored({name: CODES})

    for request in (
        by_id(name),
        by_id(f"{algorithm().name}:{name}"),
        by_hash(CODES),
        by_id(f"sha256:{hashed(CODES)}"),
    ):
        assert documents.text(request) == CODES


def test_a_document_id_may_be_any_text() -> None:
    documents = stored({"x-codes": CODES, "sha1:": NAMES, "sha256:sha1:a": ELSE})

    assert documents.text(by_id("x-codes")) == CODES
    assert documents.text(by_id("sha1:")) == NAMES
    assert documents.text(by_id("sha256:sha1:a")) == ELSE


@pytest.mark.parametrize("only", [False, True])
def test_an_unknown_document_id_is_not_found(only: bool) -> None:
    documents = stored({"a": CODES}, only=only)

    for name in ("b", "A", " a", "a ", "sha1", f"sha256:{hashed(NAMES)}", "x-sha256:a"):
        assert is_unknown(documents, by_id(name))
    assert is_unknown(documents, by_hash(NAMES))


def test_a_query_with_a_document_id_must_be_that_document() -> None:
    documents = stored({"a": CODES, "b": NAMES})

    assert documents.text(by_id("a", CODES)) == documents.text(by_hash(CODES, CODES)) == CODES
    assert status_of(documents, by_id("a", NAMES)) == status_of(documents, by_id("a", CODES + " ")) == 400
    assert status_of(documents, by_hash(CODES, NAMES)) == 400


def test_a_document_id_and_a_hash_must_name_the_same_document() -> None:
    documents = stored({"a": CODES, "b": NAMES})

    assert documents.text(GraphQLRequest(document_id="a", sha256=hashed(CODES))) == CODES
    assert status_of(documents, GraphQLRequest(document_id="a", sha256=hashed(NAMES))) == 400
    assert is_unknown(documents, GraphQLRequest(document_id="a", sha256=hashed(ELSE)))
    assert is_unknown(documents, GraphQLRequest(document_id="c", sha256=hashed(CODES)))


def test_with_trusted_documents_others_are_run_but_not_registered() -> None:
    documents = stored({"a": CODES})

    assert documents.text(GraphQLRequest(ELSE)) == documents.text(by_hash(ELSE, ELSE)) == ELSE
    assert is_unknown(documents, by_hash(ELSE))
    assert status_of(documents, by_hash(ELSE, ELSE + " ")) == 400


def test_with_trusted_documents_only_a_query_is_refused_and_not_registered() -> None:
    documents = stored({"a": CODES}, only=True)

    for request in (
        GraphQLRequest(ELSE),
        GraphQLRequest("{ __schema { types { name } } }"),
        GraphQLRequest(CODES),
        by_id("a", CODES),
        by_id("b", ELSE),
        by_hash(CODES, CODES),
        by_hash(ELSE, ELSE),
        by_hash(ELSE, NAMES),
    ):
        assert status_of(documents, request) == 403
    assert is_unknown(documents, by_hash(ELSE))
    assert documents.text(by_id("a")) == documents.text(by_hash(CODES)) == CODES


def test_a_document_is_found_by_hash_once_registered() -> None:
    documents = stored()

    assert is_unknown(documents, by_hash(CODES))
    assert documents.text(by_hash(CODES, CODES)) == CODES
    assert documents.text(by_hash(CODES)) == CODES
    assert is_unknown(documents, by_id(hashed(CODES)))


def test_a_document_without_a_hash_is_not_registered() -> None:
    documents = stored()

    assert documents.text(GraphQLRequest(CODES)) == CODES
    assert is_unknown(documents, by_hash(CODES))


def test_a_document_with_another_hash_is_refused_and_not_registered() -> None:
    documents = stored()

    assert status_of(documents, by_hash(CODES, NAMES)) == 400
    assert is_unknown(documents, by_hash(CODES))
    assert is_unknown(documents, by_hash(NAMES))


def test_a_document_with_another_hash_does_not_replace_a_registered_one() -> None:
    documents = stored()
    documents.text(by_hash(CODES, CODES))

    assert status_of(documents, by_hash(CODES, NAMES)) == 400
    assert documents.text(by_hash(CODES)) == CODES


def test_a_document_larger_than_a_sixteenth_is_not_registered() -> None:
    documents = stored()
    for size, is_registered in ((MIBIBYTE // 16, True), (MIBIBYTE // 16 + 1, False)):
        text = "#" * size
        assert documents.text(by_hash(text, text)) == text
        assert is_unknown(documents, by_hash(text)) is not is_registered
    wide = "å" * (MIBIBYTE // 32 + 1)
    assert documents.text(by_hash(wide, wide)) == wide
    assert is_unknown(documents, by_hash(wide))


def test_sixteen_documents_of_a_sixteenth_fit() -> None:
    documents = stored()
    texts = [f"{number:x}" * (MIBIBYTE // 16) for number in range(16)]
    for text in texts:
        documents.text(by_hash(text, text))
    assert [documents.text(by_hash(text)) for text in texts] == texts

    documents.text(by_hash(ELSE, ELSE))

    assert [is_unknown(documents, by_hash(text)) for text in texts] == [True] + [False] * 15


def test_the_number_of_registered_documents_is_bounded() -> None:
    documents = stored()
    texts = [f"{{ a{number} }}" for number in range(5_000)]
    for text in texts:
        documents.text(by_hash(text, text))

    known = [text for text in texts if not is_unknown(documents, by_hash(text))]

    assert known == texts[-4_096:]


@pytest.mark.parametrize("text", ["{{ a{} }}", "{{ a{} }} # å" + "x" * 2_000, "{{ a{} }} # \U0001f600" + "x" * 2_000])
def test_a_registered_document_is_charged_for_about_what_it_takes(text: str) -> None:
    budget = CacheBudget(10_000_000)
    documents = PersistedDocuments(budget=budget)

    gc.collect()
    tracemalloc.start()
    for number in range(300):
        made = text.format(number)
        documents.text(by_hash(made, made))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0.8 < budget.bytes / size < 2


def test_registered_documents_go_where_the_budget_is_spent() -> None:
    budget = CacheBudget(20_000)
    documents = PersistedDocuments(budget=budget)
    texts = [f"{{ a{number} }}" for number in range(100)]
    for text in texts:
        documents.text(by_hash(text, text))
        assert not is_unknown(documents, by_hash(texts[0]))

    known = [text for text in texts if not is_unknown(documents, by_hash(text))]
    assert 10 < len(known) < 20
    assert known[0] == texts[0]
    budget.keep("another", 20_000, lambda: None)
    assert all(is_unknown(documents, by_hash(text)) for text in texts)


MOST_BYTES = 160
TEXTS = [
    "a",
    "b",
    "å" * 3,
    "{ c }",
    "d" * 9,
    "e" * 10,
    "f" * 11,
    "å" * 5,
    "å" * 6,
    *(f"{number:02}" * 5 for number in range(20)),
]


class RegisteredDocuments(RuleBasedStateMachine):
    """Against a model: a document is known until the documents used since then fill the store."""

    def __init__(self) -> None:
        super().__init__()
        self.documents = PersistedDocuments(None, max_bytes=MOST_BYTES)
        self.model: OrderedDict[str, None] = OrderedDict()

    @rule(texts=st.lists(st.sampled_from(TEXTS)))
    def leave(self, texts: list[str]) -> None:
        for text in texts:
            assert self.documents.text(by_hash(text, text)) == text
            if len(text.encode()) <= MOST_BYTES // 16:
                self.model[text] = None
                self.model.move_to_end(text)
            while self.held() > MOST_BYTES:
                self.model.popitem(last=False)

    @rule(text=st.sampled_from(TEXTS))
    def ask(self, text: str) -> None:
        assert is_unknown(self.documents, by_hash(text)) is (text not in self.model)
        if text in self.model:
            self.model.move_to_end(text)

    @rule(text=st.sampled_from(TEXTS), other=st.sampled_from(TEXTS))
    def leave_under_another_hash(self, text: str, other: str) -> None:
        if text != other:
            assert status_of(self.documents, by_hash(other, text)) == 400

    @invariant()
    def is_within_its_bound(self) -> None:
        assert self.held() <= MOST_BYTES

    def held(self) -> int:
        return sum(len(text.encode()) for text in self.model)

    def teardown(self) -> None:
        for text in TEXTS:
            assert is_unknown(self.documents, by_hash(text)) is (text not in self.model)


TestAgainstAModel = RegisteredDocuments.TestCase
TestAgainstAModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
