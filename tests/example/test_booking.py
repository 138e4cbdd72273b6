"""Booking on the page of `examples`: details, outcomes in words, codes, alternatives, and what a reload finds again."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.example.conftest import BookingVisit
from tests.harness import Simulator
from tests.house.pages import ROOT

CLINIC = "Ängby läkargrupp"
SERVICE = "Provtagning"
DAY = "Tuesday, 13 October"
PATIENT = {"First name": "Tolvan", "Last name": "Tolvansson", "Telephone": "+46 70 174 06 05"}
NUMBER = "19121212-1212"
KEPT = "JSON.stringify([sessionStorage, localStorage, document.cookie])"


@pytest.fixture
def open_booking(open_page: Callable[..., BookingVisit], tmp_path: Path) -> Iterator[Callable[..., BookingVisit]]:
    """Open the page beside a gateway that books; nothing of the patient may be anywhere but in what was sent."""
    visits: list[BookingVisit] = []

    def start(**settings: Any) -> BookingVisit:
        booking = {
            "gateway_journal": tmp_path / "journal.sqlite",
            "gateway_booking_secret": "s" * 32,
            "gateway_anonymous_booking": True,
        }
        visits.append(open_page(**(booking | settings)))
        return visits[-1]

    yield start
    for visit in visits:
        assert visit.complaints == []
        for text in (*visit.urls, *visit.said, visit.page.evaluate(KEPT)):
            assert not any(each in text for each in ("Tolvan", "174 06", "12-1212", "nobody@"))


def choose_time(visit: BookingVisit, clinic: str = CLINIC, service: str = "", doctor: str = "") -> str:
    """Choose the first time of a day, for any doctor unless one is named; gives it."""
    visit.choose_clinic(clinic)
    if doctor:
        visit.choose("Doctor or room", doctor)
    else:
        visit.choose("Kind of visit", service or SERVICE)
    visit.wait_for_month()
    visit.day(DAY).click()
    time = visit.times.first.text_content() or ""
    visit.times.first.click()
    expect(visit.status).to_have_text("Still free. Nothing is booked yet.")
    return time


def book(visit: BookingVisit, **more: str) -> None:
    for label, text in {**PATIENT, **more}.items():
        visit.page.get_by_label(label).fill(text)
    visit.page.get_by_role("button", name="Book", exact=True).click()


def outcome(visit: BookingVisit, heading: str) -> Locator:
    """What became of it, as soon as it is said; the focus has moved to it."""
    found = visit.page.get_by_role("region", name=heading, exact=True)
    expect(found.get_by_role("heading")).to_be_focused()
    return found


def booked(simulator: Simulator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = simulator.http.get("/__appointments").json()["appointments"]
    return found


def test_a_time_of_any_doctor_is_booked_and_cancelled_with_one_request_a_step(
    open_booking: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    visit = open_booking()
    choose_time(visit)
    free = [each["id"] for each in visit.free_slots()]
    visit.asked.clear()

    book(visit)

    found = outcome(visit, "Booked")
    expect(found).to_contain_text("Provtagning")
    expect(visit.page.get_by_role("button", name="Book", exact=True)).to_be_hidden()
    sent = visit.variables_of("Book")[0]["input"]
    assert re.fullmatch("[0-9a-f]{32}", sent["idempotencyKey"])
    assert sent["timeslotIds"] == free[:5]
    (appointment,) = booked(simulator)
    assert appointment["status"] == "booked"
    visit.wait_for_month()
    found.get_by_role("button", name="Cancel this appointment").click()
    expect(outcome(visit, "Cancelled")).to_contain_text("13 October 2026")
    assert booked(simulator)[0]["status"] == "cancelled"
    # The month and its times are asked for anew after each, by one request.
    assert visit.asked == ["Book", "Month", "Cancel", "Month"]
    assert visit.page.evaluate("sessionStorage.length") == 0


def test_what_is_missing_is_said_at_each_field_and_everything_can_be_done_by_keyboard(
    open_booking: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    visit = open_booking()
    choose_time(visit, "Höjden vårdcentral", "Läkarbesök, återbesök")
    page, keyboard = visit.page, visit.page.keyboard
    page.get_by_label("First name").focus()

    keyboard.press("Enter")

    expect(page.get_by_label("First name")).to_be_focused()
    expect(page.get_by_label("First name")).to_have_accessible_description("Enter the first name.")
    keyboard.type("Tolvan")
    for text in ("Tolvansson", "174", "nobody", "1212"):
        keyboard.press("Tab")
        keyboard.type(text)
    keyboard.press("Enter")
    expect(page.locator("[aria-invalid=true]")).to_have_count(3)
    expect(page.get_by_label("Telephone")).to_be_focused()
    for text in (PATIENT["Telephone"], "nobody@example.com", NUMBER):
        keyboard.press("ControlOrMeta+A")
        keyboard.type(text)
        keyboard.press("Tab")
    expect(page.get_by_role("button", name="Book", exact=True)).to_be_focused()
    keyboard.press("Enter")

    found = outcome(visit, "Booked")
    keyboard.press("Tab")
    expect(found.get_by_role("button", name="Cancel this appointment")).to_be_focused()
    assert visit.variables_of("Book")[0]["input"]["patient"]["details"] == {
        "firstName": "Tolvan",
        "lastName": "Tolvansson",
        "phones": [PATIENT["Telephone"]],
        "emails": ["nobody@example.com"],
        "nationalNumber": {"country": "SE", "number": NUMBER},
    }
    assert len(booked(simulator)) == 1


def test_a_time_that_a_second_tab_took_leads_to_alternatives(
    open_booking: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    # Somebody with whom no other has this time.
    doctor = simulator.rest("/emrs/webdoc/care-units/L0_1/resources")[2]["name"]
    visit = open_booking()
    time = choose_time(visit, doctor=doctor)
    other = visit.another_tab()
    assert choose_time(other, doctor=doctor) == time
    book(other)
    outcome(other, "Booked")

    visit.page.bring_to_front()
    book(visit)

    found = outcome(visit, "Taken")
    keys = [each["input"]["idempotencyKey"] for each in visit.variables_of("Book")]
    found.get_by_role("button").first.click()
    expect(visit.page.get_by_label("First name")).to_have_value("Tolvan")
    visit.page.get_by_role("button", name="Book", exact=True).click()
    outcome(visit, "Booked")
    keys += [each["input"]["idempotencyKey"] for each in visit.variables_of("Book")[1:]]
    assert len(set(keys)) == 2
    assert len(booked(simulator)) == 2


def test_a_code_is_entered_again_until_it_is_right_also_after_a_reload_and_to_cancel(
    open_booking: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    visit = open_booking(leyr_emrs=("anitasystems",))
    choose_time(visit, "Fjordgata helsehus", "Legetime, kontroll")
    book(visit)
    outcome(visit, "A code is needed")
    visit.reload()
    found = outcome(visit, "A code is needed")

    enter(found, "wrong")

    expect(found.get_by_label("Code")).to_be_focused()
    expect(found.get_by_label("Code")).to_have_accessible_description("This code is wrong. Enter it again.")
    enter(found, booked(simulator)[0]["code"])
    outcome(visit, "Booked").get_by_role("button", name="Cancel this appointment").click()
    enter(outcome(visit, "A code is needed"), booked(simulator)[0]["cancellation"]["code"])
    outcome(visit, "Cancelled")
    assert [each["status"] for each in booked(simulator)] == ["cancelled"]


def enter(found: Locator, code: str) -> None:
    found.get_by_label("Code").fill(code)
    found.get_by_role("button", name="Confirm").click()


def test_an_outcome_that_is_not_known_is_asked_for_after_a_reload_and_never_booked_again(
    open_booking: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    visit = open_booking()
    choose_time(visit)
    simulator.fault("cut", endpoint="book_appointment", write="done", times=1)
    simulator.fault("service_unavailable", endpoint="appointments")

    book(visit)

    found = outcome(visit, "It is not known yet whether it is booked")
    expect(found).to_contain_text(re.compile(r"The page asks again in \d+ seconds\."))
    key = json.loads(visit.page.evaluate("sessionStorage.attempt"))["key"]
    visit.reload()
    outcome(visit, "It is not known yet whether it is booked")
    choose_time(visit)
    expect(visit.page.get_by_role("region", name="13 October").last).to_contain_text("It has to be known first")
    simulator.http.delete("/__faults")
    visit.page.get_by_role("button", name="Ask now").click()
    outcome(visit, "Booked")
    simulator.fault("emr_error_401", endpoint="change_appointment", times=1)
    visit.page.get_by_role("button", name="Cancel this appointment").click()
    expect(outcome(visit, "Not cancelled")).to_contain_text("Still booked: Tuesday, 13 October 2026")
    visit.reload()
    outcome(visit, "Booked")
    assert [each["key"] for each in visit.variables_of("Outcome")] == [key, key, key]
    assert visit.asked.count("Book") == 1
    assert len(booked(simulator)) == 1


def test_what_never_reached_the_gateway_is_booked_by_the_same_key(
    open_booking: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    visit = open_booking()
    choose_time(visit)
    visit.page.context.set_offline(offline=True)
    book(visit)
    found = outcome(visit, "It is not known yet whether it is booked")
    visit.page.context.set_offline(offline=False)
    visit.complaints.clear()

    found.get_by_role("button", name="Ask now").click()

    expect(outcome(visit, "Not booked")).to_contain_text("Nothing has reached the clinic.")
    visit.times.first.click()
    book(visit)
    outcome(visit, "Booked")
    assert len({each["input"]["idempotencyKey"] for each in visit.variables_of("Book")}) == 1
    assert len(booked(simulator)) == 1


def test_a_reload_while_it_is_booked_waits_for_what_comes_of_it(
    open_booking: Callable[..., BookingVisit], simulator: Simulator
) -> None:
    visit = open_booking()
    choose_time(visit)
    simulator.fault("delay", endpoint="book_appointment", seconds=1, times=1)
    with visit.page.expect_request(lambda request: "mutation Book" in (request.post_data or "")):
        book(visit)

    visit.reload()

    outcome(visit, "Booked")
    assert visit.asked[-3:] == ["Book", "Clinics", "Outcome"]
    assert len(booked(simulator)) == 1


def test_callers_who_may_not_book_are_told_to_call_the_clinic(open_booking: Callable[..., BookingVisit]) -> None:
    visit = open_booking(gateway_anonymous_booking=False)
    choose_time(visit)

    book(visit)

    expect(outcome(visit, "Not booked")).to_contain_text("Nothing can be booked on this page. Please call the clinic.")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)], ids=["light", "dark on a phone"])
def test_axe_finds_no_fault_at_any_step_of_a_booking(
    open_booking: Callable[..., BookingVisit], simulator: Simulator, scheme: str, width: int
) -> None:
    visit = open_booking(
        context={"color_scheme": scheme, "viewport": {"width": width, "height": 800}},
        leyr_emrs=("anitasystems",),
    )

    def check() -> None:
        assert visit.faults() == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width

    choose_time(visit, "Fjordgata helsehus", "Legetime, kontroll")
    visit.page.get_by_role("button", name="Book", exact=True).click()
    check()
    simulator.fault("emr_error_401", endpoint="book_appointment", times=1)
    book(visit)
    outcome(visit, "Not booked")
    check()
    book(visit)
    found = outcome(visit, "A code is needed")
    enter(found, "wrong")
    expect(found.get_by_label("Code")).to_be_focused()
    check()
    enter(found, booked(simulator)[0]["code"])
    outcome(visit, "Booked")
    check()
    simulator.fault("cut", endpoint="change_appointment", times=1)
    visit.page.get_by_role("button", name="Cancel this appointment").click()
    outcome(visit, "It is not known yet whether it is cancelled")
    check()


def test_the_page_tries_again_by_the_key_that_the_documentation_says() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \| .* \| (\w+) \|$", (ROOT / "docs" / "booking.md").read_text("utf-8"), re.MULTILINE
    )
    source = (ROOT / "examples" / "booking-page" / "src" / "reasons.ts").read_text("utf-8")

    assert re.findall(r'^  ([A-Z_]+): \{.*?key: "(\w+)"', source, re.MULTILINE | re.DOTALL) == documented
