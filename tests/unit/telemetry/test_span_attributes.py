"""Spans without a gateway: their attributes are allowed ones whatever they are given, resends, and sampling."""

from contextvars import copy_context
from itertools import cycle
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import RequestIds, RequestRecord
from gateway.leyr.call_events import CallResult, Rejection
from gateway.leyr.client import ENDPOINTS
from gateway.telemetry import spans
from gateway.telemetry.instruments import OTHER, error_codes
from gateway.telemetry.spans import ALLOWED, Spans, call_attributes, is_server_failure, request_attributes, tracer_to
from gateway.telemetry.traces import Traces

EMRS = ("pmo", "webdoc")
PERSONAL_NUMBER = "191212121212"
NASTY = st.one_of(st.text(max_size=40), st.sampled_from([PERSONAL_NUMBER, "Query", "query ", "a" * 63, "A" * 64]))
CODES = {*error_codes(), OTHER}


@given(
    outcome=NASTY,
    operation=st.none() | NASTY,
    document=NASTY,
    reads=st.dictionaries(st.sampled_from(CacheStatus), st.integers(0, 9)),
    codes=st.lists(NASTY | st.sampled_from(error_codes())),
)
def test_operation_attributes_are_closed_sets_and_counts(
    outcome: Any, operation: str | None, document: str, reads: dict[CacheStatus, int], codes: list[str]
) -> None:
    said = request_attributes(
        RequestRecord(
            RequestIds("id"),
            200,
            1.0,
            outcome=outcome,
            operation_type=operation,
            document_hash=document,
            reads=reads,
            codes=codes,
        )
    )

    assert said.keys() <= ALLOWED
    assert said.pop(spans.OUTCOME) in {"ok", "partial", "failed", "refused", "finished", "left", OTHER}
    assert said.pop(spans.OPERATION_TYPE, OTHER) in {"query", "mutation", "subscription", OTHER}
    assert {*cast("tuple[str, ...]", said.pop(spans.CODES, ()))} <= CODES
    assert spans.DOCUMENT_HASH not in said
    assert all(isinstance(value, int) for value in said.values())


@given(emr=NASTY, endpoint=NASTY, outcome=st.sampled_from(CallResult), resends=st.integers(0, 9))
def test_call_attributes_are_closed_sets_and_counts(emr: str, endpoint: str, outcome: CallResult, resends: int) -> None:
    name, said = call_attributes(emr, endpoint, outcome, resends, emrs=EMRS)

    assert said.keys() <= ALLOWED
    assert name in {f"leyr {each}" for each in (*ENDPOINTS, OTHER)}
    assert said[spans.EMR] in {*EMRS, OTHER}
    assert said[spans.ENDPOINT] in {*ENDPOINTS, OTHER}
    assert said[spans.OUTCOME] == outcome


def test_document_attribute_is_a_part_of_its_hash() -> None:
    said = request_attributes(RequestRecord(RequestIds("id"), 200, 1.0, outcome="ok", document_hash="0f" * 32))

    assert said[spans.DOCUMENT_HASH] == "0f" * 8


@pytest.mark.parametrize(
    ("status", "codes", "failed"),
    [
        (200, [], False),
        (200, ["BAD_USER_INPUT", "NOT_FOUND"], False),
        (429, ["RATE_LIMITED"], False),
        (200, ["NOT_FOUND", "UPSTREAM_UNAVAILABLE"], True),
        (200, ["DEADLINE_EXCEEDED"], True),
        (500, ["INTERNAL"], True),
        (503, ["KEYS_UNAVAILABLE"], True),
    ],
)
def test_client_errors_are_no_failure(status: int, codes: list[str], failed: bool) -> None:
    assert is_server_failure(status, codes) is failed


def recording(ratio: float = 1) -> tuple[Traces, InMemorySpanExporter]:
    """Traces of which chance says: in this quarter, the next, and so on."""
    exporter, chances = InMemorySpanExporter(), cycle([0, 0.25, 0.5, 0.75])
    made = Spans(
        tracer_to(SimpleSpanProcessor(exporter)),
        emrs=EMRS,
        ratio=ratio,
        now_ns=lambda: 10**18,
        chance=lambda: next(chances),
    )
    traces = Traces(made.started, made.finished, made, exporter.shutdown)
    return traces, exporter


def test_resend_count_counts_earlier_attempts_of_the_same_call() -> None:
    traces, exporter = recording()
    events = traces.upstream

    def call(*steps: str) -> None:
        traces.started(RequestIds("id"))
        for step in steps:
            match step:
                case "sent":
                    events.attempt_ended("pmo", "timeslots", CallResult.UNAVAILABLE, 0.5)
                case "retried":
                    events.retried("pmo")
                case _:
                    events.rejected("pmo", "timeslots", Rejection.BREAKER_OPEN)

    for steps in (
        ("sent", "retried", "sent", "retried", "sent"),
        ("sent", "retried", "turned away", "retried", "sent"),
        # Two calls by one task.
        ("sent", "retried", "sent", "sent"),
        ("sent", "retried", "turned away", "sent"),
    ):
        copy_context().run(call, *steps)

    told = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    assert [each.get(spans.RESEND_COUNT, 0) for each in told] == [0, 1, 2, 0, 1, 0, 1, 0, 0, 0]


def test_call_span_ends_now_and_lasts_its_seconds() -> None:
    traces, exporter = recording()

    def call() -> None:
        traces.started(RequestIds("id"))
        traces.upstream.attempt_ended("pmo", "timeslots", CallResult.ANSWERED, 1.25)

    copy_context().run(call)

    [span] = exporter.get_finished_spans()
    assert (span.start_time, span.end_time) == (10**18 - 1_250_000_000, 10**18)


def test_calls_of_an_unrecorded_operation_are_not_recorded() -> None:
    traces, exporter = recording(0.25)

    def call() -> None:
        assert traces.started(RequestIds("id")) is not None
        assert traces.started(RequestIds("id")) is None
        traces.upstream.attempt_ended("pmo", "timeslots", CallResult.ANSWERED, 1.25)

    copy_context().run(call)

    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(("ratio", "begun"), [(0, 0), (0.25, 1), (0.5, 2), (1, 4)])
def test_ratio_decides_which_share_of_new_traces_is_recorded(ratio: float, begun: int) -> None:
    traces, _ = recording(ratio)

    trace_ids = [copy_context().run(traces.started, RequestIds("id")) for _ in range(4)]

    assert len([trace_id for trace_id in trace_ids if trace_id is not None]) == begun


@pytest.mark.parametrize(("flags", "is_recorded"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_sampled_flag_of_the_client_decides_over_its_trace(flags: str, is_recorded: bool) -> None:
    traces, exporter = recording(0)
    ids = RequestIds("id", f"00-{'a' * 32}-{'b' * 16}-{flags}")

    def request() -> None:
        assert traces.started(ids) is None, "the trace is not new"
        traces.finished(RequestRecord(ids, 200, 1.0))

    copy_context().run(request)

    assert len(exporter.get_finished_spans()) == is_recorded
