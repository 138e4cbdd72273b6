"""What a request leaves behind: the ids that follow it (W3C Trace Context, version 00), and its line in the log."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal, NamedTuple, Protocol, TypeAlias

from structlog.typing import FilteringBoundLogger

from gateway.domain import errors
from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.fetch.fetch_scope import CacheStatus
from gateway.logging import places

Outcome: TypeAlias = Literal["ok", "partial", "failed", "refused", "finished", "left"]
"""`finished` is an answer that was kept whole, `refused` an operation of which no field ran, `left` one whose client
did not wait."""

_ANONYMOUS = "anonymous"
_MOST_CODES = 8
_DOCUMENT_CHARACTERS = 16
_is_uuid = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE
).fullmatch
_is_traceparent = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
# Whatever may_hold_a_personal_number finds between hexadecimal digits has this form; looking closer takes ten times
# as long, and few ids need it.
_may_be_dated = re.compile(r"[0-9]{2}(?:0[1-9]|1[0-2])[0-9]{2}[a-z]?[0-9]{3}[0-9a-z]", re.IGNORECASE).search


class Trail(NamedTuple):
    """The ids that follow one request through logs; both are the client's own where they can be nothing else."""

    request_id: str
    traceparent: str | None = None
    begun_trace: str | None = None
    """The id of the trace that the gateway began, where the client told none."""

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that the request belongs to, where there is one."""
        return self.begun_trace if self.traceparent is None else self.traceparent[3:35]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers that tell the client what its request goes by."""
        told = [(b"x-request-id", self.request_id.encode())]
        if self.traceparent is not None:
            told.append((b"traceparent", self.traceparent.encode()))
        return told


def trail_of(headers: Mapping[bytes, str], new_request_id: Callable[[], str]) -> Trail:
    """The ids in a request's headers, by lower-case name.

    Anything but a UUID or a W3C trace parent is left out, and so is one whose digits could be a personal number:
    one of 25 random UUIDs, one of 13 random trace parents.
    """
    request_id = headers.get(b"x-request-id")
    if request_id is None or not _is_uuid(request_id) or _may_be_personal(request_id):
        request_id = new_request_id()
    traceparent = headers.get(b"traceparent")
    if traceparent is not None and (not _is_traceparent(traceparent) or _may_be_personal(traceparent)):
        traceparent = None
    return Trail(request_id, traceparent)


class Tally(Protocol):
    """Counts what is logged."""

    def answered(
        self,
        *,
        outcome: Outcome,
        operation: str | None,
        seconds: float,
        waited_seconds: float = 0.0,
        reads: Mapping[CacheStatus, int],
        asked: int = 0,
    ) -> None:
        """An operation was answered."""
        ...

    def refused(self, code: str) -> None:
        """A request was turned away."""
        ...


class OperationSpan(Protocol):
    """A request in a trace, from its head to the end of its answer; one of the two is called, once."""

    @property
    def begun_trace(self) -> str | None:
        """The id of the trace that began with it, if one did: 32 hexadecimal digits."""
        ...

    def answered(  # what a line of the log has, too
        self,
        *,
        outcome: Outcome,
        operation: str | None,
        document: str | None,
        seconds: float,
        reads: Mapping[CacheStatus, int],
        status: int,
        codes: Collection[str],
    ) -> None:
        """An operation was answered."""
        ...

    def refused(self, code: str, *, seconds: float, status: int) -> None:
        """A request was turned away."""
        ...


class OperationSpans(Protocol):
    """Traces what is logged."""

    def begun(self, trail: Trail) -> OperationSpan | None:
        """A request came; the calls to Leyr that this task and those it starts make belong to it.

        None where its trace is not recorded.
        """
        ...


def error_codes(root: type[errors.GatewayError] = errors.GatewayError) -> list[str]:
    """The codes of the error tree, or of a branch, which are all that a failure is labelled with."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return sorted({kind.code for kind in kinds if issubclass(kind, root)})


class RequestLog:
    """Writes one line for each request. All it is given is from closed sets, counted or measured, save the trail."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def answered(  # noqa: PLR0913 # a line of the log has so many fields
        self,
        trail: Trail,
        *,
        caller: str | None,
        operation: str | None,
        document: str | None,
        seconds: float,
        reads: Mapping[CacheStatus, int],
        outcome: Outcome,
        status: int,
        codes: Collection[str] = (),
    ) -> None:
        """An operation was answered.

        `caller` is its label in the configuration, None for nobody in particular; `operation` is `query` or
        `mutation` and `document` the SHA-256 of the document in hexadecimal digits, where they became known.
        """
        self._log.info(
            "operation.answered",
            **_ids(trail),
            caller=caller or _ANONYMOUS,
            operation=operation,
            document=document[:_DOCUMENT_CHARACTERS] if document else None,
            duration_ms=round(seconds * 1000, 3),
            upstream_calls=reads.get(CacheStatus.FETCHED, 0),
            joined=reads.get(CacheStatus.JOINED, 0),
            cached=reads.get(CacheStatus.CACHED, 0),
            stale=reads.get(CacheStatus.STALE, 0),
            outcome=outcome,
            status=status,
            codes=sorted(set(codes))[:_MOST_CODES] if codes else [],
        )

    def fault(self, trail: Trail, error: BaseException) -> None:
        """Something failed that should not; of the error only its kind and its places are told."""
        self._log.error(
            "request.fault",
            **_ids(trail),
            kind=type(error).__name__,
            places=places(error),
            action="report this to the gateway's developers with the request id",
        )

    def refused(self, trail: Trail, *, caller: str | None, seconds: float, status: int, code: str) -> None:
        """A request was turned away before it became an operation."""
        self._log.info(
            "request.refused",
            **_ids(trail),
            caller=caller or _ANONYMOUS,
            duration_ms=round(seconds * 1000, 3),
            status=status,
            code=code,
        )


def _ids(trail: Trail) -> dict[str, str]:
    trace_id = trail.trace_id
    if trace_id is None:
        return {"request_id": trail.request_id}
    return {"request_id": trail.request_id, "trace_id": trace_id}


def _may_be_personal(text: str) -> bool:
    # A hyphen of the form may stand inside a number, even beside the letter of a Finnish one.
    plain = text.replace("-", "")
    return _may_be_dated(plain) is not None and may_hold_a_personal_number(plain)
