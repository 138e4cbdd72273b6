"""The software bill of materials is the runtime's lock, with licences, and the same each time."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.requirement import need
from tests.packaging.conftest import ROOT

TOOL = ROOT / ".venv" / "sbom" / "bin" / "python"


def printed(hash_seed: str, *options: str) -> str:
    need("sbom", there=(ROOT / ".venv" / ".sbom").is_file(), how="run `make .venv/.sbom`")
    done = subprocess.run(
        [TOOL, "requirements/sbom.py", sys.executable, *options],
        cwd=ROOT, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def text() -> str:
    return printed("1")


@pytest.fixture(scope="module")
def components(text: str) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["components"]
    return {re.sub(r"[-_.]+", "-", each["name"]).lower(): each for each in found}


def hashes(component: dict[str, Any]) -> set[str]:
    found = (each["hashes"] for each in component["externalReferences"] if "hashes" in each)
    return {each["content"] for several in found for each in several if each["alg"] == "SHA-256"}


def test_every_package_has_the_version_and_hashes_of_the_lock(components: dict[str, dict[str, Any]]) -> None:
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    pinned = {}
    for name, version, rest in re.findall(r"^([\w.-]+)==([\w.]+)(.*(?:\n .*)*)", lock, re.MULTILINE):
        pinned[re.sub(r"[-_.]+", "-", name).lower()] = version, set(re.findall(r"--hash=sha256:(\w+)", rest))

    # Some are for other systems and Pythons.
    assert components.keys() <= pinned.keys()
    assert {"orjson", "starlette", "strawberry-graphql", "uvicorn", "uvloop"} <= components.keys()
    for name, component in components.items():
        assert (component["version"], hashes(component)) == pinned[name]


def test_every_package_has_a_licence(components: dict[str, dict[str, Any]]) -> None:
    assert [name for name, each in components.items() if not each.get("licenses")] == []


def test_it_is_about_the_gateway_and_what_it_needs(text: str) -> None:
    bill = json.loads(text)
    root = bill["metadata"]["component"]
    (needed,) = (each["dependsOn"] for each in bill["dependencies"] if each["ref"] == root["bom-ref"])

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert (root["name"], root["licenses"][0]["license"]["id"]) == ("leyr-graphql-gateway", "MIT")
    assert any(ref.startswith("starlette==") for ref in needed)
    assert str(ROOT) not in text


def test_it_is_the_same_each_time(text: str) -> None:
    assert printed("2", "--no-validate") == text
