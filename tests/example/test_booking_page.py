"""The booking page of `examples`, as people use it: which days, what is free then, with whom, and is it still free."""

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Timer
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Browser, expect

from gateway.server.serving import listening_socket, serve_in_thread
from tests.example.conftest import BookingVisit
from tests.harness import Simulator, nobody_listens
from tests.house.pages import ROOT
from tests.processes import ENVIRONMENT
from tests.stand_ins.versioned_leyr import OwnedSlot, VersionedLeyr

CLINIC, UNIT = "Ängby läkargrupp", "/emrs/webdoc/care-units/L0_1"
PICTURE_SIZE, LARGEST_PICTURE = {"width": 1200, "height": 888}, 150_000
STOCKHOLM = ZoneInfo("Europe/Stockholm")
OCTOBER = [date(2026, 10, 12) + timedelta(number) for number in range(20)]


@pytest.fixture
def visit(open_page: Callable[..., BookingVisit]) -> Iterator[BookingVisit]:
    """A visit in which nothing may go wrong, of somebody whose own day is another one than the clinic's."""
    visit = open_page(context={"timezone_id": "Pacific/Kiritimati"})
    yield visit
    assert visit.complaints == []
    assert visit.refusals == []


def free_in_october(simulator: Simulator, **filters: str) -> dict[date, list[str]]:
    """The local times of each day, once each, from everything that Leyr has."""
    window = {"start": "2026-10-12T00:00:00+02:00", "end": "2026-11-01T00:00:00+01:00"}
    slots = simulator.rest(f"{UNIT}/timeslots", **window, **filters)
    starts = {datetime.fromisoformat(slot["start"]).astimezone(STOCKHOLM) for slot in slots}
    return {day: [f"{start:%H:%M}" for start in sorted(starts) if start.date() == day] for day in OCTOBER}


def in_words(day: date, count: int) -> str:
    number = {0: "no free times", 1: "1 free time"}.get(count, f"{count} free times")
    return f"{day:%A}, {day.day} {day:%B %Y}, {number}"


def test_each_step_asks_once_and_shows_what_leyr_has_over_a_change_of_summer_time(
    visit: BookingVisit, simulator: Simulator
) -> None:
    free = free_in_october(simulator)
    before, after = date(2026, 10, 23), date(2026, 10, 26)

    visit.choose_clinic(CLINIC)

    cells = visit.page.get_by_role("gridcell").and_(visit.page.locator("[data-day]"))
    assert cells.locator(".heard").all_text_contents() == [
        *(f"{day:%A}, {day.day} October 2026, past" for day in (date(2026, 10, number) for number in range(1, 12))),
        *(in_words(day, len(times)) for day, times in free.items()),
    ]
    total = sum(map(len, free.values()))
    expect(visit.status).to_have_text(f"{total} free times on {sum(map(bool, free.values()))} days in October 2026.")
    for day in (before, after):
        visit.day(in_words(day, len(free[day]))).click()
        expect(visit.status).to_contain_text(f"on {day:%A}, {day.day} October 2026.")
        assert visit.times.all_text_contents() == free[day]
    visit.times.first.click()
    expect(visit.status).to_have_text("Still free. Nothing is booked yet.")
    expect(visit.page.get_by_role("region", name=free[after][0])).to_contain_text("minutes")
    assert visit.asked == ["Clinics", "Month", "Day", "Day", "StillFree"]


def test_a_kind_of_visit_and_a_doctor_narrow_the_month(visit: BookingVisit, simulator: Simulator) -> None:
    service, doctor = (simulator.rest(f"{UNIT}/{each}")[2] for each in ("healthcare-services", "resources"))
    simulator.forget()
    visit.choose_clinic(CLINIC)
    assert simulator.count()["timeslots"] == 1

    visit.choose("Kind of visit", service["name"])
    of_service = free_in_october(simulator, healthcare_service_id=service["id"])
    expect(visit.status).to_contain_text(f"{sum(map(len, of_service.values()))} free times")
    visit.choose("Doctor or room", doctor["name"])

    free = free_in_october(simulator, healthcare_service_id=service["id"], resource_id=doctor["id"])
    for day, times in free.items():
        expect(visit.day(in_words(day, len(times)))).to_be_visible()
    chosen = visit.page.get_by_label("Doctor or room").locator("option:checked")
    expect(chosen).to_contain_text(f" {sum(map(len, free.values()))} free")
    assert visit.asked == ["Clinics", "Month", "Month", "Month"]


def test_everything_can_be_done_by_keyboard(visit: BookingVisit) -> None:
    page, keyboard = visit.page, visit.page.keyboard
    keyboard.press("Tab")
    expect(page.get_by_label("Clinic")).to_be_focused()
    keyboard.type("Ängby l")
    expect(visit.status).to_contain_text(re.compile("on .* days in October 2026"))
    for _ in range(4):
        keyboard.press("Tab")

    def focused() -> str:
        return str(page.evaluate("document.activeElement.querySelector('.heard').textContent"))

    # To the next month, since none before this one is shown; then the grid's only stop.
    expect(page.get_by_role("button", name="Next month")).to_be_focused()
    keyboard.press("Tab")
    walk = ("ArrowDown", "ArrowRight", "End", "Home", "ArrowUp", "ArrowLeft")
    days = []
    for key in walk:
        keyboard.press(key)
        days.append(focused().rsplit(",", 1)[0])
    keyboard.press("PageDown")
    visit.wait_for_month()
    turned = focused()
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    expect(visit.status).to_contain_text("on Thursday, 12 November 2026")
    expect(page.locator("[aria-selected=true]")).to_be_focused()
    while not page.evaluate("document.activeElement.matches('.times button')"):
        keyboard.press("Tab")
    keyboard.press("Enter")
    expect(visit.status).to_have_text("Still free. Nothing is booked yet.")

    assert days == [
        "Monday, 19 October 2026", "Tuesday, 20 October 2026", "Sunday, 25 October 2026",
        "Monday, 19 October 2026", "Monday, 12 October 2026", "Sunday, 11 October 2026",
    ]  # fmt: skip
    assert turned.startswith("Wednesday, 11 November 2026, ")
    assert page.locator("td[tabindex='0']").count() == 1
    assert visit.asked == ["Clinics", "Month", "Month", "Day", "StillFree"]


def test_an_ehr_that_fails_takes_no_other_clinic_away_and_can_be_tried_again(
    open_page: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    simulator.fault("emr_error_401", endpoint="care_units", emr="kaddio")
    simulator.fault("emr_error_401", endpoint="timeslots", emr="takecare")
    visit = open_page()
    alert = visit.page.get_by_role("alert")

    expect(alert).to_contain_text("The clinics of Kaddio cannot be shown now.")
    expect(visit.page.get_by_label("Clinic").locator("option", has_text="not known now")).to_have_count(6)
    visit.choose_clinic(CLINIC)
    expect(alert).to_be_hidden()
    visit.choose("Clinic", "Höjden vårdcentral")
    expect(alert).to_contain_text("cannot be shown")
    # Else screen readers wait for a month that does not come.
    visit.wait_for_month()
    expect(visit.page.get_by_role("gridcell", name="free time")).to_have_count(0)

    simulator.forget()
    alert.get_by_role("button", name="Try again").click()

    expect(visit.status).to_contain_text(re.compile("on .* days in October 2026"))
    expect(visit.page.get_by_role("gridcell", name="free time")).not_to_have_count(0)
    assert visit.asked == ["Clinics", "Month", "Month", "Month"]


@pytest.mark.parametrize(
    ("emr", "clinic", "words"),
    [
        ("takecare", "Höjden vårdcentral", "Any that belong to none of them are not shown."),
        ("webdoc", CLINIC, "could not be read and are left out."),
    ],
    ids=["outside every filter", "rows dropped"],
)
def test_what_may_be_missing_is_said(
    open_page: Callable[..., BookingVisit], simulator: Simulator, emr: str, clinic: str, words: str
) -> None:
    simulator.fault("item_without_id", endpoint="timeslots", emr="webdoc")
    visit = open_page(leyr_emrs=(emr,))

    visit.choose_clinic(clinic)

    expect(visit.page.locator(".gaps li:visible")).to_contain_text([words])
    visit.day("Tuesday, 13 October").click()
    expect(visit.times.first).to_be_visible()
    # What is said of the month is not said of its day again.
    expect(visit.page.locator(".gaps li:visible")).to_contain_text([words])


def test_what_only_a_day_lacks_is_said_of_the_day(visit: BookingVisit, simulator: Simulator) -> None:
    visit.choose_clinic(CLINIC)
    simulator.fault("item_without_id", endpoint="timeslots")

    visit.day("Tuesday, 13 October").click()

    expect(visit.page.get_by_role("region", name="13 October").locator(".gaps li")).to_contain_text(["are left out"])


def test_a_gateway_that_is_away_is_told(visit: BookingVisit) -> None:
    visit.page.context.set_offline(offline=True)

    visit.choose("Clinic", CLINIC)

    expect(visit.page.get_by_role("alert")).to_contain_text("The gateway cannot be reached.")
    visit.refusals.clear()
    visit.complaints.clear()


def test_a_time_that_somebody_else_took_is_told(visit: BookingVisit, simulator: Simulator) -> None:
    visit.choose_clinic(CLINIC)
    visit.day("Tuesday, 13 October").click()
    expect(visit.times.first).to_be_visible()
    simulator.fault("empty_list", endpoint="timeslots")

    visit.times.first.click()

    expect(visit.status).to_have_text("Somebody else has taken it.")
    expect(visit.times.first).to_contain_text("taken")


def test_a_month_without_free_times_says_so_of_each_day(visit: BookingVisit) -> None:
    visit.choose_clinic(CLINIC)
    for month in ("November 2026", "December 2026", "January 2027"):
        visit.page.get_by_role("button", name="Next month").click()
        visit.wait_for_month()
        expect(visit.status).to_contain_text(f"in {month}.")

    expect(visit.status).to_have_text("No free times in January 2027.")
    expect(visit.page.get_by_role("button", name="Find the next free time")).to_be_visible()
    expect(visit.page.get_by_role("gridcell", name="no free times")).to_have_count(31)
    assert visit.asked == ["Clinics", "Month", "Month", "Month", "Month"]


def test_the_next_free_time_of_an_empty_month_leads_to_its_day(open_page: Callable[..., BookingVisit]) -> None:
    leyr = VersionedLeyr({OwnedSlot(datetime(2026, month, 1, 8, tzinfo=UTC), "r1", "s1") for month in (11, 12)})
    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:
        visit = open_page(leyr_base_url=f"{url}/api", leyr_emrs=("webdoc",))
        page = visit.page
        visit.choose_clinic("Unit")
        page.get_by_role("button", name="Find the next free time").click()
        page.get_by_role("button", name="Sunday, 1 November 2026, 09:00").click()
        visit.wait_for_month()
        expect(visit.day("Sunday, 1 November 2026, 1 free time")).to_be_focused()

        # Who has nothing is known already, so that the next one is asked for at once.
        visit.choose("Kind of visit", "s2")
        visit.wait_for_month()
        expect(page.locator("#earliest")).to_have_text("Nothing is free before Monday, 1 March 2027 either.")

    assert visit.asked == ["Clinics", "Month", "Month", "Month", "Month"]


def test_an_answer_that_is_no_longer_wanted_is_not_waited_for(visit: BookingVisit, simulator: Simulator) -> None:
    visit.choose_clinic(CLINIC)
    simulator.fault("hang", endpoint="timeslots", times=1)

    visit.page.get_by_role("button", name="Next month").click()
    visit.page.get_by_role("button", name="Next month").click()

    expect(visit.status).to_contain_text("free times on")
    expect(visit.page.get_by_role("grid", name="December 2026")).to_be_visible()
    assert Counter(each.rsplit(" ", 1)[1] for each in visit.refusals) == {"net::ERR_ABORTED": 1}
    visit.refusals.clear()


def test_an_hour_that_comes_twice_is_told_apart(open_page: Callable[..., BookingVisit]) -> None:
    leyr = VersionedLeyr({OwnedSlot(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), "r1", "s1") for hour in (0, 1)})
    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:
        visit = open_page(leyr_base_url=f"{url}/api", leyr_emrs=("webdoc",))
        visit.choose_clinic("Unit")
        visit.day("Sunday, 25 October 2026, 2 free times").click()
        expect(visit.times).to_have_text(["02:30 CEST", "02:30 CET"])


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 360)], ids=["light", "dark", "phone"]
)
def test_axe_finds_no_fault_at_any_step(open_page: Callable[..., BookingVisit], scheme: str, width: int) -> None:
    visit = open_page(context={"color_scheme": scheme, "viewport": {"width": width, "height": 800}})

    assert visit.faults() == []
    visit.choose_clinic("Höjden vårdcentral")
    assert visit.faults() == []
    visit.day("Tuesday, 13 October").click()
    expect(visit.times.first).to_be_visible()
    visit.times.first.click()
    expect(visit.status).to_have_text("Still free. Nothing is booked yet.")
    assert visit.faults() == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_picture_shows_a_day_and_a_time(open_page: Callable[..., BookingVisit], tmp_path: Path) -> None:
    visit = open_page(context={"viewport": PICTURE_SIZE})
    visit.choose_clinic(CLINIC)
    visit.page.get_by_role("button", name="Next month").click()
    visit.wait_for_month()
    visit.choose("Kind of visit", "Läkarbesök, återbesök")
    visit.wait_for_month()
    visit.day("Tuesday, 10 November").click()
    visit.times.nth(3).click()
    expect(visit.status).to_have_text("Still free. Nothing is booked yet.")
    visit.page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
    visit.page.mouse.move(0, 0)
    to = ROOT / os.environ["PICTURE"] if "PICTURE" in os.environ else tmp_path / "booking-page.png"

    image = visit.page.screenshot(path=to, animations="disabled", caret="hide")

    assert 20_000 < len(image) < LARGEST_PICTURE


def test_the_pages_show_a_picture_of_this_size() -> None:
    picture = (ROOT / "docs" / "booking-page.png").read_bytes()

    assert len(picture) < LARGEST_PICTURE
    # The header's first fields (PNG, 11.2.1).
    assert [int.from_bytes(picture[at : at + 4]) for at in (16, 20)] == list(PICTURE_SIZE.values())


@pytest.mark.usefixtures("alone")
def test_make_example_serves_the_page_beside_a_gateway_and_stops_both(built_page: Path, browser: Browser) -> None:
    assert (built_page / "index.html").is_file()
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("MAKE")}
    with nobody_listens() as gateway, nobody_listens() as page:
        ports = {"GATEWAY_PORT": gateway.rsplit(":", 1)[1], "EXAMPLE_PORT": page.rsplit(":", 1)[1]}
    run = subprocess.Popen(
        ["make", "example"], cwd=ROOT, env={**environment, **ports, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        # A shell that was begun with the interrupt ignored, as in the background of another, cannot be interrupted.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 # no thread holds a lock that it needs
    )  # fmt: skip
    latest = Timer(150, os.killpg, (run.pid, signal.SIGKILL))
    latest.start()
    try:
        assert run.stdout is not None
        awaited = {page, f"{gateway}/graphql"}
        for line in run.stdout:
            awaited = {url for url in awaited if url not in line}
            if not awaited:
                break
        with closing(browser.new_page()) as opened:
            opened.goto(page)
            expect(opened.get_by_role("status")).to_contain_text("Choose one to see its free times.")
    finally:
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=60)
        latest.cancel()

    for url in (gateway, page):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
