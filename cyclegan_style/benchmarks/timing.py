"""How the benchmarks measure: seconds of two ways in turns, and memory in a process of its own."""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timings:
    """Medians over paired runs."""

    baseline_seconds: float
    seconds: float
    ratio: float
    """Median of the ratios of the pairs."""


def time_in_turns(
    baseline: Callable[[], object], product: Callable[[], object], pairs: int
) -> Timings:
    """Time both, one after the other, so that a machine whose speed drifts drifts for both."""
    times = [
        (seconds_of(baseline), seconds_of(product))
        for _ in tqdm(range(pairs), "timing pairs", file=sys.stderr)
    ]
    return Timings(
        baseline_seconds=statistics.median(pair[0] for pair in times),
        seconds=statistics.median(pair[1] for pair in times),
        ratio=statistics.median(pair[0] / pair[1] for pair in times),
    )


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call, with the device waited for."""
    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    """Wait until the device has done all it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_own_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Result of the function in a fresh process, whose memory holds nothing else."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def own_peak_gigabytes() -> float:
    """Most memory that this process, or the GPU for it, has held."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    # Linux counts the parent's memory into ru_maxrss; VmHWM is this process's own.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def device_name() -> str:
    """What the device calls itself."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} threads"
