"""Packages of npm that a folder's lock names, installed beside it."""

import subprocess
from fcntl import LOCK_EX, flock
from pathlib import Path

_SECONDS = 300


def npm(folder: Path, *arguments: str) -> None:
    """Run npm in a folder, which must succeed."""
    done = subprocess.run(
        ["npm", *arguments], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def install(folder: Path) -> None:
    """What the lock names, if that has not been done since the lock changed; by one process at a time."""
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    # Not package.json, which whoever builds the booking page holds meanwhile.
    with lock.open(encoding="utf-8") as held:
        flock(held, LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            npm(folder, "ci", "--no-audit", "--no-fund")
