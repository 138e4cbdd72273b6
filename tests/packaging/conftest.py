"""The image without Docker: the Dockerfile's own commands, run in a folder that stands for each stage's `/`."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.e2e.requirement import need
from tests.packaging.dockerfile import Copy, Stage, read_dockerfile

ROOT = Path(__file__).parents[2]
_SETPRIV = shutil.which("setpriv") or "setpriv"
_AS_NOBODY = (_SETPRIV, "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
_FIT = "import sys, ssl, venv; sys.exit(sys.version_info < (3, 11))"
_SKIPPED = {
    "npm ci": "`make explorer` has just run it, and its node_modules are taken",
    "requirements/dev.txt": "`make setup` has just run it, and this very environment is taken",
}


@dataclass(frozen=True)
class Image:
    """What the stages make, below a folder that everybody may read."""

    folder: Path
    stages: dict[str, Stage]
    python: str

    def root(self, stage: str) -> Path:
        """What is `/` in a stage."""
        return self.folder / stage

    def build(self, stage: str) -> None:
        """Run a stage's instructions."""
        work = self.root(stage)
        for keyword, value in self.stages[stage].instructions:
            if keyword == "WORKDIR":
                work = self.root(stage) / value.lstrip("/")
                work.mkdir(parents=True, exist_ok=True)
            elif keyword == "COPY":
                self._copy(Copy.of(value), work)
            elif keyword == "RUN" and not any(skipped in value for skipped in _SKIPPED):
                self._run(value, work)

    @cached_property
    def wheel(self) -> Path:
        """The wheel, installed with the locked runtime into an environment that was empty."""
        self.build("wheel")
        (wheel,) = (self.root("wheel") / "build" / "dist").glob("*.whl")
        return wheel

    def command(self, *arguments: str) -> list[str]:
        """A command of the image, as a user with no rights at all."""
        assert self.wheel.is_file()
        return [*_AS_NOBODY, *(self._placed(each) for each in arguments)]

    def environment(self, **variables: str) -> dict[str, str]:
        """The image's environment and nothing of this machine's: no HOME, no PATH."""
        given = self.stages["runtime"].environment()
        return {**given, "PATH": self._placed("/opt/gateway/bin"), **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command of the image to its end, where nothing can be written."""
        command, environment = self.command(*arguments), self.environment(**variables)
        return subprocess.run(command, cwd="/", env=environment, capture_output=True, timeout=120, check=False)

    def _placed(self, text: str) -> str:
        return text.replace("/opt/gateway", str(self.root("wheel") / "opt" / "gateway"))

    def _run(self, command: str, work: Path) -> None:
        command = self._placed(command.replace("/opt/tools/bin/python", sys.executable))
        if command.startswith("python "):
            command = command.replace("python", self.python, 1)
        done = subprocess.run(["sh", "-c", command], cwd=work, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def _copy(self, copy: Copy, work: Path) -> None:
        # Another stage's files are those that `make explorer` built here; a test of its own builds that stage.
        origin = ROOT if copy.stage is None else ROOT.joinpath(*Path(copy.sources[0]).parts[2:]).parent
        sources = copy.sources if copy.stage is None else (Path(copy.sources[0]).name,)
        for source in sources:
            if (origin / source).is_dir():
                shutil.copytree(origin / source, work / copy.target, ignore=_ignored, dirs_exist_ok=True)
            elif copy.stage is None:
                shutil.copy(origin / source, work / copy.target)


def _ignored(folder: str, names: list[str]) -> set[str]:
    """What .dockerignore keeps out of what is copied."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    anywhere = {line.removeprefix("**/") for line in lines if line.startswith("**/")}
    return {name for name in names if name in anywhere or str((Path(folder) / name).relative_to(ROOT)) in lines}


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    found = (Path(sys.base_prefix) / "bin" / "python3", Path("/usr/local/bin/python3"), Path("/usr/bin/python3"))
    python = next((str(each) for each in found if _everybody_can_run(each)), None)
    need("user", there=python, how="setpriv, or a Python 3.11 that everybody may run, is missing")
    with tempfile.TemporaryDirectory(prefix="gateway-image-") as folder:
        Path(folder).chmod(0o755)
        yield Image(Path(folder), read_dockerfile(ROOT / "Dockerfile"), str(python))


def _everybody_can_run(python: Path) -> bool:
    try:
        done = subprocess.run([*_AS_NOBODY, python, "-c", _FIT], cwd="/", capture_output=True, timeout=120, check=False)
    except OSError:
        return False
    return done.returncode == 0
