"""How much memory there is, and how freed memory is kept or given back."""

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from cyclegan_style.system.cores import processes_here

# Of malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def free_memory(device: torch.device) -> int:
    """Bytes that a process's computation on this device may take, with a fifth left to others."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (free + cached) * 4 // 5
    free = min(psutil.virtual_memory().available, _free_in_container())
    return free * 4 // 5 // processes_here()


def _free_in_container(root: Path = Path("/")) -> int:
    """What is left below the limits of containers and jobs, which the machine does not show."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    left = [2**63]
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers in ("", "memory"):
            top = root / "sys/fs/cgroup" / controllers
            group = top / name.strip("/")
            # A container sees its own group as the top, whatever name it has outside.
            left += [_left_in_group(folder) for folder in (group, *group.parents)]
    return min(left)


def _left_in_group(folder: Path) -> int:
    """Bytes between the use and the limit of a control group, of version 2 or 1."""
    for limit, use, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError, KeyError):  # no such file, or no limit
            statistics = dict(
                line.split() for line in (folder / "memory.stat").read_text().splitlines()
            )
            # The cache of files gives way.
            used = int((folder / use).read_text()) - int(statistics[cache])
            return int((folder / limit).read_text()) - used
    return 2**63


def trim_heap() -> None:
    """Give freed memory back to the system.

    What threads decode and free, glibc keeps in pieces between which nothing of the next picture
    fits: 1.7 MB of every picture that is scored.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def reuse_freed_memory() -> None:
    """Keep freed memory for what comes next.

    By default glibc returns blocks of over 32 MB to the system, which then has to fill every page
    of the next with zeros: a quarter of the time of a picture of a megapixel. Blocks of over 256 MB
    are still returned: kept, they would make one pass over a megapixel need half as much again.
    """
    # glibc before 2.35 takes 32 MB at most, and either option alone fixes the other.
    for threshold in (2**28, 2**25):
        if _set_malloc(_M_MMAP_THRESHOLD, threshold):
            _set_malloc(_M_TRIM_THRESHOLD, 2 * threshold)
            return


def share_heaps() -> None:
    """Let threads that are yet to start take memory from two heaps, where they find what is free.

    By default glibc gives each thread a heap of its own, which keeps what it held at its peak.
    """
    _set_malloc(_M_ARENA_MAX, 2)


def _set_malloc(option: int, value: int) -> bool:
    """Whether glibc took the value; another C library has no such option."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            return bool(ctypes.CDLL(None).mallopt(option, value))
    return False
