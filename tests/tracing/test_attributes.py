"""Attributes, counts of resends and shares, by themselves: whatever they are given, they say what is allowed."""

from contextvars import copy_context
from itertools import cycle
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.fetch.fetch_scope import CacheStatus
from gateway.http.request_context import Trail, error_codes
from gateway.leyr.call_events import ENDPOINTS, CallResult, Rejection
from gateway.telemetry import span_attributes as attributes
from gateway.telemetry.span_attributes import ALLOWED, OTHER, CallAttributes, has_failed, operation_attributes
from gateway.telemetry.traces import Traces
from gateway.telemetry.tracing_setup import recorded

EMRS = ("pmo", "webdoc")
PERSONAL_NUMBER = "191212121212"
NASTY = st.one_of(st.text(max_size=40), st.sampled_from([PERSONAL_NUMBER, "Query", "query ", "a" * 63, "A" * 64]))
CODES = {*error_codes(), OTHER}


@given(
    outcome=NASTY,
    operation=st.none() | NASTY,
    document=st.none() | NASTY,
    reads=st.dictionaries(st.sampled_from(CacheStatus), st.integers(0, 9)),
    codes=st.lists(NASTY | st.sampled_from(error_codes())),
)
def test_an_operation_says_nothing_but_closed_sets_and_counts(
    outcome: Any, operation: str | None, document: str | None, reads: dict[CacheStatus, int], codes: list[str]
) -> None:
    said = operation_attributes(
        outcome=outcome, operation=operation, document=document, reads=reads, status=200, codes=codes
    )

    assert said.keys() <= ALLOWED
    assert said.pop(attributes.OUTCOME) in {"ok", "partial", "failed", "refused", "finished", "left", OTHER}
    assert said.pop(attributes.OPERATION_TYPE, OTHER) in {"query", "mutation", "subscription", OTHER}
    assert {*cast("tuple[str, ...]", said.pop(attributes.CODES, ()))} <= CODES
    assert attributes.DOCUMENT_HASH not in said
    assert all(isinstance(value, int) for value in said.values())


@given(emr=NASTY, endpoint=NASTY, outcome=st.sampled_from(CallResult), resends=st.integers(0, 9))
def test_a_call_says_nothing_but_closed_sets_and_counts(
    emr: str, endpoint: str, outcome: CallResult, resends: int
) -> None:
    name, said = CallAttributes(EMRS).of(emr, endpoint, outcome, resends)

    assert said.keys() <= ALLOWED
    assert name in {f"leyr {each}" for each in (*ENDPOINTS, OTHER)}
    assert said[attributes.EMR] in {*EMRS, OTHER}
    assert said[attributes.ENDPOINT] in {*ENDPOINTS, OTHER}
    assert said[attributes.OUTCOME] == outcome


def test_of_a_document_a_part_of_its_hash_is_told() -> None:
    said = operation_attributes(outcome="ok", operation="query", document="0f" * 32, reads={}, status=200, codes=())

    assert said[attributes.DOCUMENT_HASH] == "0f" * 8


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
def test_what_a_client_can_mend_is_no_failure(status: int, codes: list[str], failed: bool) -> None:
    assert has_failed(status, codes) is failed


def recording(ratio: float = 1) -> tuple[Traces, InMemorySpanExporter]:
    """Traces of which chance says: in this quarter, the next, and so on."""
    exporter, chances = InMemorySpanExporter(), cycle([0, 0.25, 0.5, 0.75])
    traces = recorded(
        SimpleSpanProcessor(exporter),
        emrs=EMRS,
        ratio=ratio,
        now_ns=lambda: 10**18,
        chance=lambda: next(chances),
        close=exporter.shutdown,
    )
    return traces, exporter


def test_a_request_counts_those_of_its_call_that_were_sent_before() -> None:
    traces, exporter = recording()
    observer = traces.upstream

    def call(*steps: str) -> None:
        traces.operations.begun(Trail("id"))
        for step in steps:
            match step:
                case "sent":
                    observer.attempt_ended("pmo", "timeslots", CallResult.UNAVAILABLE, 0.5)
                case "retried":
                    observer.retried("pmo")
                case _:
                    observer.rejected("pmo", "timeslots", Rejection.BREAKER_OPEN)

    for steps in (
        ("sent", "retried", "sent", "retried", "sent"),
        ("sent", "retried", "turned away", "retried", "sent"),
        # Two calls by one task.
        ("sent", "retried", "sent", "sent"),
        ("sent", "retried", "turned away", "sent"),
    ):
        copy_context().run(call, *steps)

    told = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    assert [each.get(attributes.RESEND_COUNT, 0) for each in told] == [0, 1, 2, 0, 1, 0, 1, 0, 0, 0]


def test_a_call_ends_now_and_took_its_seconds() -> None:
    traces, exporter = recording()

    def call() -> None:
        traces.operations.begun(Trail("id"))
        traces.upstream.attempt_ended("pmo", "timeslots", CallResult.ANSWERED, 1.25)

    copy_context().run(call)

    [span] = exporter.get_finished_spans()
    assert (span.start_time, span.end_time) == (10**18 - 1_250_000_000, 10**18)


def test_an_operation_that_is_not_recorded_takes_the_place_of_one_that_is() -> None:
    traces, exporter = recording(0.25)

    def call() -> None:
        assert traces.operations.begun(Trail("id")) is not None
        assert traces.operations.begun(Trail("id")) is None
        traces.upstream.attempt_ended("pmo", "timeslots", CallResult.ANSWERED, 1.25)

    copy_context().run(call)

    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(("ratio", "begun"), [(0, 0), (0.25, 1), (0.5, 2), (1, 4)])
def test_of_the_traces_that_begin_here_a_share_is_recorded(ratio: float, begun: int) -> None:
    traces, _ = recording(ratio)

    spans = [copy_context().run(traces.operations.begun, Trail("id")) for _ in range(4)]

    assert len([span for span in spans if span is not None]) == begun


@pytest.mark.parametrize(("flags", "is_recorded"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_a_clients_trace_is_recorded_where_the_client_records_it(flags: str, is_recorded: bool) -> None:
    traces, _ = recording(0)
    trail = Trail("id", f"00-{'a' * 32}-{'b' * 16}-{flags}")

    assert (copy_context().run(traces.operations.begun, trail) is not None) is is_recorded
