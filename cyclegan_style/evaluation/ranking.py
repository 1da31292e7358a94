"""Several sets of fakes of the same source pictures, ranked, with intervals of the differences.

Scores of models on the same pictures move together, so the interval of a difference is narrower
than those of the two scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.folders import (
    WITH_INTERVALS,
    EvaluationOptions,
    Evaluator,
    ImageSet,
    warn_of_few,
)
from cyclegan_style.evaluation.intervals import Interval, Kept, jackknife_interval


@dataclass(frozen=True)
class Rank:
    """One set of fakes in a ranking."""

    fake: str
    value: float
    behind: float
    """How much worse than the best."""
    interval: Interval | None
    """95 % interval of that; if it holds 0, the two cannot be told apart."""


@dataclass(frozen=True)
class Ranking:
    """Sets of fakes, best first."""

    metric: str
    ranks: list[Rank]
    n_real: int | None
    n_fake: int
    definition: str
    weights: str | None

    def to_dict(self) -> dict[str, Any]:
        """The ranking as one JSON object."""
        ranks = [
            {
                "fake": rank.fake,
                self.metric: rank.value,
                "behind": rank.behind,
                "behind_interval": rank.interval and list(rank.interval),
            }
            for rank in self.ranks
        ]
        facts = {"ranking": ranks, "n_real": self.n_real, "n_fake": self.n_fake}
        weights = {} if self.weights is None else {"weights": self.weights}
        return facts | {"definition": self.definition} | weights


def rank_folders(real: str, fakes: Sequence[str], options: EvaluationOptions) -> Ranking:
    """Rank folders by one metric, less being better; they show the same pictures in order."""
    if len(options.metrics) != 1 or options.metrics[0] not in WITH_INTERVALS:
        raise UserError(f"--metrics: a ranking is by one of {', '.join(WITH_INTERVALS)}")
    evaluator = Evaluator(options)
    reference = evaluator.load(real, "--real")
    sets = [evaluator.load(fake, "--fake") for fake in fakes]
    counts = {one.spec: len(one.pictures()) for one in sets}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{spec} has {count}" for spec, count in counts.items())
        raise UserError(f"--fake: a ranking needs the same pictures of each: {told}")
    metric = options.metrics[0]
    scored = sorted(
        ((evaluator.value(metric, reference, one), one) for one in sets), key=lambda pair: pair[0]
    )
    best_value, best = scored[0]
    ranks = [
        Rank(
            one.spec,
            value,
            value - best_value,
            None if one is best else _interval(evaluator, reference, one, best, value - best_value),
        )
        for value, one in scored
    ]
    first = evaluator.compare(reference, best)
    warn_of_few(first)
    return Ranking(
        metric, ranks, reference.count, len(best.pictures()), first.definition, first.weights
    )


def _interval(
    evaluator: Evaluator, real: ImageSet, one: ImageSet, best: ImageSet, difference: float
) -> Interval | None:
    if real.collected is None:
        return None
    metric = evaluator.options.metrics[0]

    def behind(i: Kept, j: Kept) -> float:
        values = [evaluator.value_of_part(metric, real, fake, i, j) for fake in (one, best)]
        return values[0] - values[1]

    return jackknife_interval(difference, behind, len(real.pictures()), len(one.pictures()))
