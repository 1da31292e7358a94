"""Cores, and who shares them; without torch, which programs that only draw need not wait for."""

import os


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes_here() -> int:
    """Processes that were launched together on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
