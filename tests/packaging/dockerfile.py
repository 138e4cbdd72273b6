"""A Dockerfile as its stages and instructions."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """What follows one FROM."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, keyword: str) -> list[str]:
        """The values of every instruction of a kind, in their order."""
        return [value for each, value in self.instructions if each == keyword]

    def exec_form(self, keyword: str) -> list[str]:
        """The arguments of an instruction that must stand once, without a shell; its options are left out."""
        (value,) = self.all(keyword)
        arguments: list[str] = json.loads(value[value.index("[") :])
        return arguments

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(pair.split("=", 1) for value in self.all("ENV") for pair in value.split())


@dataclass(frozen=True)
class Copy:
    """A COPY instruction."""

    stage: str | None
    sources: tuple[str, ...]
    target: str

    @classmethod
    def of(cls, value: str) -> "Copy":
        """Read its value."""
        *options, target = value.split()
        stage = options.pop(0).removeprefix("--from=") if options[0].startswith("--from=") else None
        return cls(stage, tuple(options), target)


def read_dockerfile(path: Path) -> dict[str, Stage]:
    """The stages by name, in their order."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    stages: dict[str, Stage] = {}
    for keyword, value in lines:
        if keyword == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", value).groups()  # type: ignore[union-attr] # fails the test
            stages[name] = Stage(name, base, ())
        elif stages:
            last = next(reversed(stages))
            stages[last] = Stage(last, stages[last].base, (*stages[last].instructions, (keyword, value)))
    return stages
