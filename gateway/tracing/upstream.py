"""The spans of the calls to Leyr."""

from collections.abc import Callable
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from gateway.leyr.call_events import CallResult, NoCallEvents, Rejection
from gateway.tracing.attributes import CallAttributes
from gateway.tracing.operations import Current

_NANOSECONDS = 1_000_000_000
_UNHARMED = frozenset({CallResult.ANSWERED, CallResult.ABANDONED})


class TracedCalls(NoCallEvents):
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

    def attempt(self, emr: str, endpoint: str, outcome: CallResult, seconds: float) -> None:
        """See CallEvents."""
        operation = self._current.get()
        if operation is None:
            return
        _, resends = self._resends.get()
        self._resends.set((resends, 0))
        ended = self._now_ns()
        # One that was abandoned ended because its operation did, if a moment later.
        outlived = operation.is_over and outcome is not CallResult.ABANDONED
        name, said = self._attributes.of(emr, endpoint, outcome, resends)
        span = self._tracer.start_span(
            name,
            Context() if outlived else operation.context,
            SpanKind.CLIENT,
            said,
            [operation.link()] if outlived else None,
            ended - round(seconds * _NANOSECONDS),
        )
        if outcome not in _UNHARMED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def turned_away(self, emr: str, endpoint: str, reason: Rejection) -> None:  # noqa: ARG002 # the protocol's signature
        """See CallEvents; nothing was sent, so the next request takes the count of this one."""
        before, _ = self._resends.get()
        self._resends.set((before, 0))

    def retried(self, emr: str) -> None:  # noqa: ARG002 # the protocol's signature
        """See CallEvents."""
        before, _ = self._resends.get()
        self._resends.set((before, before + 1))
