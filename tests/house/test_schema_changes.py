"""A change of the schema that breaks clients of the last release is found, and one that may surprise them is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.pages import ROOT
from tests.house.schema_changes import report

RELEASED = """
type Query { units(first: Int = 5): [Unit!]! }
type Unit { name: String state: State! }
enum State { OPEN CLOSED }
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a schema in its only commit."""
    (tmp_path / "schema.graphql").write_text(RELEASED, encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    person = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *person, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "schema")


def change(folder: Path, old: str, new: str) -> None:
    assert old in RELEASED
    (folder / "schema.graphql").write_text(RELEASED.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: String ", "", "Unit.name"),
        ("name: String ", "name: Int ", "Unit.name"),
        ("state: State!", "state: State", "Unit.state"),
        ("first: Int = 5", "first: Int!", "first"),
        ("first: Int = 5", "first: Int = 5, last: Int!", "last"),
        ("OPEN ", "", "OPEN"),
    ],
)
def test_a_change_that_breaks_clients_fails(
    repository: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, told: str
) -> None:
    git(repository, "tag", "v1")
    change(repository, old, new)
    # What was committed since the release counts as much as what was not.
    commit(repository)

    assert report(repository) == 1
    out = capsys.readouterr().out
    assert out.startswith("Breaks clients of v1: ")
    assert told in out


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("OPEN ", "OPEN LATER "),
        ("first: Int = 5", "first: Int = 6"),
        ("(first: Int = 5)", "(first: Int = 5, last: Int)"),
    ],
)
def test_a_change_that_may_surprise_clients_is_told(
    repository: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    git(repository, "tag", "v1")
    change(repository, old, new)

    assert report(repository) == 0
    assert capsys.readouterr().out.startswith("May surprise clients of v1: ")


def test_a_field_more_is_no_matter(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(repository, "tag", "v1")
    change(repository, "name: String", "name: String zone: String")

    assert report(repository) == 0
    assert capsys.readouterr().out == ""


def test_the_last_release_before_the_present_commit_counts(repository: Path) -> None:
    git(repository, "tag", "v1")
    change(repository, "name: String ", "")
    commit(repository)
    git(repository, "tag", "v2")

    assert report(repository) == 0


def test_without_a_release_nothing_breaks(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(repository, "name: String ", "")

    assert report(repository) == 0
    assert capsys.readouterr().out == "No schema was released yet.\n"


def test_this_schema_breaks_no_client_of_the_last_release() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.house.schema_changes"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout
