"""The pages that users read, and the fenced blocks in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
_FENCED = re.compile(r"^```(\w+) *(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: a snippet, a command or a file; `name` is what follows the language."""

    page: Path
    line: int
    language: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    found = [Block(page, text.count("\n", 0, each.start()) + 1, *each.groups()) for each in _FENCED.finditer(text)]
    assert 2 * len(found) == len(re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE)), f"{page}: an unnamed language"
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks(language: str, name: str = "") -> list[Block]:
    """The blocks of a language, with this name."""
    return [block for block in BLOCKS if (block.language, block.name) == (language, name)]


def slugs(page: Path) -> set[str]:
    """What links to a page's headings say."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
