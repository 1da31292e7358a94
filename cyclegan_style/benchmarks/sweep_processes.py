"""Runs that are trained at once, each by a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cyclegan_style.config import Config, to_yaml
from cyclegan_style.system.hardware import fair_share_of_cores, training_device
from cyclegan_style.system.launch import LAUNCHED
from cyclegan_style.system.preemption import StopRequest
from cyclegan_style.system.processes import say
from cyclegan_style.system.whole_files import write_durably
from cyclegan_style.training.trainer import DIVERGED

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Ended:
    """What a process left."""

    name: str
    result: dict[str, Any] | None
    """What ``train --json`` tells: of a run that was stopped as well."""
    failure: str | None

    @property
    def diverged(self) -> bool:
        """Whether another try would end in the same way."""
        return self.failure is not None and self.failure.startswith(DIVERGED)


@dataclass(frozen=True)
class Child:
    """A process that trains."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def ended(self) -> Ended:
        """What became of it."""
        if self.process.returncode == 0:
            return Ended(self.name, json.loads(self.last_line('{"run": ')), None)
        return Ended(self.name, None, self.complaint())

    def complaint(self) -> str:
        """Why it failed."""
        status = self.process.returncode
        if status == 2:
            return self.last_line("error: ").removeprefix("error: ")
        how = f"killed by signal {-status}" if status < 0 else f"failed with status {status}"
        return f"{how}; see {self.log}"

    def last_line(self, beginning: str) -> str:
        """The last line of the log with this beginning, which the end of ``train`` writes."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line for line in reversed(lines) if line.startswith(beginning))


def train_in_processes(
    configs: Mapping[str, Config], folder: Path, parallel: int
) -> Iterator[Ended]:
    """Train configurations by name, so many at once, and yield each when it is over.

    A request to stop is handed on to all that train; they save, and none begins any more.
    """
    waiting = dict(configs)
    places = devices()
    running: dict[int, Child] = {}
    asked = False
    with StopRequest() as request:
        try:
            while running or (waiting and request.source is None):
                for slot in range(parallel):
                    if waiting and slot not in running and request.source is None:
                        name = next(iter(waiting))
                        place = places[slot % len(places)] if places else None
                        running[slot] = begin(name, waiting.pop(name), folder, parallel, place)
                time.sleep(POLL_SECONDS)
                if request.source is not None and not asked:
                    asked = True
                    ask_to_stop(running)
                for slot, child in list(running.items()):
                    if child.process.poll() is not None:
                        del running[slot]
                        ended = child.ended()
                        if ended.result is not None or request.source is None:
                            yield ended
        finally:
            for child in running.values():  # a second Ctrl-C, or an error of this process
                child.process.kill()
                child.process.wait()


def ask_to_stop(running: Mapping[int, Child]) -> None:
    """Let every process save and end."""
    say("stopping: the runs that train are saved")
    for child in running.values():
        child.process.send_signal(signal.SIGTERM)


def begin(name: str, config: Config, folder: Path, parallel: int, place: str | None) -> Child:
    """Start the training of a configuration, on a GPU or on a share of the cores."""
    if place is None and config.train.cpu_threads is None:
        threads = max(1, fair_share_of_cores() // parallel)
        config = replace(config, train=replace(config.train, cpu_threads=threads))
    file, log = folder / f"{name}.yaml", folder / f"{name}.log"
    write_durably(file, to_yaml(config).encode())
    environment = os.environ | {LAUNCHED: "1"}
    if place is not None:
        environment["CUDA_VISIBLE_DEVICES"] = place
    command = [sys.executable, "-m", "cyclegan_style", "train", "--config", str(file), "--json"]
    with log.open("ab") as written:
        # In a session of its own Ctrl-C at the terminal reaches it through this process alone.
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    say(f"{name}: begins{f' on GPU {place}' if place else ''}; log: {log}")
    return Child(name, process, log)


def devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none on a CPU."""
    if training_device() != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return visible.split(",")
    return [str(number) for number in range(torch.cuda.device_count())]
