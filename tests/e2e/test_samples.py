"""The sample queries of GraphiQL, over plain HTTP, for every EHR of the simulator."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from gateway.simulator import SimulatorSettings
from tests.harness import NOW, TODAY, Gateway

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "gateway" / "explorer" / "src" / "samples").glob("*.graphql"))
EMRS = SimulatorSettings(today=TODAY).emrs

BOOKING = "book-appointment"
AVAILABILITY = ("month-of-days", "next-three-times", "service-in-all-clinics")
sample = pytest.mark.parametrize(
    "path", [path for path in SAMPLES if path.stem not in {*AVAILABILITY, BOOKING}], ids=lambda path: path.stem
)


def of_each(answer: Any, name: str) -> list[Any]:
    """Every value under a name, anywhere in an answer."""
    if isinstance(answer, list):
        return [found for each in answer for found in of_each(each, name)]
    if not isinstance(answer, dict):
        return []
    return [found for key, value in answer.items() for found in ([value] if key == name else of_each(value, name))]


def test_there_are_seven_samples() -> None:
    of_slots, of_availability = ["doctor-next-times", "filtered-search", "graph"], [*AVAILABILITY]
    assert [path.stem for path in SAMPLES] == [BOOKING, *of_slots, *of_availability]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_validates_against_the_schema(path: Path) -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))

    assert validate(schema, parse(path.read_text(encoding="utf-8"))) == []


@sample
@pytest.mark.parametrize("emr", EMRS)
def test_runs_without_errors(serve_gateway: Callable[..., Gateway], path: Path, emr: str) -> None:
    gateway = serve_gateway(leyr_emrs=(emr,))
    week = {"start": (NOW + timedelta(days=1)).isoformat(), "end": (NOW + timedelta(days=8)).isoformat()}

    data = gateway.data(path.read_text(encoding="utf-8"), **week)

    lists = of_each(data, "timeslots")
    assert lists
    assert None not in lists
    assert any(lists)


@pytest.mark.parametrize("name", AVAILABILITY)
def test_samples_of_availability_find_something_in_simulated_clinics(gateway: Gateway, name: str) -> None:
    (path,) = (path for path in SAMPLES if path.stem == name)
    service = of_each(gateway.data("{ careUnits { healthcareServices { name } } }"), "name")[0]

    data = gateway.data(path.read_text(encoding="utf-8"), names=[service])

    found = of_each(data, "availability")
    assert found
    assert None not in found
    assert any(of_each(data, "timeslotCount"))


def test_the_sample_of_booking_books(serve_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    gateway = serve_gateway(
        gateway_journal=tmp_path / "journal.sqlite", gateway_booking_secret="s" * 32, gateway_anonymous_booking=True
    )
    slot = of_each(gateway.data("{ careUnits { timeslots(first: 1) { id } } }"), "id")[0]
    (path,) = (path for path in SAMPLES if path.stem == BOOKING)
    patient = {"details": {"firstName": "Tolvan", "lastName": "Tolvansson", "phones": ["+46701740605"]}}

    data = gateway.data(
        path.read_text(encoding="utf-8"), input={"idempotencyKey": "k" * 32, "timeslotIds": [slot], "patient": patient}
    )

    assert data["bookAppointment"]["__typename"] == "AppointmentBooked"
