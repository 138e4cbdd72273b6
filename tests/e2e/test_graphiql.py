"""GraphiQL in a real browser, on the real gateway and the real simulator, with the network cut."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Response, expect

from gateway.http.graphiql import graphiql_page
from tests.e2e.conftest import Visit

SAMPLES = ("Graph", "DoctorNextTimes", "FilteredSearch")
AVAILABILITY = ("MonthOfDays", "NextThreeTimes", "ServiceInAllClinics")
# GraphiQL reads which operation stands in the editor 100 ms after a change, and stores its tabs after 500 ms: what is
# stored can be run. Within those 100 ms it would send the name of the operation before.
_ACTIVE_TAB_IS = """name => {
  const stored = JSON.parse(localStorage.getItem("leyr-gateway:graphiql:tabState") ?? '{"tabs": []}');
  return stored.tabs[stored.activeTabIndex]?.title === name;
}"""
_VARIABLES = """() => {
  const stored = JSON.parse(localStorage.getItem("leyr-gateway:graphiql:tabState"));
  return stored.tabs[stored.activeTabIndex].variables;
}"""
_IS_STORED = """text => {
  const stored = JSON.parse(localStorage.getItem("leyr-gateway:graphiql:tabState"));
  return stored.tabs.some(({ query, variables }) => [query, variables].includes(text));
}"""
_COLOURS = """async (url) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = new Uint32Array(pen.getImageData(0, 0, image.width, image.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  return { colours: counts.size, background: Math.max(...counts.values()) / pixels.length };
}"""


@pytest.fixture
def quiet(visit: Visit) -> Iterator[Visit]:
    """A visit in which nothing may go wrong anywhere."""
    yield visit
    assert visit.complaints == []
    assert visit.refusals == []
    assert visit.hosts == {visit.gateway.url.removeprefix("http://")}


def tab(page: Page, name: str) -> Locator:
    return page.get_by_role("tablist").get_by_role("button", name=name, exact=True)


def editor(page: Page) -> Locator:
    return page.locator('section[aria-label="Operation Editor"] .view-lines').first


def result(page: Page) -> Locator:
    return page.locator('section[aria-label="Result Window"]')


def run(page: Page) -> Response:
    def answers_a_person(response: Response) -> bool:
        request = response.request
        return request.method == "POST" and "IntrospectionQuery" not in (request.post_data or "")

    with page.expect_response(answers_a_person) as answer:
        page.get_by_role("button", name="Execute query").click()
    return answer.value


def choose(page: Page, name: str) -> None:
    tab(page, name).click()
    page.wait_for_function(_ACTIVE_TAB_IS, arg=name)


def variables(page: Page) -> Any:
    """The variables of the tab that is active."""
    return json.loads(page.evaluate(_VARIABLES))


def write(page: Page, where: str, text: str) -> None:
    """Write into an editor in place of what stands there."""
    page.locator(f'section[aria-label="{where}"] .view-lines').first.click()
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.insert_text(text)
    page.wait_for_function(_IS_STORED, arg=text)


def write_query(page: Page, text: str) -> None:
    write(page, "Operation Editor", text)


def timeslots(answer: Any) -> list[Any]:
    """Every timeslot anywhere in an answer."""
    if isinstance(answer, list):
        return [slot for each in answer for slot in timeslots(each)]
    if isinstance(answer, dict):
        return [slot for key, value in answer.items() for slot in (value if key == "timeslots" else timeslots(value))]
    return []


def test_a_first_visit_offers_the_samples_and_says_that_data_is_simulated(quiet: Visit) -> None:
    page = quiet.page

    expect(page).to_have_title(re.compile("GraphiQL"))
    for name in (*SAMPLES, *AVAILABILITY):
        expect(tab(page, name)).to_be_visible()
    expect(editor(page)).to_contain_text("booking")
    expect(page.get_by_role("status").filter(has_text="All data here is simulated")).to_be_visible()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_runs_as_it_is(quiet: Visit, name: str) -> None:
    choose(quiet.page, name)

    response = run(quiet.page)

    answer = response.json()
    assert response.status == 200, response.text()
    assert "errors" not in answer
    assert timeslots(answer["data"])
    expect(result(quiet.page)).to_contain_text("careUnits")
    expect(result(quiet.page)).to_contain_text(answer["data"]["careUnits"][0]["name"].split()[0])


def test_a_sample_finds_the_times_of_one_doctor_for_one_service_by_their_ids(quiet: Visit) -> None:
    page = quiet.page
    choose(page, "FilteredSearch")
    units = run(page).json()["data"]["careUnits"]
    slot, service = next(
        (slot, service)
        for unit in units
        for service in unit["healthcareServices"]
        for slot in service["timeslots"]
        if slot["resource"]
    )
    ids = {"resourceId": slot["resource"]["id"], "healthcareServiceId": service["id"]}
    write(page, "Variables", json.dumps({**variables(page), "byId": True, **ids}))

    found = run(page).json()

    assert "errors" not in found
    assert found["data"]["node"]["id"] == ids["resourceId"]
    assert slot["id"] in {each["id"] for each in found["data"]["node"]["timeslots"]}


def test_a_samples_week_begins_and_ends_at_the_clinics_midnight(
    prepare_visit: Callable[..., Visit], tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('[webdoc]\ntime_zone = "Europe/Helsinki"\n', encoding="utf-8")
    # In Helsinki it is the 21st already, and clocks are put back within the week.
    visit = prepare_visit(datetime(2026, 10, 20, 21, 30, tzinfo=UTC), leyr_profiles=profiles)
    visit.open()
    choose(visit.page, "FilteredSearch")

    week = variables(visit.page)

    assert (week["start"], week["end"]) == ("2026-10-22T00:00:00+03:00", "2026-10-29T00:00:00+02:00")


def test_an_answer_shows_its_headers_and_what_it_took(quiet: Visit) -> None:
    page, details = quiet.page, quiet.page.get_by_role("region", name="Answer's details")
    answer = run(page)

    expect(details).to_contain_text("HTTP 200 · 13 planned · 13 fetched")
    details.locator("summary").click()
    expect(details).to_contain_text(f"x-request-id{answer.headers['x-request-id']}")
    expect(details).to_contain_text('"origin": "fetched"')

    details.get_by_label("Explain").uncheck()
    again = run(page)
    expect(details).to_contain_text(again.headers["x-request-id"])
    expect(details).not_to_contain_text("reads")
    assert set(again.json()["extensions"]["gateway"]) == {"timeslotsAsOf", "catalogAsOf"}


@pytest.mark.parametrize("name", AVAILABILITY)
def test_a_sample_of_availability_runs_as_it_is(quiet: Visit, name: str) -> None:
    choose(quiet.page, name)

    answer = run(quiet.page).json()

    assert "errors" not in answer
    assert all(unit["availability"] for unit in answer["data"]["careUnits"])


def test_the_docs_open_and_lead_to_a_care_unit(quiet: Visit) -> None:
    page = quiet.page
    docs = page.locator(".graphiql-doc-explorer")

    page.get_by_role("button", name="Show Documentation Explorer").click()
    docs.get_by_role("link", name="Query").first.click()
    expect(docs).to_contain_text("The care units of an EHR.")
    docs.get_by_role("link", name="CareUnit", exact=True).first.click()

    expect(docs).to_contain_text("A clinic, or a part of one, where care is given.")
    expect(docs.get_by_role("link", name="healthcareServices", exact=True)).to_be_visible()


def test_a_wrong_query_shows_its_error(visit: Visit) -> None:
    page = visit.page
    write_query(page, "{ careUnits { telephone } }")

    response = run(page)

    assert response.status == 400
    expect(result(page)).to_contain_text("errors")
    expect(result(page)).to_contain_text("telephone")
    assert visit.refusals == [f"400 {visit.gateway.url}/graphql"]
    assert len(visit.complaints) == 1
    assert "400 (Bad Request)" in visit.complaints[0]


def test_a_reload_keeps_what_was_written(quiet: Visit) -> None:
    page = quiet.page
    write_query(page, "query Mine { emrs { code } }")
    expect(tab(page, "Mine")).to_be_visible()

    quiet.reload()

    expect(tab(page, "Mine")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="simulated")).to_be_visible()
    assert run(page).json()["data"]["emrs"][0]["code"] == quiet.gateway.data("{ emrs { code } }")["emrs"][0]["code"]


def test_a_screenshot_shows_a_page_with_an_answer(quiet: Visit, tmp_path: Path) -> None:
    page = quiet.page
    run(page)
    expect(result(page)).to_contain_text("resources")
    page.get_by_role("button", name="Show Documentation Explorer").click()
    expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Query")

    image = page.screenshot(path=tmp_path / "graphiql.png")

    seen = page.evaluate(_COLOURS, "data:image/png;base64," + base64.b64encode(image).decode())
    assert len(image) > 50_000
    assert seen["colours"] > 200
    assert seen["background"] < 0.95


def test_the_page_says_how_to_build_it_where_it_is_not_built(tmp_path: Path) -> None:
    page = bytes(graphiql_page(tmp_path, "notice").body).decode()

    assert "make explorer" in page
    assert "Node.js" in page
    assert "POST /graphql" in page
