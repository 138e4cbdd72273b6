"""The README and the pages beside it: their tables are the program's, their links lead somewhere."""

import re
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.settings import settings_table
from tests.house.pages import PAGES, README, ROOT, slugs

MOST_LINES = 120
LINKING = (
    *PAGES,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")),
)
LINKS = [(page, link) for page in LINKING for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text("utf-8"))]


def table(name: str) -> str:
    """What stands between the markers of a name, in the only page that has them."""
    pattern = rf"<!-- {name}.*?-->\n(.*?)<!-- /{name} -->"
    (found,) = (each for page in PAGES for each in re.findall(pattern, page.read_text("utf-8"), re.DOTALL))
    return str(found)


def codes(kind: type[GatewayError]) -> set[str]:
    return {kind.code}.union(*(codes(each) for each in kind.__subclasses__()))


def test_the_readme_is_one_page() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_settings_table_is_the_printed_one() -> None:
    assert table("settings") == settings_table(), "paste what `gateway settings` prints"


def test_every_error_code_is_explained() -> None:
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", table("error codes"), re.MULTILINE)) == codes(GatewayError)


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda each: each.name if isinstance(each, Path) else each)
def test_links_lead_somewhere(page: Path, link: str) -> None:
    target, _, heading = link.partition("#")
    path = page.parent / target if target else page

    assert path.exists()
    assert not heading or heading in slugs(path)
