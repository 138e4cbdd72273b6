"""The spans of operations and of the calls to Leyr that they lead to."""

from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    format_trace_id,
    set_span_in_context,
)

from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import Outcome, Trail
from gateway.leyr.call_events import CallEvents, CallResult, Rejection
from gateway.telemetry.span_attributes import (
    Attributes,
    CallAttributes,
    has_failed,
    operation_attributes,
    operation_name,
    refusal_attributes,
)

_NANOSECONDS = 1_000_000_000


class TracedOperation:
    """An OperationSpan; times are in nanoseconds since 1970."""

    __slots__ = ("_began", "_span", "begun_trace", "context", "is_over")

    def __init__(self, span: Span, began: int, *, is_root: bool) -> None:
        self._span = span
        self._began = began
        self.is_over = False
        self.context = set_span_in_context(span, Context())
        self.begun_trace = format_trace_id(span.get_span_context().trace_id) if is_root else None

    def link(self) -> Link:
        """What a trace of its own refers to this operation by."""
        return Link(self._span.get_span_context())

    def answered(
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
        """See OperationSpan."""
        self._span.update_name(operation_name(operation))
        said = operation_attributes(
            outcome=outcome, operation=operation, document=document, reads=reads, status=status, codes=codes
        )
        self._end(said, seconds, has_failed=has_failed(status, codes))

    def refused(self, code: str, *, seconds: float, status: int) -> None:
        """See OperationSpan."""
        self._end(refusal_attributes(code, status=status), seconds, has_failed=has_failed(status, (code,)))

    def _end(self, said: Attributes, seconds: float, *, has_failed: bool) -> None:
        self._span.set_attributes(said)
        if has_failed:
            self._span.set_status(Status(StatusCode.ERROR))
        # By the clock that the log measures with: the time of day may be set back meanwhile.
        self._span.end(self._began + round(seconds * _NANOSECONDS))
        self.is_over = True


Current: TypeAlias = ContextVar[TracedOperation | None]
"""The operation that a task works for, if it is recorded: tasks inherit it from the one that starts them."""


class TracedOperations:
    """Begins spans; `current` is set for the task of each request."""

    def __init__(
        self,
        tracer: Tracer,
        current: Current,
        *,
        ratio: float,
        now_ns: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        self._tracer = tracer
        self._current = current
        self._ratio = ratio
        self._now_ns = now_ns
        self._chance = chance

    def begun(self, trail: Trail) -> TracedOperation | None:
        """See OperationSpans."""
        operation = self._recorded(trail.traceparent)
        # None as well: a task may have inherited another's.
        self._current.set(operation)
        return operation

    def _recorded(self, traceparent: str | None) -> TracedOperation | None:
        # Decided before the library is asked, whose samplers take ten times as long.
        if not (self._chance() < self._ratio if traceparent is None else _is_sampled(traceparent)):
            return None
        began = self._now_ns()
        parent = Context() if traceparent is None else _told(traceparent)
        span = self._tracer.start_span(operation_name(None), parent, SpanKind.SERVER, start_time=began)
        # OTEL_SDK_DISABLED makes spans that record nothing.
        return TracedOperation(span, began, is_root=traceparent is None) if span.is_recording() else None


def _is_sampled(traceparent: str) -> bool:
    return int(traceparent[-2:], 16) & TraceFlags.SAMPLED != 0


def _told(traceparent: str) -> Context:
    """The client's span, as `request_context` lets it in; its `tracestate` is free text and stays outside."""
    trace_id, span_id = (int(part, 16) for part in traceparent.split("-")[1:3])
    told = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(told), Context())


_NANOSECONDS = 1_000_000_000
_UNHARMED = frozenset({CallResult.ANSWERED, CallResult.ABANDONED})


class TracedCalls(CallEvents):
    """The observer of gateway.leyr.resilience: a span for each request that was sent, made when it has ended.

    It belongs to the operation that began the call, however many wait for it. A call that goes on when its operation
    is over, as one does that fetches anew what was served stale, is a trace of its own with a link to the operation:
    below it, the call would stand outside its parent's time.
    """

    def __init__(self, tracer: Tracer, current: Current, attributes: CallAttributes, now_ns: Callable[[], int]) -> None:
        self._tracer = tracer
        self._current = current
        self._attributes = attributes
        self._now_ns = now_ns
        # Of the call that a task makes: the resends before the last request, and before the next if there is one. A
        # call is made by one task, which has a context of its own.
        self._resends: ContextVar[tuple[int, int]] = ContextVar("gateway.tracing.resends", default=(0, 0))

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        """See CallEvents."""
        operation = self._current.get()
        if operation is None:
            return
        _, resends = self._resends.get()
        self._resends.set((resends, 0))
        ended = self._now_ns()
        # One that was abandoned ended because its operation did, if a moment later.
        outlived = operation.is_over and result is not CallResult.ABANDONED
        name, said = self._attributes.of(emr, endpoint, result, resends)
        span = self._tracer.start_span(
            name,
            Context() if outlived else operation.context,
            SpanKind.CLIENT,
            said,
            [operation.link()] if outlived else None,
            ended - round(seconds * _NANOSECONDS),
        )
        if result not in _UNHARMED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def rejected(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: ARG002 # the base class's signature
        """See CallEvents; nothing was sent, so the next request takes the count of this one."""
        before, _ = self._resends.get()
        self._resends.set((before, 0))

    def retried(self, emr: str) -> None:  # noqa: ARG002 # the base class's signature
        """See CallEvents."""
        before, _ = self._resends.get()
        self._resends.set((before, before + 1))
