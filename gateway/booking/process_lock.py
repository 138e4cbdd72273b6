"""Which processes live: each holds a lock on a file of its own, which the kernel releases whenever it ends."""

import os
import re
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path

_is_name = re.compile(r"[0-9a-f]{32}").fullmatch


class ProcessLock:
    """The lock of this process in a folder that others share. Raises OSError."""

    def __init__(self, folder: Path, name: str) -> None:
        """`name` is 32 hexadecimal digits, chosen at random."""
        self.name = name
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unnamed = folder / f".{name}"
        self._file = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Nobody sees it by its name before it is locked.
        flock(self._file, LOCK_EX)
        unnamed.rename(folder / name)

    def is_alive(self, name: str) -> bool:
        """Whether the process that holds the lock of a name lives; the files of dead ones are removed."""
        if name == self.name:
            return True
        if not _is_name(name):
            return False
        path = self._folder / name
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            flock(file, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(file)

    def remove_dead(self) -> None:
        """Remove the files of processes that ended without doing so."""
        for path in self._folder.iterdir():
            self.is_alive(path.name)

    def close(self) -> None:
        """Let this process count as dead."""
        # Somebody may have removed the journal's files; without its own this process counts as dead already.
        with suppress(FileNotFoundError):
            (self._folder / self.name).unlink()
        os.close(self._file)
