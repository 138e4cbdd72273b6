"""Persisted documents, which requests name instead of sending: trusted documents, or automatic persisted queries.

Trusted documents come from a manifest. Without one, clients may register a document under its hash (Apollo's automatic
persisted queries), in a bounded store. Several processes may have a store in common, which is asked for the hashes that
this one does not know.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from sys import getsizeof
from typing import Any, Protocol

import orjson
from cachetools import LRUCache

from gateway.domain.errors import Forbidden, NoAutomaticDocuments, UnknownDocument
from gateway.fetch.cache_budget import CacheBudget
from gateway.http.error_responses import HttpError
from gateway.http.requests import GraphQLRequest

# Apollo's clients recognise the errors by these messages.
_NOT_FOUND, _NOT_SUPPORTED = "PersistedQueryNotFound", "PersistedQueryNotSupported"
_MAX_BYTES = 1024 * 1024
# A short document takes more memory than its text, so a limit of bytes alone would bound nothing.
_MAX_DOCUMENTS = 4_096
# What one takes in memory beside its text.
_OVERHEAD_BYTES = 1_000
_APOLLO_FORMAT = "apollo-persisted-query-manifest"
_ALGORITHM = re.compile(r"\A(?:sha1|sha256|sha512|md5):", re.IGNORECASE)


class ManifestError(Exception):
    """The manifest is invalid; the message says why, and quotes nothing."""


def read_manifest(text: bytes) -> dict[str, str]:
    """Read documents by id, from an object of texts by hash (graphql-codegen) or Apollo's manifest.

    Raises ManifestError.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ManifestError(f"the file is not JSON: line {error.lineno}, column {error.colno}") from None
    if isinstance(found, dict) and found.get("format") == _APOLLO_FORMAT:
        found = _read_apollo_manifest(found)
    if not isinstance(found, dict) or not found:
        raise ManifestError("the file is not a JSON object of documents by hash, or it is empty")
    if any(not key or not isinstance(value, str) or not value.strip() for key, value in found.items()):
        raise ManifestError("a document is not a string, or it or its id is empty")
    return found


def _read_apollo_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest.get("version") != 1:
        raise ManifestError("its version of Apollo's format is not 1")
    operations = manifest.get("operations")
    if not isinstance(operations, list) or any(not isinstance(each, dict) for each in operations):
        raise ManifestError("operations is not a list of objects")
    if any(not isinstance(each.get("id"), str) for each in operations):
        raise ManifestError("the id of an operation is not a string")
    found = {each["id"]: each.get("body") for each in operations}
    if len(found) < len(operations):
        raise ManifestError("two operations have the same id")
    return found


class DocumentStore(Protocol):
    """Documents that were registered at other processes; what comes from it is checked as what a client sends."""

    async def find(self, sha256_hash: str) -> str | None:
        """The document that was registered under a hash; None where none was, or it cannot be told now."""

    def keep(self, sha256_hash: str, text: str) -> None:
        """Let other processes find a document, without waiting until they can."""

    async def kept(self, sha256_hash: str) -> None:
        """Wait until other processes can find a document that is being kept, or nobody can tell."""


class PersistedDocuments:
    """Finds the document of a request."""

    def __init__(
        self,
        trusted: Mapping[str, str] | None = None,
        *,
        only: bool = False,
        automatic: bool = True,
        max_bytes: int = _MAX_BYTES,
        budget: CacheBudget | None = None,
        shared: DocumentStore | None = None,
    ) -> None:
        """`trusted` are a manifest's documents by id; with `only` no other document may be run.

        Without them clients may register documents, of at most `max_bytes` as UTF-8; they are charged to the budget.
        Without `automatic` they may not, and are told to stop trying where there is no manifest either: with one,
        its hashes are worth sending. `shared` holds what was registered at other processes.
        """
        self.only_trusted = only
        self._automatic = automatic
        # Another one with each manifest, so that no answer to a withdrawn document is given again.
        self.manifest = object()
        self._max_bytes = max_bytes
        self._shared = shared
        self._budget = CacheBudget(_MAX_DOCUMENTS * _OVERHEAD_BYTES + 5 * max_bytes) if budget is None else budget
        self._registered = _Registered(max_bytes, self._budget)
        self.trust(trusted or {})

    def trust(self, by_id: Mapping[str, str]) -> None:
        """Trust these documents of a manifest instead of those so far."""
        self.manifest = object()
        # A manifest may use another hash than Apollo's clients, and may name the algorithm when a client does not.
        by_hash = {_sha256(text): text for text in by_id.values()}
        self._known = {**by_hash, **{_ALGORITHM.sub("", name): text for name, text in by_id.items()}, **by_id}
        # One document takes at most a sixteenth of the bytes: a few long ones would evict all others.
        self._longest = -1 if by_id or not self._automatic else self._max_bytes // 16

    def text(
        self,
        request: GraphQLRequest,
        may_register: Callable[[str], bool] = lambda _: True,
        may_share: Callable[[str], bool] = lambda _: True,
    ) -> str:
        """The document of a request. Raises UnknownDocument, and HttpError if it may not be run.

        One that may not be registered is given all the same: whoever runs it says what is wrong with it. Of those that
        are registered, other processes get the ones that `may_share`.
        """
        query = request.query
        if query is not None and self.only_trusted:
            raise HttpError(
                403, Forbidden("Only trusted documents are run here; send the documentId of one instead of a query")
            )
        found = set() if query is None else {query}
        if request.document_id is not None:
            known = self._known
            trusted = known.get(request.document_id, known.get(_ALGORITHM.sub("", request.document_id)))
            if trusted is None:
                raise UnknownDocument(_NOT_FOUND)
            found.add(trusted)
        if request.sha256 is not None:
            found.add(self._hashed(request.sha256, query, may_register))
            if query is not None and self._shared is not None and self._is_kept(query) and may_share(query):
                self._shared.keep(request.sha256, query)
        if len(found) > 1:
            raise HttpError(400, "The request names a document and holds or names another; send one of them")
        return next(iter(found), "")

    async def shared_text(
        self, request: GraphQLRequest, may_register: Callable[[str], bool] = lambda _: True
    ) -> str | None:
        """The document of a request whose hash this process does not know, where another one registered it.

        It is registered here too. None where there is none, or where it might not be registered here.
        """
        sha256_hash = request.sha256
        if self._shared is None or sha256_hash is None or request.query is not None or request.document_id is not None:
            return None
        if not self._takes_documents:
            return None
        text = await self._shared.find(sha256_hash)
        # Meanwhile a manifest may have come.
        if text is None or not self._is_kept(text) or _sha256(text) != sha256_hash or not may_register(text):
            return None
        self._register(sha256_hash, text)
        return text

    async def told(self, request: GraphQLRequest) -> None:
        """Wait until other processes can find the document that a request registered, before its client is answered."""
        if self._shared is not None and request.sha256 is not None and request.query is not None:
            await self._shared.kept(request.sha256)

    def _hashed(self, sha256_hash: str, query: str | None, may_register: Callable[[str], bool]) -> str:
        """The document of an Apollo client, which sends the text too after a response that its hash is unknown."""
        found = self._known.get(sha256_hash)
        if found is None and query is None and (found := self._registered.get(sha256_hash)) is not None:
            self._budget.touch(("registered", sha256_hash))
        if found is not None:
            return found
        if query is None:
            is_supported = self._automatic or bool(self._known)
            raise UnknownDocument(_NOT_FOUND) if is_supported else NoAutomaticDocuments(_NOT_SUPPORTED)
        if _sha256(query) != sha256_hash:
            raise HttpError(400, "sha256Hash is not the hash of the query")
        if may_register(query):
            self._register(sha256_hash, query)
        return query

    @property
    def _takes_documents(self) -> bool:
        return self._longest >= 0

    def _is_kept(self, text: str) -> bool:
        return _utf8_bytes(text) <= self._longest

    def _register(self, sha256_hash: str, text: str) -> None:
        if not self._is_kept(text):
            return
        forget = partial(self._registered.pop, sha256_hash, None)
        forget()
        if len(self._registered) >= _MAX_DOCUMENTS:
            self._registered.popitem()
        if self._budget.keep(("registered", sha256_hash), _OVERHEAD_BYTES + getsizeof(text), forget):
            self._registered[sha256_hash] = text


class _Registered(LRUCache[str, str]):
    """Texts by hash, of at most so many bytes; what goes is no longer charged to the budget."""

    def __init__(self, max_bytes: int, budget: CacheBudget) -> None:
        super().__init__(max_bytes, getsizeof=_utf8_bytes)
        self._budget = budget

    def __delitem__(self, sha256_hash: str) -> None:
        super().__delitem__(sha256_hash)
        self._budget.drop(("registered", sha256_hash))


def _utf8_bytes(text: str) -> int:
    return len(text.encode())


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
