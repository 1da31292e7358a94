"""Kill a small training run again and again and compare what comes out with an undisturbed run.

Every kill is a SIGKILL or a SIGTERM at a random moment, checkpoints being written nearly all the
time; after each, the same command is given again. At the end the weights, the whole last checkpoint
and the metrics of the battered run must equal the undisturbed run's. Prints a table, and exits with
status 1 if anything differs.
"""

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
FIELDS = {
    "data.a": "demo:photo",
    "data.b": "demo:painting",
    "data.test_a": "demo:photo",
    "data.test_b": "demo:painting",
    "data.resize": "none",
    "data.crop_size": "32",
    "generator.architecture": "resnet",
    "generator.channels": "4",
    "generator.blocks": "1",
    "generator.dropout": "true",
    "discriminator.channels": "4",
    "discriminator.layers": "2",
    "discriminator.augment": "[color,translation,cutout]",
    "train.ema_decay": "0.9",
    "train.pool_size": "8",
    "train.cpu_threads": "1",
    "tracking.log_every_steps": "3",
    "tracking.sample_every_steps": "200",
    "checkpoint.every_steps": "5",
    "evaluation.every_steps": "25",
    "evaluation.max_images": "4",
}
CHANGES_WITH_TIME = ("images_per_second", "gpu_memory_gigabytes")


@dataclass(frozen=True)
class Case:
    """One kind of run to batter."""

    processes: int
    workers: int
    precision: str


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    kills: dict[str, int]
    differences: list[str]


def command(case: Case, run: Path, steps: int) -> list[str]:
    """The command line that trains the case."""
    fields = FIELDS | {
        "run.dir": str(run),
        "train.max_steps": str(steps),
        "train.epochs": "100",
        "train.mixed_precision": case.precision,
        "data.num_workers": str(case.workers),
    }
    options = [part for name, value in fields.items() for part in (f"--{name}", value)]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu"]
    plain = [sys.executable]
    start = plain if case.processes == 1 else [*launcher, f"--num_processes={case.processes}"]
    return [*start, str(ROOT / "train.py"), *options]


def batter(case: Case, kills: int, steps: int, folder: Path, chance: random.Random) -> Outcome:
    """Train once in peace and once under fire, and compare."""
    calm, battered = folder / "calm", folder / "battered"
    subprocess.run(command(case, calm, steps), check=True, stderr=subprocess.DEVNULL)
    delivered = {"SIGKILL": 0, "SIGTERM": 0, "while saving": 0}
    while sum((delivered["SIGKILL"], delivered["SIGTERM"])) < kills:
        if last_step(battered) >= steps:
            break
        kill_once(command(case, battered, steps), battered, delivered, chance)
    subprocess.run(command(case, battered, steps), check=True, stderr=subprocess.DEVNULL)
    return Outcome(delivered, differences(calm, battered, steps))


def kill_once(
    words: Sequence[str], run: Path, delivered: dict[str, int], chance: random.Random
) -> None:
    """Start the command and kill it soon after it has begun to make steps."""
    before = last_step(run)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while process.poll() is None and last_step(run) <= before:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 0.6))
    if chance.random() < 0.5:
        wait_for_a_save(process, run)
    name = chance.choice(["SIGKILL", "SIGTERM"])
    if process.poll() is None:
        delivered[name] += 1
        delivered["while saving"] += bool(list(run.glob("checkpoints/.*.partial")))
        kill_all(process, signal.Signals[name])
    process.wait()


def kill_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the process and all it started, as a scheduler or a power cut does."""
    launcher = psutil.Process(process.pid)
    for started in [launcher, *launcher.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            started.send_signal(number)


def wait_for_a_save(process: subprocess.Popen[bytes], run: Path) -> None:
    """Wait until a checkpoint is half-written."""
    while process.poll() is None and not list(run.glob("checkpoints/.*.partial")):
        time.sleep(0.001)


def last_step(run: Path) -> int:
    """Step of the newest checkpoint, 0 if there is none."""
    folders = sorted((run / "checkpoints").glob("step-*"))
    return int(folders[-1].name.removeprefix("step-")) if folders else 0


def differences(calm: Path, battered: Path, steps: int) -> list[str]:
    """Everything in which the two runs differ that must not."""
    name = f"checkpoints/step-{steps:08d}"
    checksums = [json.loads((run / name / "state.json").read_text()) for run in (calm, battered)]
    found = [key for key in checksums[0] if checksums[0][key] != checksums[1].get(key)]
    models = sorted(calm.glob("**/generator_*.safetensors"))
    for model in (path.relative_to(calm) for path in models):
        if not (battered / model).exists():
            found.append(f"{model} is missing")
        elif (calm / model).read_bytes() != (battered / model).read_bytes():
            found.append(str(model))
    if metrics(calm) != metrics(battered):
        found.append("metrics.jsonl")
    return found


def metrics(run: Path) -> list[dict[str, float]]:
    """Lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CHANGES_WITH_TIME} for line in lines]


def main() -> int:
    """Batter each case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="kills of each case")
    parser.add_argument("--steps", type=int, default=400, help="length of the runs")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--precision", nargs="+", default=["no", "bf16"])
    options = parser.parse_args()
    cases = [
        Case(processes, workers, precision)
        for processes in options.processes
        for workers in options.workers
        for precision in options.precision
    ]
    print("| processes | workers | precision | SIGKILL | SIGTERM | while saving | differences |")
    print("|---|---|---|---|---|---|---|", flush=True)
    failed = False
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            chance = random.Random(options.seed)
            outcome = batter(case, options.kills, options.steps, Path(folder), chance)
        counts = " | ".join(str(count) for count in outcome.kills.values())
        found = ", ".join(outcome.differences) or "0"
        row = f"| {case.processes} | {case.workers} | {case.precision} | {counts} | {found} |"
        print(row, flush=True)
        failed = failed or bool(outcome.differences)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
