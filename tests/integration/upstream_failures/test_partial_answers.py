"""Partial failure: data that came are delivered, and each missing field has an error."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import Gateway, Simulator, nobody_listens

GRAPH = "{ careUnits { leyrId name resources { id } healthcareServices { id } timeslots { start } } }"
FIELDS = {"resources": "resources", "healthcare_services": "healthcareServices", "timeslots": "timeslots"}
FAULTS = [
    ("service_unavailable", "UPSTREAM_UNAVAILABLE", "leyr", True),
    ("too_many_requests", "UPSTREAM_RATE_LIMITED", "leyr", True),
    ("too_many_requests_bare", "UPSTREAM_RATE_LIMITED", "leyr", True),
    ("emr_error_401", "UPSTREAM_REJECTED_CREDENTIALS", "ehr", False),
    ("emr_error_429", "UPSTREAM_RATE_LIMITED", "ehr", True),
    ("emr_error_500", "UPSTREAM_UNAVAILABLE", "ehr", True),
    ("bad_gateway_html", "UPSTREAM_UNAVAILABLE", "leyr", True),
    ("html_200", "UPSTREAM_INVALID_ANSWER", "leyr", False),
    ("malformed_json", "UPSTREAM_INVALID_ANSWER", "leyr", False),
    ("truncated_json", "UPSTREAM_INVALID_ANSWER", "leyr", False),
    ("wrong_types", "UPSTREAM_INVALID_ANSWER", "leyr", False),
    ("object_body", "UPSTREAM_INVALID_ANSWER", "leyr", False),
    ("huge_list", "UPSTREAM_INVALID_ANSWER", "leyr", False),
    ("redirect", "UPSTREAM_INVALID_ANSWER", "leyr", False),
    ("unauthorized_html", "UPSTREAM_UNAVAILABLE", "leyr", False),
    ("cut", "UPSTREAM_UNAVAILABLE", "leyr", True),
    ("cut_mid_body", "UPSTREAM_UNAVAILABLE", "leyr", True),
]


@pytest.mark.parametrize(("fault", "code", "origin", "retryable"), FAULTS, ids=[row[0] for row in FAULTS])
@pytest.mark.parametrize("endpoint", FIELDS)
def test_failing_list_is_null_with_an_error_and_its_siblings_have_data(
    endpoint: str,
    fault: str,
    code: str,
    origin: str,
    retryable: bool,
    gateway: Gateway,
    simulator: Simulator,  # a case
) -> None:
    simulator.fault(fault, path="/api/emrs/webdoc/care-units/L0_2/*", endpoint=endpoint)

    answer = gateway.ask(GRAPH)

    units = answer["data"]["careUnits"]
    sick = [unit["leyrId"] for unit in units].index("L0_2")
    for position, unit in enumerate(units):
        for field in FIELDS.values():
            assert (unit[field] is None) == (position == sick and field == FIELDS[endpoint])
    [error] = answer["errors"]
    assert error["path"] == ["careUnits", sick, FIELDS[endpoint]]
    assert error["extensions"].keys() >= {"code", "retryable", "reference", "origin"}
    assert error["extensions"]["code"] == code
    assert error["extensions"]["origin"] == origin
    assert error["extensions"]["retryable"] is retryable
    assert re.fullmatch(r"[0-9a-f-]{36}", error["extensions"]["reference"])
    assert error["extensions"].get("retryAfter", 1) > 0
    assert "191212121212" not in repr(answer) + gateway.log.getvalue()


def test_error_has_the_reference_of_leyr(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("service_unavailable", endpoint="care_units")

    first, second = gateway.ask("{ careUnits { id } }"), gateway.ask("{ careUnits { id } }")

    assert first["data"] == {"careUnits": None}
    references = {answer["errors"][0]["extensions"]["reference"] for answer in (first, second)}
    assert len(references) == 2


def test_failing_ehr_leaves_other_ehrs_data(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("service_unavailable", emr="kaddio")

    answer = gateway.ask('{ a: careUnits { id } b: careUnits(emr: "kaddio") { id } }')

    assert len(answer["data"]["a"]) == 4
    assert answer["data"]["b"] is None
    assert [error["path"] for error in answer["errors"]] == [["b"]]


def test_item_without_id_is_dropped_and_logged(gateway: Gateway, simulator: Simulator) -> None:
    everyone = gateway.data(GRAPH)["careUnits"][0]["resources"]
    simulator.fault("item_without_id", path="/api/emrs/webdoc/care-units/L0_1/resources")

    left = gateway.data(GRAPH)["careUnits"][0]["resources"]

    assert left == everyone[1:]
    assert '"count":1' in gateway.log.getvalue()
    assert "upstream.items_dropped" in gateway.log.getvalue()


def test_an_empty_list_is_no_failure(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("empty_list", emr="webdoc", endpoint="timeslots")

    assert all(unit["timeslots"] == [] for unit in gateway.data(GRAPH)["careUnits"])


def test_failed_fan_out_call_fails_only_the_fields_that_need_it(gateway: Gateway, simulator: Simulator) -> None:
    query = '{ careUnits(emr: "takecare") { leyrId resources { leyrId timeslots { start } } } }'
    units = gateway.data(query)["careUnits"]
    simulator.forget()
    simulator.fault("emr_error_500", endpoint="timeslots", times=1)

    answer = gateway.ask(query)

    silent = [
        (u["leyrId"], r["leyrId"])
        for u in answer["data"]["careUnits"]
        for r in u["resources"]
        if r["timeslots"] is None
    ]
    assert len(silent) == len(answer["errors"]) == 1
    for before, after in zip(units, answer["data"]["careUnits"], strict=True):
        for was, now in zip(before["resources"], after["resources"], strict=True):
            assert now == was or (after["leyrId"], now["leyrId"]) in silent


def test_refused_connection_is_upstream_unavailable(serve_gateway: Callable[..., Gateway]) -> None:
    with nobody_listens() as url:
        answer = serve_gateway(leyr_base_url=f"{url}/api").ask("{ emrs { code } careUnits { id } }")

    assert answer["data"]["emrs"]
    assert answer["data"]["careUnits"] is None
    extensions: dict[str, Any] = answer["errors"][0]["extensions"]
    assert (extensions["code"], extensions["retryable"]) == ("UPSTREAM_UNAVAILABLE", True)


def test_rejected_credentials_are_upstream_rejected_credentials(serve_gateway: Callable[..., Gateway]) -> None:
    gateway = serve_gateway(leyr_client_secret="not-the-secret-canary")

    answer = gateway.ask("{ careUnits { id } }")

    assert answer["errors"][0]["extensions"]["code"] == "UPSTREAM_REJECTED_CREDENTIALS"
    assert answer["errors"][0]["extensions"]["origin"] == "leyr"
    assert "canary" not in repr(answer) + gateway.log.getvalue()
