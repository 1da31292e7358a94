"""Scores of the generators on fixed test pictures while they are trained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.config import Config
from cyclegan_style.config.directions import Direction
from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.images import Pixels
from cyclegan_style.data.training_data import in_numbers, spread
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.image_sets import ImageSet
from cyclegan_style.evaluation.model import Translation, as_rgb
from cyclegan_style.evaluation.scores import METRICS, OF_TRANSLATIONS, EvaluationOptions
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks import build_generator
from cyclegan_style.system.hardware import known_format
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.noise import MADE, painter_of

METRICS_WITHOUT_CURVE = ("kid_std",)


class Validation:
    """The test pictures of both domains, and what the real ones look like to the metrics."""

    def __init__(
        self,
        config: Config,
        domains: dict[str, ImageDomain],
        device: torch.device,
        trained_in: torch.dtype = torch.float32,
    ) -> None:
        evaluation = config.evaluation
        self.config = config
        self.domains = domains
        self.device = device
        # On a CPU that of training, which all processes have and a run keeps; scores are compared.
        self.dtype = known_format(device.type) or trained_in
        options = EvaluationOptions(
            evaluation.metrics,
            evaluation.definition,
            path_or_none(evaluation.weights),
            path_or_none(evaluation.lpips_weights),
            intervals=False,
            definition_field="evaluation.definition",
            weights_field="evaluation.weights",
            lpips_weights_field="evaluation.lpips_weights",
        )
        self.evaluator = Evaluator(options, METRICS + OF_TRANSLATIONS)
        self.paths = {
            name: spread(domain.paths, evaluation.max_images) for name, domain in domains.items()
        }
        self.real = {
            name: self._measure(name, DomainReader(domains[name], config.shown_channels[name]))
            for name in config.made_domains
        }

    def scores(self, generators: Generators) -> dict[str, float]:
        """Every metric of every direction, such as ``fid_ab``; all processes take part."""
        if self.config.task == "noise":
            return self._scores_of_noise(generators)
        values: dict[str, float] = {}
        for direction in generators.directions:
            predictor = self._predictor(generators[direction.name], direction)
            translator = DomainTranslator(self.domains[direction.source], predictor)
            channels = [self.config.shown_channels[name] for name in direction[1:3]]
            translation = Translation(translator, self.evaluator.distances, *channels)
            fake = translation.measured(self._measure(direction.source, translation))
            values |= self._compared(direction.target, fake, direction.name)
        return values

    def _scores_of_noise(self, generators: Generators) -> dict[str, float]:
        """Scores of as many pictures out of noise, the same each time, as there are test ones."""
        painter = painter_of(generators, self.config, self.device)
        count = len(self.paths[MADE])
        pictures = dict(enumerate(painter.numbered(range(count))))
        names = [Path(str(number)) for number in pictures]
        made = self.evaluator.measure(
            names, "task noise", "data.b", lambda name: as_rgb(pictures[int(name.name)])
        )
        return self._compared(MADE, made, MADE)

    def _compared(self, domain: str, fake: ImageSet, name: str) -> dict[str, float]:
        """Every metric of pictures like those of a domain, under what they are called."""
        scores = self.evaluator.compare(self.real[domain], fake).values
        return {
            f"{metric}_{name}": value
            for metric, value in scores.items()
            if metric not in METRICS_WITHOUT_CURVE
        }

    def made_by(self) -> dict[str, str | int | None]:
        """What scores must share to be compared with each other."""
        return {
            "definition": self.evaluator.definition.name,
            "weights": self.evaluator.weights,
            "lpips_weights": self.evaluator.distances.lpips_weights,
            **{f"images_{name}": len(paths) for name, paths in self.paths.items()},
            **{f"domain_{name}": domain.spec for name, domain in self.domains.items()},
        }

    def _measure(self, name: str, read: "DomainReader | Translation") -> ImageSet:
        domain = self.domains[name]
        return self.evaluator.measure(self.paths[name], domain.spec, domain.field, read)

    def _predictor(self, generator: nn.Module, direction: Direction) -> Predictor:
        """A copy of the generator with the layers that its users will have."""
        channels = self.config.data.channels
        in_channels, out_channels = channels[direction.source], channels[direction.target]
        network = build_generator(self.config.generator, in_channels, out_channels)
        network.load_state_dict(generator.state_dict())
        loaded = LoadedGenerator(
            *(network, self.config.generator, in_channels, out_channels, direction.name),
            in_range=in_numbers(self.config.data.ranges[direction.source]),
            out_range=in_numbers(self.config.data.ranges[direction.target]),
        )
        return Predictor(loaded, self.device, self.dtype)


class DomainReader:
    """Reads test pictures at the size of the samples, for metrics that want RGB."""

    def __init__(self, domain: ImageDomain, channels: Sequence[int] | None = None) -> None:
        self.domain = domain
        self.channels = channels

    def __call__(self, path: Path) -> Pixels:
        """RGB pixels of a file, or those that are shown of its channels."""
        return as_rgb(self.domain.read(path), self.channels)


class DomainTranslator:
    """Translates test pictures at the size of the samples."""

    def __init__(self, domain: ImageDomain, predictor: Predictor) -> None:
        self.domain = domain
        self.predictor = predictor

    def read(self, picture: Path) -> Pixels:
        """Pixels of a file with the channels of its domain."""
        return self.domain.read(picture)

    def translate_pixels(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Translations of the same sizes."""
        return self.predictor.translate_pixels(pictures)


def path_or_none(path: str | None) -> Path | None:
    """A path as a Path."""
    return None if path is None else Path(path)
