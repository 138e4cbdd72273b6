"""How much freed memory the C library's allocator keeps: some for the next large response, but not without a bound."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

_MEBIBYTE = 1024 * 1024
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = 64 * _MEBIBYTE, 4 * _MEBIBYTE, 32 * _MEBIBYTE
# malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, which goes up to 32 MiB.
_OPTIONS = {-1: _TRIM_THRESHOLD, -2: _TOP_PAD, -3: _MMAP_THRESHOLD}
_CHECK_SECONDS = 5.0
KEPT_FREE_BYTES = _TRIM_THRESHOLD + _TOP_PAD
"""How much freed memory is kept for what comes next: a process may take so much more than it uses."""


class _Mallinfo(ctypes.Structure):
    """What `mallinfo2` of glibc 2.33 gives."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


class FreeMemory:
    """Tells when so much freed memory is still resident that it should be given back.

    The allocator counts freed memory as its own whether it was given back or not. So what is resident beside the
    memory in use is compared with the least that was seen since memory was given back.
    """

    def __init__(self, resident: int, in_use: int, kept: int = KEPT_FREE_BYTES) -> None:
        self._kept = kept
        self._least_beside = resident - in_use

    def is_too_much(self, resident: int, in_use: int) -> bool:
        """Whether more than `kept` is free, of a process with so many bytes resident and in use by the allocator."""
        beside = resident - in_use
        self._least_beside = min(self._least_beside, beside)
        return beside - self._least_beside > self._kept

    def given_back(self, resident: int, in_use: int) -> None:
        """Begin anew, after free memory was given back."""
        self._least_beside = resident - in_use


def keep_freed_memory() -> None:
    """Let glibc keep the memory of one large response for the next, instead of giving it back to the system.

    Giving it back and fetching it again took a sixth of the processor time of a response of 10 MB. Other C libraries
    have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, size in _OPTIONS.items():
            mallopt(parameter, size)


@contextmanager
def free_memory_given_back(check_seconds: float = _CHECK_SECONDS) -> Iterator[None]:
    """Give free memory back to the system while the block runs, whenever there is more than `KEPT_FREE_BYTES` of it.

    glibc itself gives back only what lies behind all memory in use: one small list that stays keeps a hundred megabytes
    of large ones that are gone. A thread does it, since ctypes lets go of the interpreter's lock.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallinfo2") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallinfo2.restype = _Mallinfo
    libc.malloc_trim.argtypes = (ctypes.c_size_t,)
    stopped = Event()
    free = FreeMemory(resident_bytes(), _bytes_in_use(libc))

    def watch() -> None:
        while not stopped.wait(check_seconds):
            if free.is_too_much(resident_bytes(), _bytes_in_use(libc)):
                libc.malloc_trim(0)
                free.given_back(resident_bytes(), _bytes_in_use(libc))

    thread = Thread(target=watch, name="allocator", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def resident_bytes() -> int:
    """The memory that this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _bytes_in_use(libc: ctypes.CDLL) -> int:
    """What is allocated, in the allocator's heaps and in mappings of its own."""
    found: _Mallinfo = libc.mallinfo2()
    in_use: int = found.uordblks + found.hblkhd
    return in_use
