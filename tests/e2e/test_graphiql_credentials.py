"""GraphiQL in a real browser, on a gateway whose callers have keys or tokens."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Visit

KEY = "a-key-of-our-own"
_STORED = "() => JSON.stringify([{ ...localStorage }, document.cookie, location.href])"


@pytest.fixture
def visit(prepare_visit: Callable[..., Visit], tmp_path: Path) -> Visit:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[web]\nkey_sha256 = ["{sha256(KEY.encode()).hexdigest()}"]\n', encoding="utf-8")
    return prepare_visit(gateway_auth="api-keys", gateway_api_keys=keys)


def introspects(visit: Visit, act: Callable[[], object]) -> bool:
    """Whether the page reads the schema because of an act."""
    with visit.page.expect_response(lambda answer: "IntrospectionQuery" in (answer.request.post_data or "")) as read:
        act()
    return read.value.ok


def status_of_a_run(page: Page) -> int:
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.get_by_role("button", name="Execute query").click()
    return answer.value.status


def test_a_key_is_asked_for_once_and_read_with_at_once(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.gateway.url}/graphql")
    field = page.get_by_label("API key")
    expect(page.get_by_text("The schema is read as soon as it is here")).to_be_visible()
    expect(page.locator(".graphiql-query-editor .view-line").first).to_be_visible()
    page.get_by_role("button", name="Show Documentation Explorer").click()
    docs = page.locator(".graphiql-doc-explorer")
    expect(docs).not_to_contain_text("Error")

    field.fill(KEY)
    assert introspects(visit, lambda: field.press("Enter"))

    expect(docs.get_by_role("link", name="Query").first).to_be_visible()
    assert status_of_a_run(page) == 200

    # The key is there after a reload, and nowhere but in this tab.
    visit.reload()
    expect(field).to_have_value(KEY)
    assert status_of_a_run(page) == 200
    assert KEY not in page.evaluate(_STORED)
    assert visit.refusals == visit.complaints == []
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_label("API key")).to_have_value("")


def test_a_pasted_key_is_taken_at_once_and_one_that_is_refused_is_called_so(visit: Visit) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{visit.gateway.url}/graphql")
    expect(page.locator(".graphiql-query-editor .view-line").first).to_be_visible()
    field = page.get_by_label("API key")

    def paste(text: str) -> None:
        page.evaluate("text => navigator.clipboard.writeText(text)", text)
        field.focus()
        page.keyboard.press("Control+A")
        page.keyboard.press("Control+V")

    assert not introspects(visit, lambda: paste("another-key"))
    expect(page.get_by_text("The gateway refuses it")).to_be_visible()
    assert introspects(visit, lambda: paste(f" {KEY}\n"))
    expect(page.get_by_text("kept in this tab alone")).to_be_visible()
    assert visit.refusals == [f"401 {visit.gateway.url}/graphql"]


def test_a_key_that_no_header_can_carry_is_called_so(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.gateway.url}/graphql")
    expect(page.locator(".graphiql-query-editor .view-line").first).to_be_visible()
    field = page.get_by_label("API key")

    field.fill(f"{KEY}\u200b")
    field.press("Enter")
    expect(page.get_by_text("It cannot be sent")).to_be_visible()

    field.fill(KEY)
    assert introspects(visit, lambda: field.press("Enter"))
    expect(page.get_by_text("kept in this tab alone")).to_be_visible()


def test_no_key_is_asked_for_where_everyone_may_ask(prepare_visit: Callable[..., Visit]) -> None:
    visit = prepare_visit()
    visit.open()

    expect(visit.page.locator("#credential")).to_have_count(0)
