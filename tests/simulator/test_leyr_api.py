"""Leyr's endpoints over ASGI: lists, timeslots, and an error envelope for each wrong request."""

from collections.abc import Callable
from uuid import UUID

import httpx
import pytest

UNIT = "/api/emrs/webdoc/care-units/L0_1"
EMRS = ("webdoc", "kaddio", "cliniko", "takecare", "anitasystems", "konfidens", "pridok", "physica")
Segment = Callable[[str], str]


def assert_envelope(answer: httpx.Response, status: int, code: str, error_code: str | None = None) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"https://docs.leyr.io/api/error-handling/{code.lower()}"
    assert isinstance(problem["title"], str)
    assert isinstance(problem["detail"], str)
    UUID(problem["instance"])
    if error_code is None:
        assert "errors" not in problem
    else:
        (error,) = problem["errors"]
        assert error == {
            "error_code": error_code,
            "details": problem["detail"],
            "path": None,
            "emr_error": None,
        }


@pytest.mark.parametrize("emr", EMRS)
async def test_every_listed_id_is_accepted(
    leyr: httpx.AsyncClient, segment: Segment, window: dict[str, str], emr: str
) -> None:
    units = (await leyr.get(f"/api/emrs/{emr}/care-units")).json()
    assert 3 <= len(units) <= 6
    for unit in units:
        base = f"/api/emrs/{emr}/care-units/{segment(unit['id'])}"
        resources = (await leyr.get(f"{base}/resources")).json()
        services = (await leyr.get(f"{base}/healthcare-services")).json()
        assert 4 <= len(resources) <= 12
        assert 3 <= len(services) <= 8
        for resource in resources:
            again = await leyr.get(f"{base}/resources/{segment(resource['id'])}")
            assert again.json() == resource
        filters = {"resource_id": resources[-1]["id"], "healthcare_service_id": services[-1]["id"]}
        for name, value in filters.items():
            slots = (await leyr.get(f"{base}/timeslots", params={**window, name: value})).json()
            assert {slot[name] for slot in slots} <= {value}
        for item in (unit, *resources, *services):
            assert item["id"] != item["emr_id"]
            assert set(item) - {"id", "emr_id", "name", "first_name", "last_name"} == {"x_simulated"}


async def test_styles_of_ids(leyr: httpx.AsyncClient) -> None:
    async def ids(path: str) -> list[str]:
        return [item["id"] for item in (await leyr.get(f"/api/emrs/{path}")).json()]

    assert (await ids("webdoc/care-units"))[:3] == ["L0_1", "L0_2", "L0_3"]
    assert (await ids("webdoc/care-units/L0_1/resources"))[:2] == ["R1", "R2"]
    assert (await ids("webdoc/care-units/L0_2/resources"))[:2] == ["R1", "R2"]
    assert (await ids("takecare/care-units"))[0] == "10"
    assert all(one.startswith("10-991") for one in await ids("takecare/care-units/10/resources"))
    assert all(len(one) == 17 for one in await ids("kaddio/care-units"))
    assert all(one.isdigit() and int(one) > 2**53 for one in await ids("cliniko/care-units"))
    awkward = "".join(await ids("physica/care-units"))
    assert all(part in awkward for part in ("/", " ", "å", "#", "%2F", "a..b"))


async def test_filters_apply_together_and_alone(leyr: httpx.AsyncClient, window: dict[str, str]) -> None:
    everything = (await leyr.get(f"{UNIT}/timeslots", params=window)).json()
    resource, service = everything[0]["resource_id"], everything[0]["healthcare_service_id"]
    filters = {"resource_id": resource, "healthcare_service_id": service}
    found = (await leyr.get(f"{UNIT}/timeslots", params={**window, **filters})).json()
    assert found == [slot for slot in everything if filters.items() <= slot.items()]
    assert 0 < len(found) < len(everything)


@pytest.mark.parametrize("typed", ["emr_id:{emr_id}", "hsa_id:{x_simulated}", "emr_id%3A{emr_id}"])
async def test_resource_by_typed_id(leyr: httpx.AsyncClient, typed: str) -> None:
    resources = (await leyr.get(f"{UNIT}/resources")).json()
    resource = next(one for one in resources if one["emr_id"])
    answer = await leyr.get(f"{UNIT}/resources/{typed.format(**resource)}")
    assert answer.json() == resource


async def test_resource_by_id_type_that_the_ehr_lacks(leyr: httpx.AsyncClient) -> None:
    answer = await leyr.get("/api/emrs/takecare/care-units/10/resources/hsa_id:SE1")
    assert_envelope(answer, 400, "BAD_REQUEST", "PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-leyr-client-id": ""},
        {"x-leyr-client-id": "nobody"},
        {"x-leyr-client-secret": ""},
        {"x-leyr-client-secret": "wrong å"},
    ],
)
async def test_bad_credentials(leyr: httpx.AsyncClient, headers: dict[str, str]) -> None:
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    answer = await leyr.get("/api/emrs/webdoc/care-units", headers=raw)
    assert_envelope(answer, 401, "UNAUTHORIZED")


async def test_missing_credentials(leyr: httpx.AsyncClient) -> None:
    leyr.headers.pop("x-leyr-client-secret")
    assert_envelope(await leyr.get("/api/emrs/webdoc/care-units"), 401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "path",
    [
        "/api/emrs/webdoc/appointments",
        "/api/emrs/webdoc/appointments/1",
        "/api/fhir/emrs/webdoc/care-units/L0_1/appointments",
        "/apifhir/emrs/webdoc/care-units/L0_1/appointments/1",
        "/api/emrs/webdoc/care-units/",
        "/api/emrs/webdoc/care-units/L0_1/resources/",
        "/api/emrs/webdoc/care-units/L0_1/resources/R1/more",
        "/api/emrs",
        "/elsewhere",
    ],
)
async def test_paths_that_are_not_documented(leyr: httpx.AsyncClient, path: str) -> None:
    answer = await leyr.get(path)
    assert answer.status_code in (400, 404)
    assert answer.json()["code"] in ("NOT_FOUND", "BAD_REQUEST")


async def test_wrong_method(leyr: httpx.AsyncClient) -> None:
    assert_envelope(await leyr.post(f"{UNIT}/timeslots"), 405, "METHOD_NOT_ALLOWED")


async def test_unknown_ehr(leyr: httpx.AsyncClient) -> None:
    answer = await leyr.get("/api/emrs/nobody/care-units")
    assert_envelope(answer, 400, "BAD_REQUEST")
    assert "validation error" in answer.json()["detail"]


@pytest.mark.parametrize("unit", ["L0_99", "l0_1", "L0_1%20", "L0%255F1", "avd/1"])
async def test_unknown_care_unit(leyr: httpx.AsyncClient, unit: str) -> None:
    answer = await leyr.get(f"/api/emrs/webdoc/care-units/{unit.replace('/', '%2F')}/resources")
    assert_envelope(answer, 400, "BAD_REQUEST", "INVALID_CARE_UNIT_ID")


async def test_unknown_resource_and_service(leyr: httpx.AsyncClient, window: dict[str, str]) -> None:
    async def slots(name: str) -> httpx.Response:
        return await leyr.get(f"{UNIT}/timeslots", params={**window, name: "R99"})

    assert_envelope(await leyr.get(f"{UNIT}/resources/R99"), 400, "BAD_REQUEST", "INVALID_RESOURCE_ID")
    assert_envelope(await slots("resource_id"), 400, "BAD_REQUEST", "INVALID_RESOURCE_ID")
    assert_envelope(await slots("healthcare_service_id"), 400, "BAD_REQUEST", "INVALID_HEALTHCARE_SERVICE_ID")


END = "end=2026-04-01T00:00:00%2B02:00"


@pytest.mark.parametrize(
    "query",
    [
        "",
        END,
        "start=2026-03-01T00:00:00%2B01:00",
        f"start=2026-03-01T00:00:00+01:00&{END}",
        f"start=2026-03-01T00:00:00&{END}",
        f"start=2026-03-01&{END}",
        f"start=yesterday&{END}",
        f"start=2026-13-01T00:00:00Z&{END}",
        f"start=2026-04-01T00:00:00%2B02:00&{END}",
        f"start=2026-04-02T00:00:00%2B02:00&{END}",
        f"start=2026-03-01T00:00:00Z&start=2026-03-02T00:00:00Z&{END}",
        f"start=2026-03-01T00:00:00Z&{END}&resource_id=R1&resource_id=R2",
    ],
)
async def test_bad_times_and_repeated_parameters(leyr: httpx.AsyncClient, query: str) -> None:
    answer = await leyr.get(f"{UNIT}/timeslots?{query}")
    assert_envelope(answer, 400, "BAD_REQUEST")
    assert "validation error" in answer.json()["detail"]


@pytest.mark.parametrize("start", ["2026-03-01T00:00:00Z", "2026-03-01T00:00:00.123456%2B01:00"])
async def test_good_times(leyr: httpx.AsyncClient, start: str) -> None:
    assert (await leyr.get(f"{UNIT}/timeslots?start={start}&{END}")).status_code == 200


async def test_names_can_be_split_or_missing(leyr: httpx.AsyncClient, segment: Segment) -> None:
    async def first_resources(emr: str) -> list[dict[str, str]]:
        units = (await leyr.get(f"/api/emrs/{emr}/care-units")).json()
        answer = await leyr.get(f"/api/emrs/{emr}/care-units/{segment(units[0]['id'])}/resources")
        return list(answer.json())

    assert all("name" not in one and one["first_name"] for one in await first_resources("cliniko"))
    unnamed = [one for one in await first_resources("kaddio") if "name" not in one]
    assert len(unnamed) == 1
    assert "first_name" not in unnamed[0]
