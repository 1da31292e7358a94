"""What runs there are, how far each is, and whether its checkpoints are whole."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_style.errors import UserError
from cyclegan_style.models.export import CONFIG_FILE
from cyclegan_style.runs.checkpoint import STATE_FILE, checkpoint_folders, read_checkpoint
from cyclegan_style.runs.report import read_metrics
from cyclegan_style.runs.run_folder import is_locked
from cyclegan_style.runs.tracking import METRICS_FILE

QUIET_SECONDS = 300
"""Where folders cannot be locked, a run that reported nothing for so long counts as stopped."""


@dataclass(frozen=True)
class RunSummary:
    """How a run stands."""

    run: str
    state: str
    """new, running, stopped or finished."""
    step: int
    total_steps: int | None
    """None before the first checkpoint."""
    images_per_second: float | None
    seconds_left: float | None
    best_scores: dict[str, float]
    """Best value of each score so far."""
    gigabytes: float


def find_runs(folder: Path) -> list[Path]:
    """Run folders below a folder, or the folder itself if it is one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if is_run(folder):
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{CONFIG_FILE}") if is_run(path.parent))


def is_run(folder: Path) -> bool:
    """Whether training has claimed the folder; exported models have a configuration as well."""
    return (folder / CONFIG_FILE).exists() and not list(folder.glob("*.safetensors"))


def summarise_run(run: Path) -> RunSummary:
    """Read a run's metrics and newest checkpoint."""
    if not is_run(run):
        raise UserError(f"{run}: not a run folder; it has no {CONFIG_FILE}")
    metrics = read_metrics(run / METRICS_FILE)
    last = metrics[-1] if metrics else {}
    facts = newest_facts(run)
    step = max(int(last.get("step", 0)), int(facts.get("step", 0)))
    total = facts.get("total_steps")
    return RunSummary(
        run=str(run),
        state=state_of(run, step, total),
        step=step,
        total_steps=total,
        images_per_second=last.get("images_per_second"),
        seconds_left=seconds_left(last, facts, step),
        best_scores={name: best["value"] for name, best in facts["scores"]["best"].items()}
        if facts
        else {},
        gigabytes=round(sum(f.stat().st_size for f in run.rglob("*") if f.is_file()) / 1e9, 3),
    )


def state_of(run: Path, step: int, total: int | None) -> str:
    """What the run is doing, as far as its files tell."""
    metrics = run / METRICS_FILE
    if total is not None and step >= total:
        return "finished"
    if not metrics.exists():
        return "new"
    running = is_locked(run)
    if running is None:
        running = time.time() - metrics.stat().st_mtime < QUIET_SECONDS
    return "running" if running else "stopped"


def seconds_left(last: dict[str, Any], facts: dict[str, Any], step: int) -> float | None:
    """Time to the last step at the latest speed."""
    speed = last.get("images_per_second")
    if not speed or "total_steps" not in facts:
        return None
    left = max(0, int(facts["total_steps"]) - step)
    return round(left * int(facts["images_per_step"]) / float(speed), 1)


def newest_facts(run: Path) -> dict[str, Any]:
    """Facts of the newest checkpoint that can be read, without checking its files."""
    for folder in reversed(checkpoint_folders(run)):
        try:
            facts: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return facts
    return {}


def verify_run(run: Path) -> dict[str, str]:
    """For each checkpoint, by name, ``ok`` or what is wrong with it."""
    if not is_run(run):
        raise UserError(f"{run}: not a run folder; it has no {CONFIG_FILE}")
    outcomes = {}
    for folder in checkpoint_folders(run):
        try:
            read_checkpoint(folder)
            outcomes[folder.name] = "ok"
        except UserError as error:
            outcomes[folder.name] = str(error)
    return outcomes
