"""What has changed in schema.graphql for clients since the last release.

    python -m tests.house.schema_changes [FOLDER]

A release is the last tag before the present commit. A change that breaks clients ends the run with 1; one that may
surprise them is listed. Where nothing was released yet, nothing can break.
"""

import subprocess
import sys
from pathlib import Path

from graphql import GraphQLSchema, build_schema
from graphql.utilities import BreakingChange, DangerousChange, find_breaking_changes, find_dangerous_changes

SDL = "schema.graphql"


def changes(old: GraphQLSchema, new: GraphQLSchema) -> tuple[list[BreakingChange], list[DangerousChange]]:
    """The changes that break clients, and those that may surprise them."""
    return find_breaking_changes(old, new), find_dangerous_changes(old, new)


def report(folder: Path) -> int:
    """Print the changes in a repository's schema since its last release; 1 where one breaks clients, else 0."""
    tag = _git(folder, "describe", "--tags", "--abbrev=0")
    released = None if tag is None else _git(folder, "show", f"{tag}:{SDL}")
    if tag is None or released is None:
        sys.stdout.write("No schema was released yet.\n")
        return 0
    breaking, dangerous = changes(build_schema(released), build_schema((folder / SDL).read_text(encoding="utf-8")))
    for each in dangerous:
        sys.stdout.write(f"May surprise clients of {tag}: {each.description}\n")
    for change in breaking:
        sys.stdout.write(f"Breaks clients of {tag}: {change.description}\n")
    return 1 if breaking else 0


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, without the last line's end; None where it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False, text=True)
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(report(Path(*sys.argv[1:2])))
