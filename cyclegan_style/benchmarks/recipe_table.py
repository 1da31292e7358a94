"""What the runs of several recipes tell: means over seeds, and differences to the first recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cyclegan_style.benchmarks.recipe_scores import (
    SCORES,
    Score,
    Scores,
    scores_to_json,
    sign_of,
)
from cyclegan_style.benchmarks.several_runs import RunOutcome
from cyclegan_style.config import Config
from cyclegan_style.config.directions import DIRECTIONS, Direction
from cyclegan_style.evaluation.intervals import Interval, mean_interval

NOT_APART = "not told apart"


@dataclass(frozen=True)
class Estimate:
    """A score of a recipe."""

    value: float
    interval: Interval | None
    seeds: int
    """How many the interval is over; of one it is that of the score alone."""


@dataclass(frozen=True)
class Difference:
    """How a recipe's score differs from the first's, in pairs of the same seed."""

    value: float
    interval: Interval | None
    verdict: str
    """better, worse or not told apart; nothing where one cannot say."""


@dataclass(frozen=True)
class RecipeTable:
    """Everything that is told about a comparison."""

    recipes: Mapping[str, Config]
    minutes: float
    seeds: int
    yardsticks: Mapping[str, Scores]
    device: str
    outcomes: dict[str, dict[int, RunOutcome]] = field(init=False)
    """By recipe and seed."""

    def __post_init__(self) -> None:
        """Begin without a run."""
        object.__setattr__(self, "outcomes", {name: {} for name in self.recipes})

    @property
    def first(self) -> str:
        """The recipe with which the others are compared."""
        return next(iter(self.recipes))

    @property
    def directions(self) -> list[Direction]:
        """Ways of translating that any of the recipes trains."""
        trained = {each for config in self.recipes.values() for each in config.directions}
        return [direction for direction in DIRECTIONS if direction in trained]

    @property
    def wanted(self) -> int:
        """Runs that there will have been."""
        return self.seeds * len(self.recipes)

    @property
    def finished(self) -> int:
        """Runs that are over."""
        return sum(len(by_seed) for by_seed in self.outcomes.values())

    @property
    def failures(self) -> dict[str, str]:
        """Why runs have no scores, by recipe and seed."""
        return {
            f"{name}, seed {seed}": outcome.failure
            for name, by_seed in self.outcomes.items()
            for seed, outcome in by_seed.items()
            if outcome.failure is not None
        }

    def by_seed(self, recipe: str, direction: str, score: str) -> dict[int, Score]:
        """A score of every run of a recipe that has it."""
        return {
            seed: outcome.scores[direction][score]
            for seed, outcome in self.outcomes[recipe].items()
            if score in outcome.scores.get(direction, {})
        }

    def estimate(self, recipe: str, direction: str, score: str) -> Estimate | None:
        """A score of a recipe over its seeds, None if no run has it."""
        found = list(self.by_seed(recipe, direction, score).values())
        if not found:
            return None
        if len(found) == 1:
            return Estimate(found[0].value, found[0].interval, 1)
        values = np.array([each.value for each in found])
        return Estimate(float(values.mean()), mean_interval(values), len(values))

    def difference(self, recipe: str, direction: str, score: str) -> Difference | None:
        """How far a recipe is from the first, None without a seed that both have."""
        ours, theirs = (self.by_seed(name, direction, score) for name in (recipe, self.first))
        common = sorted(ours.keys() & theirs.keys())
        if not common:
            return None
        return difference_of([ours[seed].value - theirs[seed].value for seed in common], score)

    def scores_shown(self, direction: str) -> list[str]:
        """Scores that a direction has, in the order of the table."""
        runs = [
            outcome.scores for by_seed in self.outcomes.values() for outcome in by_seed.values()
        ]
        everything = [*runs, *self.yardsticks.values()]
        known = {name for scores in everything for name in scores.get(direction, {})}
        return [name for name in SCORES if name in known]


def difference_of(differences: Sequence[float], score: str) -> Difference:
    """The mean of paired differences, with a word for it if there is enough to say."""
    values = np.array(differences)
    interval, sign = mean_interval(values), sign_of(score)
    verdict = ""
    if interval is not None and sign:
        low, high = interval
        verdict = NOT_APART
        if low > 0 or high < 0:
            verdict = "better" if (low > 0) == (sign > 0) else "worse"
    return Difference(float(values.mean()), interval, verdict)


def table_to_json(table: RecipeTable) -> dict[str, Any]:
    """All that is known, for programs."""
    return {
        "minutes": table.minutes,
        "device": table.device,
        "finished": table.finished,
        "runs": table.wanted,
        "failed": table.failures,
        "recipes": {name: recipe_to_json(table, name) for name in table.recipes},
        "yardsticks": {name: scores_to_json(scores) for name, scores in table.yardsticks.items()},
    }


def recipe_to_json(table: RecipeTable, name: str) -> dict[str, Any]:
    """A recipe's runs, its scores and, of all but the first, the differences to that."""
    outcomes = table.outcomes[name]
    names = {each.name: table.scores_shown(each.name) for each in table.directions}
    facts: dict[str, Any] = {
        "steps": [outcomes[seed].steps for seed in sorted(outcomes)],
        "seconds": [outcomes[seed].seconds for seed in sorted(outcomes)],
        "scores": {
            direction: {
                score: asdict(found)
                for score in scores
                if (found := table.estimate(name, direction, score))
            }
            for direction, scores in names.items()
        },
    }
    if name != table.first:
        facts["against_first"] = {
            direction: {
                score: asdict(other)
                for score in scores
                if (other := table.difference(name, direction, score))
            }
            for direction, scores in names.items()
        }
    return facts
