"""What the runs of a sweep tell: configurations ranked by their means over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cyclegan_style.benchmarks.several_runs import RunOutcome
from cyclegan_style.benchmarks.sweep_grid import Combination, Grid
from cyclegan_style.runs.best import direction_of_improvement


@dataclass(frozen=True)
class Spread:
    """A score of a configuration over its seeds."""

    mean: float
    deviation: float | None
    """Of the runs (n − 1 in the denominator); None of a single one."""
    runs: int


@dataclass(frozen=True)
class Standing:
    """How a configuration did."""

    name: str
    combination: Combination
    place: int | None
    """1 is the best; None without a score to be ranked by."""
    mean_rank: float | None
    """By all scores; None where one was chosen, and without a place."""
    scores: dict[str, Spread]
    runs: int
    """That have scores."""


@dataclass(frozen=True)
class SweepTable:
    """Everything that is told about a sweep."""

    grid: Grid
    scores: Sequence[str]
    """Such as ``kid_ab``, all with a better and a worse."""
    chosen: str | None
    """The score that ranks; None ranks by the mean of the ranks by all that there are."""
    outcomes: dict[str, RunOutcome] = field(default_factory=dict)
    """By run, of those that are over."""

    @property
    def wanted(self) -> int:
        """Runs that there will have been."""
        return len(self.grid.runs)

    @property
    def finished(self) -> int:
        """Runs that are over."""
        return len(self.outcomes)

    @property
    def failures(self) -> dict[str, str]:
        """Why runs have no scores."""
        return {
            name: outcome.failure
            for name, outcome in self.outcomes.items()
            if outcome.failure is not None
        }

    def score(self, run: str, name: str) -> float | None:
        """A score of a run, if it has it."""
        metric, _, direction = name.rpartition("_")
        if run not in self.outcomes:
            return None
        found = self.outcomes[run].scores.get(direction, {}).get(metric)
        return None if found is None else found.value

    def spread(self, configuration: str, name: str) -> Spread | None:
        """A score of a configuration over its runs that have it."""
        runs = [run.name for run in self.grid.runs if run.configuration == configuration]
        values = [value for run in runs if (value := self.score(run, name)) is not None]
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return Spread(statistics.fmean(values), deviation, len(values))

    def ranking(self) -> list[Standing]:
        """The configurations, best first, and those without scores at the end."""
        spreads = {
            configuration: {
                score: found
                for score in self.scores
                if (found := self.spread(configuration, score))
            }
            for configuration in self.grid.configurations
        }
        keys = self._keys(spreads)
        order = sorted(spreads, key=lambda name: keys.get(name, math.inf))
        return [
            Standing(
                name,
                self.grid.configurations[name],
                1 + sum(key < keys[name] for key in keys.values()) if name in keys else None,
                keys[name] if name in keys and self.chosen is None else None,
                spreads[name],
                max((spread.runs for spread in spreads[name].values()), default=0),
            )
            for name in order
        ]

    def _keys(self, spreads: Mapping[str, Mapping[str, Spread]]) -> dict[str, float]:
        """By what configurations are sorted, less being better."""
        if self.chosen is not None:
            sign = direction_of_improvement(self.chosen)
            return {
                name: -sign * found[self.chosen].mean
                for name, found in spreads.items()
                if self.chosen in found
            }
        scored = {name: found for name, found in spreads.items() if found}
        common = [score for score in self.scores if all(score in of for of in scored.values())]
        if not common:
            return {}
        ranks = [
            ranked({name: found[score].mean for name, found in scored.items()}, score)
            for score in common
        ]
        return {name: statistics.fmean(each[name] for each in ranks) for name in scored}


def ranked(values: Mapping[str, float], score: str) -> dict[str, float]:
    """Ranks from 1, the best, by a score; equal values share the mean of their ranks."""
    sign = direction_of_improvement(score)
    better = {name: sum(sign * o > sign * v for o in values.values()) for name, v in values.items()}
    equal = {name: sum(other == v for other in values.values()) for name, v in values.items()}
    return {name: better[name] + (equal[name] + 1) / 2 for name in values}


def table_to_json(table: SweepTable) -> dict[str, Any]:
    """All that is known, for programs."""
    return {
        "finished": table.finished,
        "runs": table.wanted,
        "failed": table.failures,
        "score": table.chosen,
        "ranking": [asdict(standing) for standing in table.ranking()],
        "scores": {
            run.name: {
                name: value
                for name in table.scores
                if (value := table.score(run.name, name)) is not None
            }
            for run in table.grid.runs
            if run.name in table.outcomes
        },
    }
