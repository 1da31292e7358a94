"""Which of several ways to compute the same is the fastest here: measured once, and remembered.

A processor's name tells little of how fast it is at a number format: that depends on its
instructions, on the kernels of this torch for them, and on what a virtual machine lets through.
"""

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from cyclegan_style.system.user_cache import cache_folder
from cyclegan_style.system.whole_files import whole_file

MEASURED_FILE = "measured.json"
MARGIN = 1.1
"""Times as fast as the usual way another must be."""
HOPELESS = 2.0
"""Times as long as the usual way, after which another is given up."""
HOPELESS_AT_FIRST = 5.0
"""The same of first calls, in which libraries prepare themselves."""
PREPARING = 0.5
"""Seconds that preparations alone may take."""
TURNS = 8
LONG_ENOUGH = 2.0
"""Seconds of turns after which no other begins: on a machine that others share, a single turn of a
large network is off by a third."""
LONG_ENOUGH_IF_CLOSE = 6.0
"""The same while a way is about as fast as one must be to be chosen."""
CLOSE = 1.2
"""Times as fast, or as slow, as that."""
SWITCH = "CYCLEGAN_STYLE_MEASURE"
"""Variable of the environment that is 0 where every machine shall compute in the usual way."""
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables of the environment by which a processor computes as a lesser one."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Trial:
    """One of the ways: a small part of the work that shows a hopeless one, and enough to judge."""

    part: Call
    whole: Call


@dataclass(frozen=True)
class Speeds:
    """How fast each way is, as a multiple of the first, the usual one; 0: hopeless, or not at all.

    ``remembered`` are those that were measured earlier. The usual way alone was not measured.
    """

    by_name: Mapping[str, float]
    remembered: bool = False

    @property
    def usual(self) -> str:
        """What others must be faster than."""
        return next(iter(self.by_name))

    @property
    def best(self) -> str:
        """The fastest way; the usual one, unless another is faster by the margin."""
        fastest = max(self.by_name, key=lambda name: self.by_name[name])
        return fastest if self.by_name[fastest] >= MARGIN else self.usual

    def compared(self, name: str, other: str) -> str:
        """How fast a way is beside another, for people."""
        if not self.by_name[other]:
            return f"over {HOPELESS:g} times as fast as {other}"
        ratio = self.by_name[name] / self.by_name[other]
        if ratio < 1:  # by less than the margin
            return f"{other} is only {1 / ratio:.3g} times as fast"
        return f"{ratio:.2g} times as fast as {other}"

    def reasons(self) -> str:
        """Why the best is the best, for people."""
        if not self.measured:
            return f"the usual way, since {SWITCH} is 0"
        others = [name for name in self.by_name if name != self.best]
        return "; ".join(self.compared(self.best, other) for other in others) + self.source

    def better_than(self, other: str) -> str:
        """Why the best is better than a way that may not have been tried, for people."""
        if not self.measured:
            return f"{self.best} is {self.reasons()}"
        faster = self.by_name[self.best] > self.by_name[other]
        why = "is faster here" if faster else "would be taken here"
        return f"{self.best} {why}: {self.compared(self.best, other)}{self.source}"

    @property
    def measured(self) -> bool:
        """Whether there was a choice."""
        return len(self.by_name) > 1

    @property
    def source(self) -> str:
        """Where the figures come from, for people."""
        return " (measured here earlier)" if self.remembered else " (measured here)"


def fastest_here(
    what: Sequence[str], names: Sequence[str], trials: Callable[[], Mapping[str, Trial]]
) -> Speeds:
    """How fast the named ways are on this machine, measured unless that is remembered.

    ``what`` tells what is computed, in words that tell it from all else.
    """
    if os.environ.get(SWITCH) == "0":
        return Speeds({names[0]: 1.0})
    key = " | ".join((*what, *this_machine()))
    known = recalled(key, names)
    if known is not None:
        return Speeds(known, remembered=True)
    speeds = measured_speeds(trials())
    remember(key, speeds)
    return Speeds(speeds)


def measured_speeds(trials: Mapping[str, Trial]) -> dict[str, float]:
    """How fast each way is, as a multiple of the first."""
    usual, *others = trials
    hopeful = [name for name in others if not is_hopeless(trials[usual], trials[name])]
    speeds = {usual: 1.0, **dict.fromkeys(others, 0.0)}
    if hopeful:
        seconds = seconds_in_turns({name: trials[name].whole for name in (usual, *hopeful)})
        speeds |= {name: seconds[usual] / seconds[name] for name in hopeful}
    return speeds


def is_hopeless(usual: Trial, other: Trial) -> bool:
    """Whether a way is so much slower than the usual one that a small part already shows it."""
    usual_at_first, at_first = seconds_of(usual.part), seconds_of(other.part)
    if at_first > max(PREPARING, HOPELESS_AT_FIRST * usual_at_first):
        return True
    limit = HOPELESS * seconds_of(usual.part)
    # Something else may have had the processor the first time.
    return all(seconds_of(other.part) > limit for _ in range(2))


def seconds_in_turns(calls: Mapping[str, Call]) -> dict[str, float]:
    """The shortest time of each, after a first call that prepares what is kept."""
    shortest = dict.fromkeys(calls, math.inf)
    for call in calls.values():
        seconds_of(call)
    started = time.perf_counter()
    for _ in range(TURNS):
        for name, call in calls.items():
            shortest[name] = min(shortest[name], seconds_of(call))
        if time.perf_counter() - started > long_enough(list(shortest.values())):
            break
    return shortest


def long_enough(seconds: Sequence[float]) -> float:
    """How long turns go on after which the ways, of which the first is the usual one, took so."""
    usual, *others = seconds
    ratios = [usual / (MARGIN * other) for other in others]
    close = any(1 / CLOSE < ratio < CLOSE for ratio in ratios)
    return LONG_ENOUGH_IF_CLOSE if close else LONG_ENOUGH


def seconds_of(call: Call) -> float:
    """What a call takes; one that fails takes for ever."""
    started = time.perf_counter()
    try:
        call()
    except RuntimeError:  # such as a number format without a kernel
        return math.inf
    return time.perf_counter() - started


def this_machine() -> list[str]:
    """What speeds depend on beside what is computed."""
    limits = [f"{name}={value}" for name in ISA_LIMITS if (value := os.environ.get(name))]
    threads = f"{torch.get_num_threads()} threads"
    return [processor(), threads, f"torch {torch.__version__}", *limits]


def processor() -> str:
    """The processor's name, and a checksum of what it says that it can."""
    facts: dict[str, str] = {}
    with suppress(OSError):  # no Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            name, _, value = line.partition(":")
            facts.setdefault(name.strip().lower(), value.strip())
    name = facts.get("model name") or platform.processor() or platform.machine()
    abilities = facts.get("flags") or facts.get("features") or ""
    return f"{name} {hashlib.sha256(abilities.encode()).hexdigest()[:8]}"


# What is remembered


def recalled(key: str, names: Sequence[str]) -> dict[str, float] | None:
    """Speeds of these ways that were measured before, None if there are none of use."""
    speeds = read_all().get(key)
    if not isinstance(speeds, dict) or list(speeds) != list(names) or speeds[names[0]] != 1.0:
        return None
    plausible = all(
        isinstance(speed, float) and math.isfinite(speed) and speed >= 0
        for speed in speeds.values()
    )
    return speeds if plausible else None


def remember(key: str, speeds: Mapping[str, float]) -> None:
    """Write speeds for later; a cache that cannot be written is no error."""
    with suppress(OSError, RuntimeError):  # a home of nobody
        cache_folder().mkdir(parents=True, exist_ok=True)
        with whole_file(cache_folder() / MEASURED_FILE) as stream:
            stream.write(json.dumps({**read_all(), key: speeds}, indent=1).encode())


def read_all() -> dict[str, object]:
    """All that is remembered; nothing of a file that is damaged or not ours."""
    try:
        kept = json.loads((cache_folder() / MEASURED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
