"""Answers say which of their lists lack rows, and when their data was read, wherever it came from."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.harness import CACHES_ON, Clock, Gateway, Simulator
from tests.integration.upstream_failures.test_deadline import WAITED, until
from tests.stand_ins.http_client import UpstreamScript

WINDOW = 'start: "2026-10-14T00:00:00+02:00", end: "2026-10-15T00:00:00+02:00"'
SLOTS = f"{{ careUnits {{ timeslots({WINDOW}) {{ start }} }} }}"
RESOURCES = "{ careUnits { resources { name } } }"


def report(answer: dict[str, Any]) -> dict[str, Any]:
    assert "errors" not in answer, answer["errors"]
    found: dict[str, Any] = answer["extensions"]["gateway"]
    return found


def dropped(endpoint: str, count: int) -> dict[str, Any]:
    return {"endpoint": endpoint, "emr": "webdoc", "reason": "rows_dropped", "count": count}


def test_dropped_rows_are_told_with_fetched_cached_kept_and_stale_lists(
    gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    simulator.fault("item_without_id", endpoint="timeslots")

    # Fetched, cached, and twice the very bytes of the second.
    answers = [gateway.ask(SLOTS) for _ in range(4)]
    clock.seconds += 20
    simulator.fault("hang", endpoint="timeslots")
    stale = gateway.ask(SLOTS)

    units = len(answers[0]["data"]["careUnits"])
    assert [report(each)["incomplete"] for each in (*answers, stale)] == [[dropped("timeslots", units)]] * 5
    assert clock.times_asked == 3
    lines = [line for line in gateway.lines() if line["event"] == "operation.answered"]
    assert [line["incomplete"] for line in lines] == [["webdoc/timeslots:rows_dropped"]] * 5
    assert gateway.gauge("gateway_incomplete_answers_total") == 5


def test_dropped_rows_are_told_with_part_of_a_list(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("item_without_id", endpoint="timeslots")
    units = len(gateway.ask(SLOTS)["data"]["careUnits"])

    later = gateway.ask(SLOTS.replace("2026-10-14T00", "2026-10-14T10"))

    assert report(later)["incomplete"] == [dropped("timeslots", units)]
    assert simulator.count()["timeslots"] == units


def test_dropped_rows_are_told_with_what_a_later_answer_left_of_a_list(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("item_without_id", endpoint="timeslots")
    two_days = SLOTS.replace("2026-10-15T00", "2026-10-16T00")
    units = len(gateway.ask(two_days)["data"]["careUnits"])
    simulator.http.request("DELETE", "/__faults")
    gateway.http.post("/graphql", json={"query": SLOTS}, headers={"cache-control": "no-cache"})

    assert "incomplete" not in report(gateway.ask(SLOTS))
    # The rows that cannot be read may have been of either day.
    assert report(gateway.ask(two_days))["incomplete"] == [dropped("timeslots", units)]


def test_lists_of_the_catalogue_that_lack_rows_are_told_by_endpoint(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("item_without_id", endpoint="care_units")
    simulator.fault("item_without_id", endpoint="resources")

    first, again = gateway.ask(RESOURCES), gateway.ask(RESOURCES)

    units = len(first["data"]["careUnits"])
    assert report(first)["incomplete"] == [dropped("care-units", 1), dropped("resources", units)]
    assert again == first


def test_dropped_rows_are_told_to_whoever_joined_the_call(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    script = UpstreamScript(held=True)
    gateway = serve_gateway(connections=script.connections, leyr_emrs=("webdoc",), **CACHES_ON)
    simulator.fault("item_without_id", endpoint="care_units")

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(gateway.ask, query) for query in ("{ careUnits { id } }", "{ careUnits { leyrId } }")]
        while script.waiting < 1:
            pass
        while gateway.gauge("gateway_gate_in_flight") < 1:
            pass
        script.held = False
        script.released.set()
        answers = [each.result(timeout=20) for each in asked]

    assert [report(each)["incomplete"] for each in answers] == [[dropped("care-units", 1)]] * 2


def test_an_answer_without_dropped_rows_does_not_speak_of_any(gateway: Gateway) -> None:
    assert report(gateway.ask(SLOTS)).keys() == {"timeslotsAsOf", "catalogAsOf"}


def test_a_whole_list_fetched_anew_is_no_longer_incomplete(
    gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    simulator.fault("item_without_id", endpoint="resources")
    assert "incomplete" in report(gateway.ask(RESOURCES))
    simulator.http.request("DELETE", "/__faults")
    clock.seconds += 100_000

    assert "incomplete" not in report(gateway.ask(RESOURCES))


def test_answers_say_when_the_oldest_list_of_each_kind_was_read(gateway: Gateway, clock: Clock) -> None:
    first = report(gateway.ask(SLOTS))
    clock.seconds += 10.5
    # The second is kept; both are of the same reads.
    again = [report(gateway.ask(SLOTS)) for _ in range(3)]
    new = report(gateway.ask(SLOTS.replace("2026-10-15", "2026-10-17")))
    catalogue = report(gateway.ask(RESOURCES))

    assert first == {"timeslotsAsOf": "2026-10-12T05:00:00.000Z", "catalogAsOf": "2026-10-12T05:00:00.000Z"}
    assert again == [first] * 3
    # Part of the window was known.
    assert new == first
    assert catalogue == {"catalogAsOf": "2026-10-12T05:00:00.000Z"}


def test_data_that_is_fetched_anew_has_a_new_instant(gateway: Gateway, clock: Clock) -> None:
    gateway.ask(SLOTS)
    clock.seconds += 61.2345

    found = report(gateway.ask(SLOTS))

    assert found == {"timeslotsAsOf": "2026-10-12T05:01:01.234Z", "catalogAsOf": "2026-10-12T05:00:00.000Z"}


def test_a_list_whose_call_waited_for_its_turn_has_the_same_instant_in_every_answer(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, clock: Clock
) -> None:
    gateway = serve_gateway(clock=clock, gateway_calls_per_ehr=1, **CACHES_ON)
    ids = [unit["id"] for unit in gateway.data("{ careUnits { id } }")["careUnits"]]
    before, late = (f'{{ careUnit(id: "{each}") {{ timeslots({WINDOW}) {{ start }} }} }}' for each in ids[:2])
    simulator.fault("delay", endpoint="timeslots", seconds=0.5, times=1)

    with ThreadPoolExecutor() as pool:
        pool.submit(gateway.ask, before)
        assert until(lambda: simulator.count()["timeslots"] == 1, WAITED)
        waiting = pool.submit(gateway.ask, late)
        assert until(lambda: gateway.gauge("gateway_gate_waiting") == 1, WAITED)
        clock.seconds += 3
        first = report(waiting.result())

    assert report(gateway.ask(late)) == first
    assert first["timeslotsAsOf"] > "2026-10-12T05:00:02"


def test_lists_that_failed_have_no_instant(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("emr_error_500", endpoint="timeslots")

    answer = gateway.ask(SLOTS)

    assert answer["errors"]
    assert answer["extensions"]["gateway"].keys() == {"catalogAsOf"} | (
        {"errorsOmitted"} & answer["extensions"]["gateway"].keys()
    )


@pytest.mark.parametrize("query", ["{ __typename }", "{ emrs { code } }"])
def test_an_answer_that_read_nothing_has_no_instants(gateway: Gateway, query: str) -> None:
    assert "extensions" not in gateway.ask(query)
