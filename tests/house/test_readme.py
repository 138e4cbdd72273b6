"""The README and the pages beside it: their tables are the program's, their links lead somewhere."""

import re
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.settings import Settings, settings_table
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


def named(pattern: str) -> set[str]:
    """What the pages name, in code or in a command."""
    return {found for page in LINKING for found in re.findall(pattern, page.read_text(encoding="utf-8"))}


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


def test_every_setting_that_is_named_is_one() -> None:
    fields = {name.upper() for name in Settings.model_fields}
    families = {"GATEWAY_", "LEYR_", "GATEWAY_MAX_", "GATEWAY_JWT_", "GATEWAY_CACHE_"}

    # Of what an example leaves open, the beginning is named.
    assert {each.removesuffix("_FILE") for each in named(r"\b(?:GATEWAY|LEYR)_[A-Z0-9_]*")} <= fields | families


def test_every_metric_that_is_named_is_one() -> None:
    metrics = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway" / "telemetry").glob("*.py"))

    assert [each for each in named(r"`(gateway_\w+)`") if f'"{each}"' not in metrics] == []


def test_every_event_that_is_named_is_logged() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    events = named(r"`((?:gateway|log|callers|upstream|operation|request|ehr|traces)\.[a-z_]+)`")

    assert events
    assert [each for each in events if f'"{each}"' not in source] == []


def test_every_target_and_command_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = set(re.findall(r'command\("([a-z]+)"', (ROOT / "gateway" / "cli.py").read_text(encoding="utf-8")))

    assert named(r"`make ([a-z-]+)") <= targets
    assert named(r"`gateway\s([a-z]+)") <= commands


def test_every_file_that_is_named_exists() -> None:
    files = named(r"`((?:benchmarks|requirements|tests|gateway)/[\w/.]+)`")

    # `make explorer` builds this one.
    assert [each for each in files - {"gateway/http/static"} if not (ROOT / each).exists()] == []
