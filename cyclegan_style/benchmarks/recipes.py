"""Recipes that are trained for the same time on the same pictures, one after the other."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator

from cyclegan_style.benchmarks.recipe_report import write_tables
from cyclegan_style.benchmarks.recipe_scores import HeldOut, Scores
from cyclegan_style.benchmarks.recipe_table import RecipeTable
from cyclegan_style.benchmarks.several_runs import (
    RunOutcome,
    claim_folder,
    field_changes,
    keep_outcome,
    read_json,
    read_outcome,
    refuse_changes,
    release_memory,
    seconds_of_run,
)
from cyclegan_style.benchmarks.timing import device_name, seconds_of
from cyclegan_style.config import Config, to_dict
from cyclegan_style.data.sampling import UnpairedDataset
from cyclegan_style.data.training_data import name_domains, open_batches, open_dataset
from cyclegan_style.errors import UserError
from cyclegan_style.runs.origins import place
from cyclegan_style.runs.report import duration
from cyclegan_style.runs.tracking import flatten
from cyclegan_style.system.hardware import build_accelerator, forget_number_format, join_processes
from cyclegan_style.system.processes import say
from cyclegan_style.system.whole_files import write_durably
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.number_format import settled
from cyclegan_style.training.passes import Images
from cyclegan_style.training.trainer import DivergenceError, train

STATE_FILE = "recipes.json"
SPEED_FILE = "speed.json"

OF_THE_PICTURES = (
    "data.a",
    "data.b",
    "data.test_a",
    "data.test_b",
    "data.channels_a",
    "data.channels_b",
    "data.resize",
    "data.crop_size",
    "data.buckets",
    "evaluation.max_images",
)
"""Fields that decide which test pictures are seen, and at which size."""
PAUSES = 10
"""Checkpoints and sheets of samples of a run."""
FIRST_STEPS = 2
"""Those that compile and start workers; they are no measure of the others."""
LEAST_TIMED = 8
TIMED_SHARE, MOST_TIMED_SECONDS = 0.05, 20.0
"""The warm-up goes on for this share of a run's time, but no longer than so many seconds."""


@dataclass(frozen=True)
class Speed:
    """How fast a recipe trains on this machine."""

    start_seconds: float
    """What the first steps take beyond as many others."""
    step_seconds: float
    device: str
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """In which it was timed; earlier versions did not keep it."""

    def steps_within(self, seconds: float) -> int:
        """Steps of a training that takes so long, its start included."""
        return int((seconds - self.start_seconds) / self.step_seconds)


@dataclass(frozen=True)
class Bench:
    """What is compared, for how long and where."""

    recipes: Mapping[str, Config]
    """By name; the others are compared with the first."""
    minutes: float
    seeds: int
    folder: Path


def compare_recipes(bench: Bench) -> RecipeTable:
    """Train and score what has not been yet, and write the tables anew after each seed.

    A request to stop ends this like a run: what there is is saved, and the same call goes on.
    """
    if join_processes().num_processes > 1:
        raise UserError("benchmark recipes: recipes are trained by one process; start only one")
    bench = replace(bench, recipes=refuse_impossible(bench.recipes))
    claim(bench)
    say("scoring the test pictures as they are")
    held_out = HeldOut(next(iter(bench.recipes.values())))
    device = speed_of(bench, next(iter(bench.recipes))).device
    table = RecipeTable(bench.recipes, bench.minutes, bench.seeds, held_out.yardsticks(), device)
    # Seed by seed, so that every recipe has its share of a slow hour, and of an early end.
    for seed in range(bench.seeds):
        for name in bench.recipes:
            outcome = train_and_score(bench, name, seed, held_out)
            if outcome is None:
                return table
            table.outcomes[name][seed] = outcome
            left = duration(60 * bench.minutes * (table.wanted - table.finished))
            say(f"{table.finished} of {table.wanted} runs are finished; {left} of training to go")
        write_tables(bench.folder, table, held_out)
    return table


def refuse_impossible(recipes: Mapping[str, Config]) -> dict[str, Config]:
    """The recipes with their domains spelled out; a UserError if they cannot be compared."""
    named = {}
    for name, config in recipes.items():
        if config.task != "cyclegan":
            raise UserError(
                f"--recipes: {name}: recipes of task cyclegan are compared, not of {config.task}"
            )
        named[name] = name_domains(config)
        try:
            validate(for_run(named[name], Path(), seed=0, steps=1))
        except ConfigError as error:
            raise UserError(f"--recipes: {name}: {error}") from None
    (first, reference), *others = named.items()
    for other, config in others:
        for field in OF_THE_PICTURES:
            was, now = (flatten(to_dict(each))[field] for each in (reference, config))
            if was != now and place(str(was)) != place(str(now)):
                raise UserError(
                    f"--recipes: {first} and {other} differ in {field} ({was} and {now}), so their"
                    f" pictures could not be compared; give --{field} for all of them"
                )
    return named


def for_run(config: Config, run: Path, seed: int, steps: int) -> Config:
    """A recipe as it is trained here: so many steps, few pauses, and scored when it is done."""
    every = math.ceil(steps / PAUSES)
    return replace(
        config,
        run=replace(config.run, dir=str(run), resume="auto"),
        train=replace(config.train, seed=seed, steps=steps, max_steps=None),
        checkpoint=replace(config.checkpoint, every_steps=every),
        evaluation=replace(config.evaluation, every_steps=0, patience=None),
        tracking=replace(config.tracking, sample_every_steps=every),
    )


# What is kept on disk


def claim(bench: Bench) -> None:
    """Hold the folder; a UserError if what it holds was made in another way."""
    now = {name: flatten(to_dict(config)) for name, config in bench.recipes.items()}

    def renewed(before: dict[str, Any] | None) -> dict[str, Any]:
        before = before or {"minutes": bench.minutes, "recipes": {}}
        refuse_changes(bench.folder, "a comparison", differences(before, bench.minutes, now))
        return {"minutes": bench.minutes, "recipes": before["recipes"] | now}

    claim_folder(bench.folder, STATE_FILE, renewed)


def differences(
    before: Mapping[str, Any], minutes: float, now: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What is not as it was; recipes and seeds may join."""
    found = []
    if before["minutes"] != minutes:
        found.append(f"--minutes was {before['minutes']:g} and is now {minutes:g}")
    for name in before["recipes"].keys() & now.keys():
        changes = field_changes(before["recipes"][name], now[name])
        found += [f"{name}: {change}" for change in changes]
    return found


# Training


def train_and_score(bench: Bench, name: str, seed: int, held_out: HeldOut) -> RunOutcome | None:
    """What became of a run, which is trained unless it has been; None if it was asked to stop."""
    run = bench.folder / name / f"seed-{seed}"
    known = read_outcome(run)
    if known is not None:
        return known
    steps = steps_of(bench, name)
    config = for_run(in_the_format_timed(bench, name), run, seed, steps)
    say(f"{name}, seed {seed}: {steps} steps")
    failure: str | None = None
    scores: Scores = {}
    try:
        if train(config).step < steps:
            return None
        release_memory(config)
        scores = held_out.score_run(run)
    except DivergenceError as error:
        failure = str(error)
        say(failure)
    outcome = RunOutcome(steps, seconds_of_run(run, config), scores, failure)
    keep_outcome(run, outcome)
    return outcome


def in_the_format_timed(bench: Bench, name: str) -> Config:
    """A recipe with the number format in which its steps were timed."""
    recipe = bench.recipes[name]
    precision = speed_of(bench, name).mixed_precision
    if recipe.train.mixed_precision != "auto":
        return recipe
    return replace(recipe, train=replace(recipe.train, mixed_precision=precision))


def steps_of(bench: Bench, name: str) -> int:
    """Steps that a recipe takes in the minutes, by its speed when it was first measured."""
    speed = speed_of(bench, name)
    steps = speed.steps_within(60 * bench.minutes)
    if steps < 1:
        raise UserError(
            f"--minutes {bench.minutes:g}: {name} takes {speed.start_seconds:.1f} s to begin and"
            f" {speed.step_seconds:.2g} s for each step; choose another --output and give more"
        )
    return steps


def speed_of(bench: Bench, name: str) -> Speed:
    """How fast a recipe trains, measured once for all its seeds and kept beside its runs."""
    path = bench.folder / name / SPEED_FILE
    known = read_json(path)
    if known is not None:
        return Speed(**known)
    say(f"{name}: timing its steps")
    forget_number_format()
    speed = measure_speed(bench.recipes[name], bench.minutes)
    release_memory(bench.recipes[name])
    path.parent.mkdir(exist_ok=True)
    write_durably(path, json.dumps(asdict(speed), indent=1).encode())
    return speed


def measure_speed(config: Config, minutes: float) -> Speed:
    """Time a few steps of a recipe whose weights are then thrown away."""
    config = settled(config)
    precision = config.train.mixed_precision
    accelerator = build_accelerator(config, precision)
    step = CycleGanStep(config, accelerator)
    dataset = open_dataset(config, accelerator)
    batches = training_batches(config, accelerator, dataset)
    accumulated = config.train.accumulation_steps

    def take_steps(number: int) -> None:
        for _ in range(number):
            step.run(list(islice(batches, accumulated)))

    first = seconds_of(lambda: take_steps(FIRST_STEPS))
    wanted = min(TIMED_SHARE * 60 * minutes, MOST_TIMED_SECONDS)
    seconds, taken = 0.0, 0
    while taken < LEAST_TIMED or seconds < wanted:
        seconds += seconds_of(lambda: take_steps(LEAST_TIMED))
        taken += LEAST_TIMED
    step_seconds = seconds / taken
    return Speed(
        max(0.0, first - FIRST_STEPS * step_seconds), step_seconds, device_name(), precision
    )


def training_batches(
    config: Config, accelerator: Accelerator, dataset: UnpairedDataset
) -> Iterator[Images]:
    """Batches as training sees them, epoch after epoch."""
    sampler, loader = open_batches(config, accelerator, dataset)
    for epoch in count():
        sampler.set_position(epoch, 0)
        yield from loader
