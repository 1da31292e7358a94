"""Several sets of fakes of the same source pictures, ranked, with intervals of the differences.

Scores of models on the same pictures move together, so the interval of a difference is narrower
than those of the two scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyclegan_style.config.directions import DIRECTIONS
from cyclegan_style.data.images import ImageError
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.image_sets import ImageSet, errors_of
from cyclegan_style.evaluation.intervals import Interval, Kept
from cyclegan_style.evaluation.model import Translator, translated
from cyclegan_style.evaluation.scores import (
    OF_TRANSLATIONS,
    Circumstances,
    EvaluationOptions,
    warn_of_few,
)

RANKING_METRICS = ("fid", "fd", "kid", "swd")
"""Of which less is better and whose intervals are known."""


@dataclass(frozen=True)
class Rank:
    """One set of fakes in a ranking."""

    name: str
    value: float
    behind: float
    """How much worse than the best."""
    interval: Interval | None
    """95 % interval of that; if it holds 0, the two cannot be told apart."""


@dataclass(frozen=True)
class Ranking:
    """Sets of fakes, best first."""

    metric: str
    what: str
    """What is ranked: fake or model."""
    ranks: list[Rank]
    circumstances: Circumstances
    failed: list[ImageError]

    def to_dict(self) -> dict[str, Any]:
        """The ranking as one JSON object."""
        ranks = [
            {
                self.what: rank.name,
                self.metric: rank.value,
                "behind": rank.behind,
                "behind_interval": rank.interval and list(rank.interval),
            }
            for rank in self.ranks
        ]
        failed = [{"path": str(error.path), "error": error.reason} for error in self.failed]
        return {"ranking": ranks} | self.circumstances.to_dict() | {"failed": failed}


def rank_folders(real: str, fakes: Sequence[str], options: EvaluationOptions) -> Ranking:
    """Rank folders by one metric; they show the same pictures in order."""
    evaluator = _evaluator(options, RANKING_METRICS, fakes, "--fake")
    reference = evaluator.load(real, "--real")
    sets = {fake: evaluator.load(fake, "--fake") for fake in fakes}
    return rank(evaluator, reference, sets, "fake")


def rank_models(
    models: Mapping[str, Mapping[str, Translator]], a: str, b: str, options: EvaluationOptions
) -> dict[str, Ranking]:
    """Rank models, each with its translators by direction, in every direction that all have."""
    known = RANKING_METRICS + OF_TRANSLATIONS
    evaluator = _evaluator(options, known, list(models), "--compare")
    specs = {"a": a, "b": b}
    rankings: dict[str, Ranking] = {}
    for name, source, target, _ in DIRECTIONS:
        if not all(name in translators for translators in models.values()):
            continue
        reference = evaluator.load(specs[target], f"--{target}")
        sets = {
            model: translated(evaluator, translators[name], specs[source], f"--{source}")
            for model, translators in models.items()
        }
        rankings[name] = rank(evaluator, reference, sets, "model")
    if not rankings:
        raise UserError("--compare: no direction is translated by all of these models")
    return rankings


def rank(evaluator: Evaluator, real: ImageSet, fakes: Mapping[str, ImageSet], what: str) -> Ranking:
    """Rank sets of fakes by the evaluator's one metric, less being better."""
    pictures = {name: one.pictures().indices for name, one in fakes.items()}
    if any(indices != next(iter(pictures.values())) for indices in pictures.values()):
        told = ", ".join(f"{name} has {len(indices)}" for name, indices in pictures.items())
        raise UserError(f"a ranking needs the same pictures of each {what}: {told}")
    (metric,) = evaluator.metrics
    compared = {name: evaluator.comparison(real, one) for name, one in fakes.items()}
    values = {name: comparison.value(metric) for name, comparison in compared.items()}
    order = sorted(values, key=values.__getitem__)
    best = order[0]

    def behind(name: str) -> Rank:
        difference = values[name] - values[best]
        if name == best or not evaluator.options.intervals:
            return Rank(name, values[name], difference, None)

        def of_part(i: Kept, j: Kept) -> float:
            one, other = (compared[each].value_of_part(metric, i, j) for each in (name, best))
            return one - other

        return Rank(name, values[name], difference, compared[name].interval(difference, of_part))

    circumstances = evaluator.circumstances(real, fakes[best])
    warn_of_few([metric], circumstances)
    failed = errors_of(real, fakes[best])
    return Ranking(metric, what, [behind(name) for name in order], circumstances, failed)


def _evaluator(
    options: EvaluationOptions, known: Sequence[str], names: Sequence[str], option: str
) -> Evaluator:
    if len(options.metrics) != 1 or options.metrics[0] not in known:
        raise UserError(f"--metrics: a ranking is by one of {', '.join(known)}")
    if len(set(names)) != len(names) or len(names) < 2:
        raise UserError(f"{option}: a ranking is of two different ones or more")
    return Evaluator(options, known)
