"""How much freed memory the C library's allocator keeps: some for the next large response, but not without a bound."""

import asyncio
import ctypes
import os
import sys
from pathlib import Path

_MEBIBYTE = 1024 * 1024
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = 64 * _MEBIBYTE, 4 * _MEBIBYTE, 32 * _MEBIBYTE
# malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, which goes up to 32 MiB.
_OPTIONS = {-1: _TRIM_THRESHOLD, -2: _TOP_PAD, -3: _MMAP_THRESHOLD}
CHECK_SECONDS = 5
"""How often free memory is looked at."""
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


class MemoryTrimmer:
    """Gives free memory back to the system, when it is called and there is more than `KEPT_FREE_BYTES` of it.

    glibc itself gives back only what lies behind all memory in use: one small list that stays keeps a hundred megabytes
    of large ones that are gone. Other C libraries have no such calls, and nothing is done there.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._libc = libc if hasattr(libc, "mallinfo2") and hasattr(libc, "malloc_trim") else None
        if self._libc is not None:
            self._libc.mallinfo2.restype = _Mallinfo
            self._libc.malloc_trim.argtypes = (ctypes.c_size_t,)
            self._free = FreeMemory(resident_bytes(), _bytes_in_use(self._libc))

    async def __call__(self) -> None:
        """Look once, which takes some microseconds."""
        libc = self._libc
        if libc is not None and self._free.is_too_much(resident_bytes(), _bytes_in_use(libc)):
            # In a thread, since it takes dozens of milliseconds and needs no lock of the interpreter. To look from a
            # thread of its own would keep glibc from its ways for processes that have one thread only.
            await asyncio.to_thread(libc.malloc_trim, 0)
            self._free.given_back(resident_bytes(), _bytes_in_use(libc))


def resident_bytes() -> int:
    """The memory that this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _bytes_in_use(libc: ctypes.CDLL) -> int:
    """What is allocated, in the allocator's heaps and in mappings of its own."""
    found: _Mallinfo = libc.mallinfo2()
    in_use: int = found.uordblks + found.hblkhd
    return in_use
