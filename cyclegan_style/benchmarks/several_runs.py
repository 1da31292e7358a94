"""What comparisons of several runs share: their folder, and what becomes of each run."""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cyclegan_style.benchmarks.recipe_scores import Scores, scores_from_json, scores_to_json
from cyclegan_style.config import Config, to_dict
from cyclegan_style.errors import UserError
from cyclegan_style.runs.report import line_seconds
from cyclegan_style.runs.run_folder import lock, with_generator_as_built
from cyclegan_style.runs.tracking import METRICS_FILE, flatten, read_metrics
from cyclegan_style.system.whole_files import remove_leftovers, write_durably

OUTCOME_FILE = "scores.json"

State = dict[str, Any]
"""What a folder keeps of how its runs are made, as JSON."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run that is over."""

    steps: int
    seconds: float
    """Of its steps."""
    scores: Scores
    failure: str | None = None
    """Why there are no scores."""


# The folder


def claim_folder(folder: Path, file: str, renewed: Callable[[State | None], State]) -> None:
    """Hold the folder, and keep in the file what ``renewed`` makes of what was there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock(folder, "--output")
        remove_leftovers(folder)
        state = renewed(read_json(folder / file))
        write_durably(folder / file, json.dumps(state, indent=1).encode())
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be used: {error.strerror}") from None


def refuse_changes(folder: Path, what: str, changes: Sequence[str]) -> None:
    """Raise a UserError if there are any changes to what the folder holds."""
    if changes:
        raise UserError(
            f"--output: {folder} holds {what} made in another way"
            f" ({'; '.join(changes)}); choose another folder"
        )


def field_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Fields of a flat configuration that are not as they were."""
    # Fields that are newer than the folder are at their defaults.
    was = with_generator_as_built(flatten(to_dict(Config())) | dict(before))
    return [
        f"{field} was {was[field]} and is now {value}"
        for field, value in with_generator_as_built(now).items()
        if was[field] != value
    ]


def read_json(path: Path) -> dict[str, Any] | None:
    """An object of a file that was written here, None if there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"{path}: not a file of a comparison; remove it to go on") from None
    return values if isinstance(values, dict) else None


# Runs


def read_outcome(run: Path) -> RunOutcome | None:
    """What became of a run, None if that is not known yet."""
    values = read_json(run / OUTCOME_FILE)
    if values is None:
        return None
    scores = scores_from_json(values["scores"])
    return RunOutcome(values["steps"], values["seconds"], scores, values["failure"])


def keep_outcome(run: Path, outcome: RunOutcome) -> None:
    """Keep with a run what became of it."""
    values = {
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "failure": outcome.failure,
        "scores": scores_to_json(outcome.scores),
    }
    write_durably(run / OUTCOME_FILE, json.dumps(values, indent=1).encode())


def seconds_of_run(run: Path, config: Config) -> float:
    """Seconds that a run's steps took, however often it was interrupted."""
    images = config.train.batch_size * config.train.accumulation_steps
    return sum(line_seconds(read_metrics(run / METRICS_FILE), images))


def release_memory(config: Config) -> None:
    """Let go of what a training held, on the device as well, and of what it compiled."""
    gc.collect()
    if config.train.compile:
        torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
