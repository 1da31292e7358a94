"""Scores along the way, and the models that were the best by them."""

from dataclasses import fields
from functools import cached_property
from pathlib import Path

from accelerate import Accelerator

from cyclegan_style.config import Config, to_yaml
from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.evaluation.scores import definition_for, named_by
from cyclegan_style.runs.best import BestScores, direction_of_improvement, keep_best_model
from cyclegan_style.runs.checkpoint import chance_untouched
from cyclegan_style.system.hardware import format_of
from cyclegan_style.system.processes import on_main_process
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.demo import (
    Score,
    Scores,
    flat_scores,
    known_translations,
    partners,
    score_baselines,
    score_model,
)
from cyclegan_style.training.validation import Validation

RAW = "_raw"
"""What follows the names of the scores of weights that are not averaged; none is ever the best."""


def ranked_scores(config: Config) -> list[str]:
    """Names of the scores by which a run's best models are chosen, such as ``kid_ab``."""
    metrics: list[str] = []
    if partners(config.data):
        metrics += [field.name for field in fields(Score)]
    evaluation = config.evaluation
    if evaluation.every_steps:
        definition = definition_for(evaluation.metrics, evaluation.definition)
        for metric in named_by(definition, evaluation.metrics):
            metrics += ["precision", "recall"] if metric == "precision_recall" else [metric]
    names = [f"{metric}_{name}" for metric in metrics for name in config.generator_names]
    return [name for name in names if direction_of_improvement(name)]


class Scoring:
    """Scores generators on the test pictures and remembers the best."""

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        run: Path,
        test_domains: dict[str, ImageDomain],
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.run = run
        self.known = known_translations(config.data, config.directions)
        self.validation = (
            Validation(
                config, test_domains, accelerator.device, format_of(accelerator.mixed_precision)
            )
            if config.evaluation.every_steps
            else None
        )
        self.best = BestScores({} if self.validation is None else self.validation.made_by())
        self.against_truth: Scores = {}

    def evaluate(self, generators: Generators, raw: Generators) -> dict[str, float]:
        """Score the test pictures' translations, without a trace in what is trained.

        ``raw`` generators are those of which the others are the average, or the same.
        """
        with chance_untouched():
            if self.accelerator.is_main_process:
                self.compare_with_truth(generators)
            values = self._values(generators, self.against_truth)
            if self.config.evaluation.raw_weights and raw is not generators:
                truth = self._against_truth(raw) if self.accelerator.is_main_process else {}
                raw_values = self._values(raw, truth)
                values |= {f"{name}{RAW}": value for name, value in raw_values.items()}
        return on_main_process(lambda: values)

    def _values(self, generators: Generators, against_truth: Scores) -> dict[str, float]:
        """Every score by its name."""
        values = flat_scores(against_truth)
        if self.validation is not None:
            values |= self.validation.scores(generators)
        return values

    def compare_with_truth(self, generators: Generators) -> None:
        """Score the translations whose truth is known, beside what is simpler than a network."""
        self.against_truth = self._against_truth(generators)

    def _against_truth(self, generators: Generators) -> Scores:
        return {
            known.direction.name: {
                "model": score_model(generators, known),
                **self.baselines[known.direction.name],
            }
            for known in self.known
        }

    @cached_property
    def baselines(self) -> Scores:
        """Scores of what learns nothing, which stay as they are while the model is trained."""
        return {known.direction.name: score_baselines(known) for known in self.known}

    def keep_best(self, step: int, scores: dict[str, float], generators: Generators) -> None:
        """Keep the model for each score that is the best so far."""
        names = self.best.update(step, scores)
        if self.accelerator.is_main_process:
            for name in names:
                keep_best_model(
                    self.run, name, self.best.best[name], generators, to_yaml(self.config)
                )
