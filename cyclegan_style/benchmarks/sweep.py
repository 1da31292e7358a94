"""Runs over a grid of values, one after the other or several at once, and how they did."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cyclegan_style.benchmarks.recipe_scores import Score, Scores
from cyclegan_style.benchmarks.several_runs import (
    RunOutcome,
    State,
    claim_folder,
    field_changes,
    keep_outcome,
    read_outcome,
    refuse_changes,
    release_memory,
    seconds_of_run,
)
from cyclegan_style.benchmarks.sweep_grid import Grid, SweepRun
from cyclegan_style.benchmarks.sweep_processes import Ended, train_in_processes
from cyclegan_style.benchmarks.sweep_report import write_tables
from cyclegan_style.benchmarks.sweep_table import SweepTable
from cyclegan_style.config import Config, to_dict
from cyclegan_style.data.training_data import name_domains
from cyclegan_style.errors import UserError
from cyclegan_style.runs.listing import newest_facts
from cyclegan_style.runs.tracking import METRICS_FILE, flatten, read_metrics
from cyclegan_style.system.hardware import refuse_precision
from cyclegan_style.system.processes import say
from cyclegan_style.training.config_checks import validate
from cyclegan_style.training.convolutions import refuse_convolutions
from cyclegan_style.training.demo import flat_scores
from cyclegan_style.training.scoring import ranked_scores
from cyclegan_style.training.trainer import DivergenceError, train

STATE_FILE = "sweep.json"


@dataclass(frozen=True)
class Sweep:
    """What is trained, by which score it is ranked, and where."""

    grid: Grid
    folder: Path
    score: str | None = None
    """None ranks by the mean of the ranks by each score that chooses best models."""
    parallel: int = 1
    """Runs at once."""


def run_sweep(sweep: Sweep) -> SweepTable:
    """Train what has not been yet, and write the tables anew after each run.

    A request to stop ends this like a run: what there is is saved, and the same call goes on.
    """
    refuse_launcher(sweep.parallel)
    scores = scores_of(sweep.grid, sweep.score)
    refuse_impossible(sweep.grid)
    claim(sweep)
    table = SweepTable(sweep.grid, scores, sweep.score)
    left = []
    for run in sweep.grid.runs:
        known = read_outcome(sweep.folder / run.name)
        if known is None:
            left.append(run)
        else:
            table.outcomes[run.name] = known
    say(f"{len(left)} of {table.wanted} runs to train in {sweep.folder}")
    ended = one_by_one(sweep, left) if sweep.parallel == 1 else at_once(sweep, left)
    for run, outcome in ended:
        table.outcomes[run.name] = outcome
        say(progress(table, run, outcome))
        write_tables(sweep.folder, table)
    if not left:
        write_tables(sweep.folder, table)  # which may be ranked by another score than before
    if len(table.outcomes) < table.wanted:
        say(
            f"stopped: {table.finished} of {table.wanted} runs are over; run the same command"
            " again to go on"
        )
    return table


def progress(table: SweepTable, run: SweepRun, outcome: RunOutcome) -> str:
    """What there is to say when a run is over."""
    became = outcome.failure or f"finished after {outcome.steps} steps"
    standing = f"{table.finished} of {table.wanted} runs are over"
    best = table.ranking()[0]
    leads = f"; {best.name} leads" if best.name and best.place else ""
    return f"{run.name}: {became}; {standing}{leads}"


# What cannot be


def refuse_launcher(parallel: int) -> None:
    """Raise a UserError in one of several processes: each run is trained by one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or (parallel > 1 and "WORLD_SIZE" in os.environ):
        raise UserError("sweep: start it without a launcher; --parallel N trains N runs at once")


def scores_of(grid: Grid, chosen: str | None) -> list[str]:
    """Names of the scores that the runs will have; a UserError without any, or the chosen one."""
    known = list(dict.fromkeys(name for run in grid.runs for name in ranked_scores(run.config)))
    if not known:
        raise UserError(
            "sweep: these runs would have no score to rank them by; add --evaluation.every_steps,"
            " such as 1000, with a metric such as swd in evaluation.metrics"
        )
    if chosen is not None and chosen not in known:
        raise UserError(f"--score: not {chosen}, but one of {', '.join(known)}")
    return known


def refuse_impossible(grid: Grid) -> None:
    """Raise a UserError that names the first combination that cannot be trained."""
    names: set[str] = set()
    for run in grid.runs:
        try:
            validate(name_domains(run.config))
            refuse_precision(run.config.train)
            refuse_convolutions(run.config.train)
        except UserError as error:
            raise UserError(f"{run.name}: {error}") from None
        names.add(run.name)
    if len(names) < len(grid.runs):
        raise UserError("sweep: two runs would have the same folder; choose other values")


def claim(sweep: Sweep) -> None:
    """Hold the folder; a UserError if it holds a sweep of another base. Values may join."""
    swept = list(sweep.grid.values)
    base = {
        name: value
        for name, value in flatten(to_dict(sweep.grid.base)).items()
        if name not in swept and not name.startswith("run.")
    }

    def renewed(before: State | None) -> State:
        refuse_changes(sweep.folder, "a sweep", changes(before, swept, base) if before else [])
        return {"swept": swept, "base": base}

    claim_folder(sweep.folder, STATE_FILE, renewed)


def changes(before: State, swept: list[str], base: Mapping[str, Any]) -> list[str]:
    """What is not as it was; a comma after a single value keeps its field in the grid."""
    if before["swept"] == swept:
        return field_changes(before["base"], base)
    was, now = (", ".join(fields) for fields in (before["swept"], swept))
    return [f"it was over {was} and is now over {now}; of a single value, write a comma after it"]


# Training


def one_by_one(sweep: Sweep, runs: Iterable[SweepRun]) -> Iterable[tuple[SweepRun, RunOutcome]]:
    """Train runs in this process until one is asked to stop."""
    for run in runs:
        say(f"{run.name}: begins")
        config = in_folder(run, sweep.folder)
        try:
            result = train(config)
        except DivergenceError as error:
            yield run, keep(sweep, run, {}, str(error))
            continue
        finally:
            release_memory(config)
        if not is_finished(result.run):
            return
        yield run, keep(sweep, run, flat_scores(result.scores), None)


def at_once(sweep: Sweep, runs: Iterable[SweepRun]) -> Iterable[tuple[SweepRun, RunOutcome]]:
    """Train runs in processes of their own until they are asked to stop."""
    by_name = {run.name: run for run in runs}
    configs = {name: in_folder(run, sweep.folder) for name, run in by_name.items()}
    for ended in train_in_processes(configs, sweep.folder, sweep.parallel):
        run = by_name[ended.name]
        if ended.result is not None and is_finished(sweep.folder / run.name):
            yield run, keep(sweep, run, truth_of(ended), None)
        elif ended.diverged:
            yield run, keep(sweep, run, {}, ended.failure)
        elif ended.failure is not None:  # which another try may get over, so that it is not kept
            yield run, RunOutcome(0, 0.0, {}, ended.failure)


def in_folder(run: SweepRun, folder: Path) -> Config:
    """A run's configuration with its folder, in which it goes on if it has begun."""
    config = run.config
    return replace(config, run=replace(config.run, dir=str(folder / run.name), resume="auto"))


def is_finished(run: Path) -> bool:
    """Whether a run has taken its last step."""
    facts = newest_facts(run)
    return bool(facts) and facts["step"] >= facts["total_steps"]


def truth_of(ended: Ended) -> dict[str, float]:
    """Scores against the truth, where it is known, as ``train --json`` tells them."""
    scores = (ended.result or {}).get("scores", {})
    return {
        f"{name}_{direction}": value
        for direction, methods in scores.items()
        for name, value in methods["model"].items()
    }


def keep(
    sweep: Sweep, run: SweepRun, against_truth: Mapping[str, float], failure: str | None
) -> RunOutcome:
    """Keep what became of a run; its scores are those of its last step."""
    folder = sweep.folder / run.name
    rows = read_metrics(folder / METRICS_FILE)
    last = rows[-1] if rows else {}
    found: Scores = {}
    for name in ranked_scores(run.config) if failure is None else []:
        value = last.get(name, against_truth.get(name))
        if value is not None:
            metric, _, direction = name.rpartition("_")
            found.setdefault(direction, {})[metric] = Score(value, None)
    outcome = RunOutcome(
        int(last.get("step", 0)), seconds_of_run(folder, run.config), found, failure
    )
    keep_outcome(folder, outcome)
    return outcome
