"""The engine's README is true: its example runs, and it stays short."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[3] / "gateway/engine/README.md"


def test_the_example_runs_by_itself() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)

    # In a process of its own: Strawberry finds the types of annotations in the module of a class.
    subprocess.run([sys.executable, "-c", example], check=True, timeout=60)


def test_it_has_at_most_80_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 80
