"""How much freed memory the C library's allocator keeps for what comes next, as its environment variables say."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress

_MEBIBYTE = 1024 * 1024
# So much is fetched beside what is needed, so that the heap does not grow in small steps.
_TOP_PAD = 4
# Larger blocks are fetched for themselves and given back at once. Left alone, glibc comes to put blocks of up to 32 MiB
# into its heap, where one small list that stays keeps hundreds of megabytes of large ones that are gone.
_MMAP_THRESHOLD = 1
_BEGUN_ANEW = "KEPT_HEAP_PROCESS"


def heap_variables(kept_mb: int) -> dict[str, str]:
    """What glibc has to find in its environment to keep so many MiB at the end of its heap."""
    return {
        "MALLOC_TRIM_THRESHOLD_": str(kept_mb * _MEBIBYTE),
        "MALLOC_MMAP_THRESHOLD_": str(_MMAP_THRESHOLD * _MEBIBYTE),
        "MALLOC_TOP_PAD_": str(min(kept_mb, _TOP_PAD) * _MEBIBYTE),
    }


def restart_with_kept_heap(kept_mb: int, environment: Mapping[str, str]) -> None:
    """Begin this process anew where its environment lacks the allocator's variables, which count from its start only.

    To be called before anything is opened. It returns where there is nothing to do: in the process that was begun
    anew, on other systems than Linux, and for 0 MiB; and where this interpreter may not be begun again, as it serves
    without the variables too. Variables that somebody else has set stay as they are.
    """
    # Recent versions of glibc take the variables from an interpreter with capabilities of its own, so that their lack
    # does not tell. A process keeps its id; one that it starts gets another.
    begun_anew = {_BEGUN_ANEW: str(os.getpid())}
    lacking = {name: value for name, value in heap_variables(kept_mb).items() if name not in environment}
    if not kept_mb or not lacking or begun_anew.items() <= environment.items() or sys.platform != "linux":
        return
    # A ValueError is of a variable without a name.
    with suppress(OSError, ValueError):
        # Where Python does not know its own path, it is empty or None.
        path = sys.executable or ""
        os.execve(path, [path, *sys.orig_argv[1:]], {**environment, **lacking, **begun_anew})  # noqa: S606 # itself
