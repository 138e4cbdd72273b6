"""The picture of GraphiQL that the README shows; `make picture` has this test write it."""

import os
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import Visit
from tests.e2e.test_graphiql import result, run, write_query

ROOT = Path(__file__).parents[2]
SIZE = {"width": 1280, "height": 720}
FIELDS = "name timeslots(first: 1) { start durationMinutes resource { name } healthcareService { name } }"


def test_the_picture_shows_a_query_and_its_answer(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.set_viewport_size(SIZE)  # type: ignore[arg-type] # a TypedDict of Playwright's own
    write_query(page, f"query NextTimes {{ careUnits {{ {FIELDS} }} }}")
    page.get_by_role("button", name="Prettify query").click()
    answer = run(page).json()["data"]["careUnits"]
    expect(result(page)).to_contain_text(answer[0]["timeslots"][0]["resource"]["name"].split()[0])
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    to = ROOT / os.environ["PICTURE"] if "PICTURE" in os.environ else tmp_path / "graphiql.png"

    image = page.screenshot(path=to, animations="disabled", caret="hide")

    assert visit.complaints == []
    assert 50_000 < len(image) < 200_000


def test_the_readme_shows_a_picture_of_this_size() -> None:
    picture = (ROOT / "docs" / "graphiql.png").read_bytes()

    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 200_000
    # The header's first fields (PNG, 11.2.1).
    assert [int.from_bytes(picture[at : at + 4]) for at in (16, 20)] == list(SIZE.values())
