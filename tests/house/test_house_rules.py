"""Rules of this repository that a reviewer would otherwise have to check by eye."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTING = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
TRACKED = subprocess.run(LISTING, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
FILES = sorted(path for tracked in TRACKED if (path := ROOT / tracked).is_file())
MODULES = [path for path in FILES if path.suffix == ".py"]
OURS = [path for path in MODULES if path.is_relative_to(ROOT / "gateway")]
# What GraphiQL is built of ships too; of Python's packages `make lint` asks.
LICENCES_OF_GRAPHIQL = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "PSF-2.0"}
LONGEST_MODULE, LONGEST_TEST, LONGEST_FUNCTION, MOST_RESOLVER_STATEMENTS = 400, 400, 50, 5
MOST_MODULES, MOST_SENTENCES = 236, 3
# Metaphors that once stood for what now has the word of the field: a circuit breaker, a request context, an idle timer.
METAPHORS = {
    "anticipation", "diary", "doorkeeper", "doorway", "farewell", "flight", "flights", "forecast", "gate", "guard",
    "manners", "nameless", "observer", "outlook", "pace", "patience", "places", "rehearsal", "rendered",
    "roster", "rosters", "sheet", "sheets", "standing", "tally", "trail", "turnstile", "universe", "unobserved",
    "unproven", "uptake", "vouch",
}  # fmt: skip
# The others are plain English in a sentence.
METAPHORS_IN_TEXT = {
    "diary", "doorkeeper", "doorway", "farewell", "flight", "flights", "manners", "nameless", "rehearsal", "roster",
    "rosters", "turnstile", "unproven", "uptake", "vouch",
}  # fmt: skip
METAPHORICAL_MODULES = {"own_answers", "sources", "stand_in"}
# Words of the field that hold one of these.
STANDARD_TERMS = re.compile(r"single.flight|in.flight")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    long = [f.name for f in functions(path) if (f.end_lineno or f.lineno) - f.lineno >= LONGEST_FUNCTION]

    assert lines <= (LONGEST_MODULE if path in OURS else LONGEST_TEST)
    assert long == []


def test_resolvers_delegate() -> None:
    busy = []
    for path in OURS:
        for function in functions(path) if path.parent.name == "schema" else ():
            resolver = any("strawberry.field" in ast.unparse(each) for each in function.decorator_list)
            statements = [each for each in ast.walk(function) if isinstance(each, ast.stmt)]
            # The function itself and its docstring are statements too.
            if resolver and len(statements) - 2 > MOST_RESOLVER_STATEMENTS:
                busy.append(f"{name(path)}:{function.name}")
    assert busy == []


def test_modules_are_named_for_a_concept() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "base", "tools"}

    assert [name(path) for path in OURS if path.stem in vague or path.parent.name in vague] == []


def test_there_are_few_modules() -> None:
    assert len(OURS) <= MOST_MODULES


@pytest.mark.parametrize("path", OURS, ids=name)
def test_module_docstring_begins_with_one_to_three_sentences(path: Path) -> None:
    summary, *_ = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")

    assert summary.endswith(".")
    assert len(re.findall(r"[.!?](?=\s|$)", summary)) <= MOST_SENTENCES


def words(text: str) -> set[str]:
    """The words of a name in either case, or of a sentence."""
    plain = STANDARD_TERMS.sub("", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower())
    return set(re.findall(r"[a-z]+", plain))


def metaphors(path: Path) -> Iterator[str]:
    for part in path.relative_to(ROOT).with_suffix("").parts:
        if part in METAPHORICAL_MODULES or words(part) & METAPHORS:
            yield f"file {part}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and words(node.name) & METAPHORS:
            yield f"class {node.name}"
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for word in words(ast.get_docstring(node) or "") & METAPHORS_IN_TEXT:
                yield f"docstring of {getattr(node, 'name', 'the module')}: {word}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_names_and_docstrings_use_the_words_of_the_field(path: Path) -> None:
    assert list(metaphors(path)) == []


def test_every_exemption_has_a_code_and_a_reason() -> None:
    bare = []
    for path in MODULES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"# (noqa|type: ignore)(?!: [A-Z]+\d+|\[)", line) or re.search(
                r"# (noqa: [A-Z]+\d+|type: ignore\[[a-z-]+\])(?!.* # \S|(, [A-Z]+\d+)+ # \S)", line
            ):
                bare.append(f"{name(path)}:{number}")
    assert [each for each in bare if not each.startswith(name(Path(__file__)))] == []


FORBIDDEN = [
    r"(pypi|pythonhosted|npmjs|debian)\.(org|com)",
    r'"resolved": *"https?:',
    r"(^|[^\w.])/(work|root|farm)/[a-z.]",
]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_registry_host_or_machine_path_is_committed(pattern: str) -> None:
    # Spelled so that this file does not find itself.
    found = [
        name(path)
        for path in FILES
        if path != Path(__file__)
        and re.search(pattern, path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    ]
    assert found == []


def test_locks_pin_every_package_by_hash() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        for requirement in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")):
            if not requirement.startswith("#"):
                assert "==" in requirement, requirement
                assert "--hash=sha256:" in requirement, requirement


def test_graphiql_is_built_of_packages_whose_licences_may_be_shipped() -> None:
    lock = json.loads((ROOT / "gateway/explorer/package-lock.json").read_text(encoding="utf-8"))
    shipped = {path: each.get("license") for path, each in lock["packages"].items() if path and not each.get("dev")}

    assert shipped
    assert {path: licence for path, licence in shipped.items() if licence not in LICENCES_OF_GRAPHIQL} == {}
