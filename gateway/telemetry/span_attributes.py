"""All that a span may say: names that stand here, with values from closed sets, counts, and the hash of a document."""

import re
from collections.abc import Collection, Mapping
from typing import TypeAlias, get_args

from gateway.domain import errors
from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import Outcome, error_codes
from gateway.leyr.call_events import ENDPOINTS, CallResult

Attributes: TypeAlias = dict[str, str | int | tuple[str, ...]]

OTHER = "other"
"""Stands for any value that is not in its set."""
OPERATION_TYPE = "graphql.operation.type"
DOCUMENT_HASH = "graphql.document.hash"
STATUS = "http.response.status_code"
OUTCOME = "gateway.outcome"
CODES = "gateway.codes"
READS: Mapping[CacheStatus, str] = {origin: f"gateway.reads.{origin}" for origin in CacheStatus}
EMR = "gateway.emr"
ENDPOINT = "gateway.endpoint"
RESEND_COUNT = "http.request.resend_count"
ALLOWED = frozenset(
    {OPERATION_TYPE, DOCUMENT_HASH, STATUS, OUTCOME, CODES, *READS.values(), EMR, ENDPOINT, RESEND_COUNT}
)

_OUTCOMES = frozenset(get_args(Outcome))
_OPERATIONS = frozenset({"query", "mutation", "subscription"})
_CODES = frozenset(error_codes())
_FAILURES = _CODES.difference(error_codes(errors.CallerError))
_ENDPOINTS = frozenset(ENDPOINTS)
_HASH_CHARACTERS = 16
_SERVER_ERROR = 500
_is_hash = re.compile(r"[0-9a-f]{64}").fullmatch


def operation_name(operation: str | None) -> str:
    """The name of an operation's span; of one whose answer was kept whole, or that was none, the kind is not known."""
    return f"graphql {operation}" if operation in _OPERATIONS else "graphql"


def operation_attributes(
    *,
    outcome: Outcome,
    operation: str | None,
    document: str | None,
    reads: Mapping[CacheStatus, int],
    status: int,
    codes: Collection[str],
) -> Attributes:
    """What the span of an operation says; `document` is the SHA-256 of it, of which as much is told as in the log."""
    said: Attributes = {STATUS: status, OUTCOME: _closed(outcome, _OUTCOMES)}
    if operation is not None:
        said[OPERATION_TYPE] = _closed(operation, _OPERATIONS)
    if document and _is_hash(document):
        said[DOCUMENT_HASH] = document[:_HASH_CHARACTERS]
    for origin, name in READS.items():
        if origin in reads:
            said[name] = reads[origin]
    if codes:
        said[CODES] = tuple(sorted({_closed(code, _CODES) for code in codes}))
    return said


def refusal_attributes(code: str, *, status: int) -> Attributes:
    """What the span of a request says that was turned away."""
    return {STATUS: status, OUTCOME: "refused", CODES: (_closed(code, _CODES),)}


def has_failed(status: int, codes: Collection[str]) -> bool:
    """Whether something went wrong on this side: what a client does wrong is no failure of the server."""
    return status >= _SERVER_ERROR or not _FAILURES.isdisjoint(codes)


class CallAttributes:
    """What the spans of calls to Leyr say; `emrs` are the codes of the configured EHRs."""

    def __init__(self, emrs: Collection[str]) -> None:
        self._emrs = frozenset(emrs)

    def of(self, emr: str, endpoint: str, outcome: CallResult, resends: int) -> tuple[str, Attributes]:
        """The span's name and its attributes; `resends` is how often the call was sent before."""
        endpoint = _closed(endpoint, _ENDPOINTS)
        said: Attributes = {EMR: _closed(emr, self._emrs), ENDPOINT: endpoint, OUTCOME: outcome.value}
        if resends:
            said[RESEND_COUNT] = resends
        return f"leyr {endpoint}", said


def _closed(value: str, known: Collection[str]) -> str:
    return value if value in known else OTHER
