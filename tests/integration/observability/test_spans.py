"""The spans of a gateway over real HTTP: which there are, their parents, and their attributes."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from opentelemetry.trace import SpanKind

from gateway.telemetry.spans import ALLOWED
from tests.harness import CACHES_ON, Clock, Simulator
from tests.integration.observability.conftest import Traced

EVERYTHING = "{ careUnits { id resources { id } healthcareServices { id } timeslots { start resource { id } } } }"
UNITS = "{ careUnits { name } }"
THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = (f"00-{THEIRS}-{PARENT}-{flags}" for flags in ("01", "00"))


def post(gateway: Traced, query: str = UNITS, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.http.post("/graphql", json={"query": query}, headers=named)


def test_operation_span_is_the_parent_of_its_calls(gateway: Traced, simulator: Simulator) -> None:
    gateway.data(EVERYTHING)

    [operation], calls = gateway.operations(), gateway.calls()
    assert operation.span.name == "graphql query"
    assert operation.parent_id is None
    assert (operation.outcome, operation.is_error) == ("ok", False)
    assert operation.said["http.response.status_code"] == 200
    assert operation.said["gateway.reads.fetched"] == len(calls)
    assert operation.said["graphql.document.hash"] == gateway.lines()[-1]["document"]
    assert Counter(str(call.said["gateway.endpoint"]) for call in calls) == simulator.count()
    assert {call.span.name for call in calls} == {
        "leyr care_units", "leyr resources", "leyr healthcare_services", "leyr timeslots",
    }  # fmt: skip
    assert {(call.parent_id, call.trace_id) for call in calls} == {(operation.span_id, operation.trace_id)}
    assert {(call.outcome, call.said["gateway.emr"]) for call in calls} == {("answered", "webdoc")}


def test_spans_hold_only_allowed_attributes(gateway: Traced, simulator: Simulator) -> None:
    simulator.fault("service_unavailable", endpoint="resources")
    gateway.ask(EVERYTHING)
    gateway.ask("{ nothing }")
    gateway.ask("{ careUnit(id: 1) { name } }")
    gateway.http.put("/graphql")

    spans = gateway.exporter.get_finished_spans()
    assert {name for span in spans for name in span.attributes or ()} <= ALLOWED
    assert {len(span.events) for span in spans} == {0}
    assert {span.status.description for span in spans} == {None}


def test_metrics_count_the_calls_that_have_spans(gateway: Traced) -> None:
    gateway.data(EVERYTHING)
    assert gateway.metrics is not None

    where = {"emr": "webdoc", "endpoint": "timeslots", "outcome": "answered"}
    counted = gateway.metrics.registry.get_sample_value("gateway_upstream_calls_total", where)
    assert counted == len([call for call in gateway.calls() if call.said["gateway.endpoint"] == "timeslots"]) > 0


def test_shared_call_is_a_child_of_the_operation_that_began_it(gateway: Traced, simulator: Simulator) -> None:
    simulator.fault("delay", seconds=0.3)
    with ThreadPoolExecutor(2) as crowd:
        list(crowd.map(lambda _: post(gateway), range(2)))

    [call] = gateway.calls()
    began, joined = sorted(gateway.operations(), key=lambda each: "gateway.reads.joined" in each.said)
    assert began.said["gateway.reads.fetched"] == joined.said["gateway.reads.joined"] == 1
    assert call.parent_id == began.span_id
    assert began.trace_id != joined.trace_id


def test_each_attempt_is_a_span(gateway: Traced, simulator: Simulator) -> None:
    simulator.fault("service_unavailable", times=2)

    gateway.data(UNITS)

    calls = gateway.calls()
    told = [(each.outcome, each.is_error, each.said.get("http.request.resend_count")) for each in calls]
    assert told == [("unavailable", True, None), ("unavailable", True, 1), ("answered", False, 2)]
    [operation] = gateway.operations()
    assert {each.parent_id for each in calls} == {operation.span_id}
    assert not operation.is_error


def test_failed_operation_has_its_error_codes(gateway: Traced, simulator: Simulator) -> None:
    simulator.fault("emr_error_500", endpoint="resources")

    gateway.ask("{ careUnits { name resources { name } } }")

    [operation] = gateway.operations()
    assert (operation.outcome, operation.is_error) == ("partial", True)
    assert operation.said["gateway.codes"] == ("UPSTREAM_UNAVAILABLE",)


@pytest.mark.parametrize("content", ["{", '{"query": "{"}', '{"query": "{ nothing }"}'])
def test_client_errors_are_no_span_errors(content: str, gateway: Traced) -> None:
    gateway.http.post("/graphql", content=content, headers={"content-type": "application/json"})

    [operation] = gateway.operations()
    assert (operation.outcome, operation.is_error) == ("refused", False)
    assert operation.said["gateway.codes"]
    assert gateway.calls() == []


def test_cached_response_has_a_span_without_calls(serve_traced: Callable[..., Traced]) -> None:
    gateway = serve_traced(**CACHES_ON)
    # What is asked for again is kept.
    for _ in range(3):
        gateway.data(UNITS)

    first, _, third = gateway.operations()
    assert (first.outcome, third.outcome) == ("ok", "finished")
    assert third.span.name == "graphql"
    assert [call.parent_id for call in gateway.calls()] == [first.span_id]


def test_traceparent_of_the_client_is_continued(gateway: Traced) -> None:
    answer = post(gateway, traceparent=SAMPLED, tracestate="vendor=191212121212")

    [operation], [call] = gateway.operations(), gateway.calls()
    assert (operation.trace_id, operation.parent_id) == (THEIRS, PARENT)
    assert (call.trace_id, call.parent_id) == (THEIRS, operation.span_id)
    assert not operation.context.trace_state
    assert gateway.lines()[-1]["trace_id"] == THEIRS
    assert answer.headers["traceparent"] == SAMPLED


def test_unsampled_trace_of_the_client_is_not_recorded(gateway: Traced) -> None:
    post(gateway, traceparent=UNSAMPLED)

    assert gateway.operations() == gateway.calls() == []
    assert gateway.lines()[-1]["trace_id"] == THEIRS


def test_trace_that_begins_here_is_in_the_log_but_not_in_the_response(gateway: Traced) -> None:
    answer = post(gateway)

    [operation] = gateway.operations()
    assert gateway.lines()[-1]["trace_id"] == operation.trace_id
    assert "traceparent" not in answer.headers


def test_traceparent_that_may_hold_a_personal_number_is_not_continued(gateway: Traced) -> None:
    post(gateway, traceparent=f"00-{'a' * 20}191212121212-{PARENT}-01")

    [operation] = gateway.operations()
    assert operation.parent_id is None
    assert "191212121212" not in operation.trace_id


def test_ratio_zero_records_only_traces_that_clients_sample(serve_traced: Callable[..., Traced]) -> None:
    gateway = serve_traced(ratio=0)
    post(gateway)
    assert gateway.operations() == gateway.calls() == []
    assert "trace_id" not in gateway.lines()[-1]

    post(gateway, traceparent=SAMPLED)
    assert [each.trace_id for each in gateway.operations()] == [THEIRS]


@pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED, None])
def test_background_refresh_is_a_trace_of_its_own_with_a_link(
    traceparent: str | None, serve_traced: Callable[..., Traced], simulator: Simulator
) -> None:
    clock = Clock()
    gateway = serve_traced(clock=clock, ratio=0 if traceparent else 1, **CACHES_ON)
    headers = {"traceparent": traceparent} if traceparent else {}
    post(gateway, **headers)
    simulator.fault("delay", seconds=0.2)
    clock.seconds += 301
    post(gateway, **headers)

    if traceparent == UNSAMPLED:
        assert gateway.operations() == gateway.calls() == []
        return
    first, second = gateway.operations()
    fetched, refreshed = gateway.calls(least=2)
    assert second.said["gateway.reads.stale"] == 1
    assert (fetched.parent_id, fetched.links) == (first.span_id, [])
    assert (refreshed.parent_id, refreshed.links) == (None, [second.span_id])
    assert refreshed.trace_id not in {first.trace_id, second.trace_id}


def test_call_that_outlives_its_operation_has_a_link_to_it_as_a_refresh_has(
    serve_traced: Callable[..., Traced], simulator: Simulator
) -> None:
    gateway = serve_traced(gateway_attempt_seconds=0.5)
    simulator.fault("hang")

    answer = post(gateway, x_gateway_deadline="0.1")

    assert answer.json()["errors"][0]["extensions"]["code"] == "DEADLINE_EXCEEDED"
    [call], [operation] = gateway.calls(least=1), gateway.operations()
    assert (call.outcome, call.is_error) == ("timed_out", True)
    assert (call.parent_id, call.links) == (None, [operation.span_id])
    assert operation.is_error


def test_disconnected_client_has_a_span_with_status_499(gateway: Traced, simulator: Simulator) -> None:
    simulator.fault("hang")
    with pytest.raises(httpx.ReadTimeout):
        gateway.http.post("/graphql", json={"query": UNITS}, timeout=0.2)

    [call], [operation] = gateway.calls(least=1), gateway.operations()
    assert (operation.outcome, operation.said["http.response.status_code"]) == ("left", 499)
    assert (call.outcome, call.parent_id) == ("abandoned", operation.span_id)


def test_graphiql_and_probes_have_no_span(serve_traced: Callable[..., Traced]) -> None:
    gateway = serve_traced(gateway_graphiql=True)
    gateway.http.get("/graphql", headers={"accept": "text/html"})
    gateway.http.get("/readyz")

    assert gateway.exporter.get_finished_spans() == ()


def test_requests_of_one_connection_have_separate_traces(gateway: Traced) -> None:
    for _ in range(3):
        post(gateway)

    assert len({each.trace_id for each in gateway.operations()}) == 3
    assert {each.span.kind for each in gateway.operations()} == {SpanKind.SERVER}
