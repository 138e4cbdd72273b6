"""Documents that requests name instead of sending: trusted ones, and those that clients left here before.

Trusted documents come from a manifest. Without one, clients may leave a document under its hash (Apollo's automatic
persisted queries), in a bounded store.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from gateway.domain.errors import Forbidden, UnknownDocument
from gateway.http.requests import GraphQLRequest, RequestRefusedError

_MOST_BYTES = 1024 * 1024
_LARGEST_SHARE = 16
# What a short document takes is not its text, so texts alone would bound nothing.
_MOST_DOCUMENTS = 4_096
_APOLLO = "apollo-persisted-query-manifest"
_ALGORITHM = re.compile(r"(sha1|sha256|sha512|md5):", re.IGNORECASE)


class ManifestError(Exception):
    """The manifest is not what it should be; the message says why, and quotes nothing."""


def read_manifest(text: bytes) -> dict[str, str]:
    """Documents by id: an object of texts by hash (graphql-codegen), or Apollo's manifest. Raises ManifestError."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ManifestError(f"the file is not JSON: line {error.lineno}, column {error.colno}") from None
    if isinstance(found, dict) and found.get("format") == _APOLLO:
        found = _of_apollo(found)
    if not isinstance(found, dict) or not found:
        raise ManifestError("the file is not a JSON object of documents by hash, or it is empty")
    if any(not key or not isinstance(value, str) or not value.strip() for key, value in found.items()):
        raise ManifestError("a document is not a string, or it or its id is empty")
    return found


def _of_apollo(manifest: dict[str, Any]) -> dict[str, Any]:
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


@dataclass(frozen=True, slots=True)
class TrustedDocuments:
    """The documents of a manifest by id; `alone` where no others may be run."""

    by_id: Mapping[str, str]
    alone: bool = False


class PersistedDocuments:
    """Finds the document that a request means; `most_bytes` bounds what clients may leave, as UTF-8."""

    def __init__(self, trusted: TrustedDocuments | None, most_bytes: int = _MOST_BYTES) -> None:
        self._is_alone = trusted is not None and trusted.alone
        by_id = dict(trusted.by_id) if trusted else {}
        # A manifest may go by another hash than Apollo's clients do, and name the algorithm where a client does not.
        by_hash = {_sha256(text): text for text in by_id.values()}
        self._known = {**by_hash, **{_bare(name): text for name, text in by_id.items()}, **by_id}
        self._left = None if trusted else _LeftDocuments(most_bytes)

    def text(self, request: GraphQLRequest) -> str:
        """The document of a request. Raises UnknownDocument, and RequestRefusedError where it may not be run."""
        query = request.query
        if query is not None and self._is_alone:
            raise RequestRefusedError(
                403, Forbidden("Only trusted documents are run here; send the documentId of one instead of a query")
            )
        found = set() if query is None else {query}
        if request.document_id is not None:
            found.add(self._trusted(request.document_id))
        if request.sha256 is not None:
            found.add(self._hashed(request.sha256, query))
        if len(found) > 1:
            raise RequestRefusedError(400, "The request names a document and holds or names another; send one of them")
        return next(iter(found), "")

    def _trusted(self, document_id: str) -> str:
        found = self._known.get(document_id, self._known.get(_bare(document_id)))
        if found is None:
            raise _not_found()
        return found

    def _hashed(self, sha256_hash: str, query: str | None) -> str:
        """The document of an Apollo client, which sends it along when it was told that its hash is unknown."""
        found = self._known.get(sha256_hash)
        if found is None and query is None and self._left is not None:
            found = self._left.find(sha256_hash)
        if found is not None:
            return found
        if query is None:
            raise _not_found()
        if _sha256(query) != sha256_hash:
            raise RequestRefusedError(400, "sha256Hash is not the hash of the query")
        if self._left is not None:
            self._left.keep(sha256_hash, query)
        return query


class _LeftDocuments:
    """Documents that clients left under their hash; the least recently used goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._bytes = 0

    def find(self, name: str) -> str | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        self._kept.move_to_end(name)
        return kept[0]

    def keep(self, name: str, text: str) -> None:
        size = len(text.encode())
        # Without a bound for each, a few long ones would push all others out.
        if self.find(name) is not None or size > self._most_bytes // _LARGEST_SHARE:
            return
        self._kept[name] = text, size
        self._bytes += size
        while self._bytes > self._most_bytes or len(self._kept) > _MOST_DOCUMENTS:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed


def _not_found() -> UnknownDocument:
    # Apollo's clients know it by these very words.
    return UnknownDocument("PersistedQueryNotFound")


def _bare(document_id: str) -> str:
    return document_id[found.end() :] if (found := _ALGORITHM.match(document_id)) else document_id


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
