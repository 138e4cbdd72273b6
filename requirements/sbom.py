"""Prints the runtime's software bill of materials (CycloneDX): hashes from its lock, licences from installed packages.

cyclonedx-py reads the hashes of a lock, and the licences and dependencies of an environment, but not both at once. The
environment may have more than the lock, which is left out.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator

ROOT = Path(__file__).parents[1]
PYPROJECT = ROOT / "pyproject.toml"
LOCK = ROOT / "requirements" / "runtime.txt"
Bom = dict[str, Any]


def main(python: str, *options: str) -> int:
    """Print the bill for the runtime as this Python has it installed; 1 where it is not valid.

    With `--no-validate` that is not looked at, which takes most of the time.
    """
    of_environment, of_lock = _read("environment", python), _read("requirements", str(LOCK))
    bom = json.dumps(merged(of_environment, of_lock), indent=2, sort_keys=True)
    validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)
    error = None if "--no-validate" in options else validator.validate_str(bom)
    if error is not None:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    print(bom)
    return 0


def _read(kind: str, source: str) -> Bom:
    tool = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", kind]
    # What becomes of both is checked.
    options = ["--output-reproducible", "--no-validate", "--spec-version", "1.6", "--pyproject", str(PYPROJECT)]
    done = subprocess.run([*tool, *options, source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: Bom = json.loads(done.stdout)
    return found


def merged(of_environment: Bom, of_lock: Bom) -> Bom:
    """The packages of the environment that the lock has, with the lock's hashes."""
    locked = {_name(each): each for each in of_lock["components"]}
    components = [each for each in of_environment["components"] if _name(each) in locked]
    for each in components:
        pinned = locked[_name(each)]
        if pinned["version"] != each["version"]:
            raise SystemExit(f"sbom: {each['name']} is {each['version']}, and the lock says {pinned['version']}")
        each["externalReferences"] = [*each.get("externalReferences", ()), *pinned["externalReferences"]]
    refs = {each["bom-ref"] for each in components} | {of_environment["metadata"]["component"]["bom-ref"]}
    dependencies = [each for each in of_environment["dependencies"] if each["ref"] in refs]
    for each in dependencies:
        each["dependsOn"] = [ref for ref in each.get("dependsOn", ()) if ref in refs]
    return {**of_environment, "components": components, "dependencies": dependencies}


def _name(component: Bom) -> str:
    """Its name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", component["name"]).lower()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
