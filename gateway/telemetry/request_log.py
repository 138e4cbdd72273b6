"""The log of requests: one line for each request, for each booking in it, and for each fault of the gateway."""

from structlog.typing import FilteringBoundLogger

from gateway.booking.caller_bookings import BookingEvent
from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import RequestIds, RequestRecord
from gateway.logging import places

_ANONYMOUS = "anonymous"
_MAX_CODES = 8
_DOCUMENT_CHARACTERS = 16


class RequestLog:
    """Logs requests and faults. All values but the ids are from closed sets, counted or measured."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def finished(self, request: RequestRecord) -> None:
        """Log the request as `operation.answered`, or as `request.refused` if it did not become an operation."""
        if request.rejection is not None:
            self._log.info(
                "request.refused",
                **_ids(request.ids),
                caller=request.caller or _ANONYMOUS,
                duration_ms=round(request.seconds * 1000, 3),
                status=request.status,
                code=request.rejection,
            )
            return
        reads, codes = request.reads, request.codes
        self._log.info(
            "operation.answered",
            **_ids(request.ids),
            caller=request.caller or _ANONYMOUS,
            operation=request.operation_type,
            document=request.document_hash[:_DOCUMENT_CHARACTERS] or None,
            duration_ms=round(request.seconds * 1000, 3),
            upstream_calls=reads.get(CacheStatus.FETCHED, 0),
            joined=reads.get(CacheStatus.JOINED, 0),
            shared=reads.get(CacheStatus.SHARED, 0),
            cached=reads.get(CacheStatus.CACHED, 0),
            stale=reads.get(CacheStatus.STALE, 0),
            outcome=request.outcome,
            status=request.status,
            codes=sorted(set(codes))[:_MAX_CODES] if codes else [],
            **_incomplete(request),
        )

    def fault(self, ids: RequestIds, error: BaseException) -> None:
        """Log an unexpected exception: its type and its places in the code, never its text."""
        self._log.error(
            "request.fault",
            **_ids(ids),
            kind=type(error).__name__,
            places=places(error),
            action="report this to the gateway's developers with the request id",
        )


class BookingLog:
    """Logs bookings and changes of appointments: one line each, with nothing of a patient."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def booked(self, event: BookingEvent) -> None:
        """Log what a request came to, as a warning where that is not known."""
        write = self._log.warning if event.outcome == "outcome_unknown" else self._log.info
        write(
            "booking.answered",
            caller=event.caller,
            emr=event.emr,
            kind=event.step.value,
            outcome=event.outcome,
            replayed=event.is_replayed,
            duration_ms=round(event.seconds * 1000, 3),
        )


def _incomplete(request: RequestRecord) -> dict[str, list[str]]:
    """Which lists are incomplete, for the few operations that have such."""
    if not request.incomplete:
        return {}
    return {"incomplete": [f"{each.emr}/{each.endpoint}:{each.reason}" for each in request.incomplete[:_MAX_CODES]]}


def _ids(ids: RequestIds) -> dict[str, str]:
    trace_id = ids.trace_id
    if trace_id is None:
        return {"request_id": ids.request_id}
    return {"request_id": ids.request_id, "trace_id": trace_id}
