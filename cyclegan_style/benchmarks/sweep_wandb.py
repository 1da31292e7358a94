"""The same grid as a sweep of wandb, whose agents then train the runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cyclegan_style.benchmarks.sweep_grid import Grid, text_of
from cyclegan_style.runs.best import direction_of_improvement

IN_A_FOLDER_OF_ITS_OWN = 'exec "$@" --run.dir="$0/$WANDB_RUN_ID"'
"""For a shell, since agents set this variable only for what they start."""


def wandb_sweep(grid: Grid, score: str, options: Sequence[str], folder: Path) -> dict[str, Any]:
    """What ``wandb sweep`` reads; the options are those of ``train`` that all runs share."""
    shell = ["${env}", "sh", "-c", IN_A_FOLDER_OF_ITS_OWN, str(folder)]
    training = ["${interpreter}", "-m", "${program}", "train", *options]
    return {
        "name": folder.name,
        "program": "cyclegan_style",
        "method": "grid",
        "metric": {
            "name": score,
            "goal": "maximize" if direction_of_improvement(score) > 0 else "minimize",
        },
        "parameters": {
            name: {"values": [plain(value) for value in values]}
            for name, values in grid.values.items()
        },
        "command": [*shell, *training, "--tracking.backend=wandb", "${args}"],
    }


def plain(value: object) -> int | float | str:
    """A number as such, which wandb can draw, and all else as one writes it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return text_of(value)


def write_wandb_sweep(path: Path, sweep: dict[str, Any]) -> None:
    """Write the file that ``wandb sweep`` reads."""
    path.write_text(yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True), encoding="utf-8")
