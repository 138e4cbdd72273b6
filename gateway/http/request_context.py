"""One GraphQL request: its ids and options, what it comes to, and the record of it that listeners get."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple, Protocol, TypeAlias

from starlette.types import Receive

from gateway.domain.models import EVERYTHING, Access
from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord
from gateway.http.negotiation import MediaType

RequestOutcome: TypeAlias = Literal["ok", "partial", "failed", "refused", "finished", "left"]
"""`finished` is a response from the response cache, `refused` an operation of which no field ran, and `left` an
operation whose client disconnected before it got a response."""

_is_uuid = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE
).fullmatch
_is_traceparent = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
# Whatever may_hold_a_personal_number finds between hexadecimal digits has this form; looking closer takes ten times
# as long, and few ids need it.
_may_be_dated = re.compile(r"[0-9]{2}(?:0[1-9]|1[0-2])[0-9]{2}[a-z]?[0-9]{3}[0-9a-z]", re.IGNORECASE).search


class RequestIds(NamedTuple):
    """The ids that follow a request through logs and traces; `traceparent` is as in W3C Trace Context, version 00."""

    request_id: str
    traceparent: str | None = None
    new_trace_id: str | None = None
    """The id of the trace that the gateway began, where the client sent no `traceparent`."""

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that the request belongs to, if any."""
        return self.new_trace_id if self.traceparent is None else self.traceparent[3:35]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers that tell the client the ids."""
        headers = [(b"x-request-id", self.request_id.encode())]
        if self.traceparent is not None:
            headers.append((b"traceparent", self.traceparent.encode()))
        return headers


def request_ids(headers: Mapping[bytes, str], new_request_id: Callable[[], str]) -> RequestIds:
    """Take the ids from a request's headers, whose names are in lower case.

    A request id must be a UUID, a `traceparent` of version 00. The gateway ignores any other, and also those whose
    digits could be a personal number: one in 25 random UUIDs, one in 13 random trace parents.
    """
    request_id = headers.get(b"x-request-id")
    if request_id is None or not _is_uuid(request_id) or _may_be_personal(request_id):
        request_id = new_request_id()
    traceparent = headers.get(b"traceparent")
    if traceparent is not None and (not _is_traceparent(traceparent) or _may_be_personal(traceparent)):
        traceparent = None
    return RequestIds(request_id, traceparent)


def _may_be_personal(text: str) -> bool:
    # A hyphen of the form may stand inside a number, even beside the letter of a Finnish one.
    plain = text.replace("-", "")
    return _may_be_dated(plain) is not None and may_hold_a_personal_number(plain)


class RequestOptions(NamedTuple):
    """What a request's head asks for, and what its caller may see."""

    queries_only: bool = False
    bypass_cache: bool = False
    explain: bool = False
    timeout_seconds: float = inf
    access: Access = EVERYTHING


_NO_OPTIONS = RequestOptions()


class FinishedRequest(NamedTuple):
    """What listeners are told of a request. Only `ids` may hold something that the client chose.

    `rejection` is the error code of a request that got an error response instead of becoming an operation, else None.
    `caller` is None for an anonymous caller. `operation_type` and `document_hash` (SHA-256, hexadecimal) are empty
    where they did not become known. `lists_needed` is the number of lists that fields asked for, `reads` the number
    of lists that were read for them, by cache status. `seconds` is the time from the request's head to the end of its
    response, `upstream_seconds` the part of it in which the request waited for Leyr.
    """

    ids: RequestIds
    status: int
    seconds: float
    rejection: str | None = None
    caller: str | None = None
    outcome: RequestOutcome = "refused"
    codes: Sequence[str] = ()
    operation_type: str | None = None
    document_hash: str = ""
    reads: Mapping[CacheStatus, int] = {}
    lists_needed: int = 0
    upstream_seconds: float = 0.0


class RequestEvents(Protocol):
    """Is told of every request to `/graphql` when its response is sent."""

    def finished(self, request: FinishedRequest) -> None:
        """Record the request. Must neither raise nor wait."""
        ...


class RequestTracer(RequestEvents, Protocol):
    """A listener that is also told when a request begins, in the request's own task."""

    def started(self, ids: RequestIds) -> str | None:
        """Begin a span. Return its trace id, 32 hexadecimal digits, if it is recorded and begins a new trace."""
        ...


@dataclass(slots=True)
class RequestContext:
    """A request on its way to its response. The endpoint makes it; the endpoint and the runner fill it in.

    `started` is the clock's time. The other fields are as in FinishedRequest.
    """

    ids: RequestIds
    method: str
    headers: Mapping[bytes, str]
    receive: Receive
    started: float
    media_type: MediaType = MediaType.JSON
    options: RequestOptions = _NO_OPTIONS
    caller: str | None = None
    rejection: str | None = None
    outcome: RequestOutcome = "refused"
    codes: Sequence[str] = ()
    operation_type: str | None = None
    document_hash: str = ""
    reads: Sequence[FetchRecord] = ()
    lists_needed: int = 0
    upstream_seconds: float = 0.0

    def finished(self, status: int, now: float) -> FinishedRequest:
        """Make the record for listeners; `now` is the clock's time."""
        seconds = now - self.started
        if self.rejection is not None:
            return FinishedRequest(self.ids, status, seconds, self.rejection, self.caller, codes=(self.rejection,))
        return FinishedRequest(
            self.ids,
            status,
            seconds,
            None,
            self.caller,
            self.outcome,
            self.codes,
            self.operation_type,
            self.document_hash,
            Counter([read.origin for read in self.reads]) if self.reads else {},
            self.lists_needed,
            self.upstream_seconds,
        )
