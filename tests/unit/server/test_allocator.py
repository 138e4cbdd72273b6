"""When freed memory is given back to the system, and that it is."""

import ctypes
import sys

import pytest

from gateway.server.allocator import KEPT_FREE_BYTES, FreeMemory
from tests.processes import run_python

MIB = 1024 * 1024


def test_free_memory_is_too_much_beyond_what_is_kept() -> None:
    free = FreeMemory(100, 40, kept=50)

    # A list comes and goes, but stays resident.
    assert not free.is_too_much(160, 100)
    assert not free.is_too_much(150, 40)
    assert free.is_too_much(151, 40)


def test_what_others_allocate_is_taken_for_free_once() -> None:
    free = FreeMemory(100, 40, kept=50)

    assert free.is_too_much(200, 40)
    free.given_back(200, 40)

    assert not free.is_too_much(250, 40)
    assert free.is_too_much(251, 40)


def test_free_memory_counts_from_the_least_there_was() -> None:
    free = FreeMemory(200, 40, kept=50)

    assert not free.is_too_much(100, 40)
    assert not free.is_too_much(150, 40)
    assert free.is_too_much(200, 40)


LARGE_LISTS = """
import asyncio, sys
from gateway.server.allocator import MemoryTrimmer, keep_freed_memory, resident_bytes

async def main():
    keep_freed_memory()
    trim = MemoryTrimmer()
    before = resident_bytes()
    large = [b"x" * 4_000_000 for _ in range(60)]
    stays = [b"y" * 4_000_000]
    del large
    if sys.argv[1] == "trimmed":
        await trim()
    print(resident_bytes() - before)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("how", ["trimmed", "untrimmed"])
def test_memory_below_a_list_that_stays_is_given_back_by_a_trimmer_alone(how: str) -> None:
    ended = run_python("-c", LARGE_LISTS, how)

    assert ended.returncode == 0, ended.stderr
    assert (int(ended.stdout) <= KEPT_FREE_BYTES) is (how == "trimmed")
