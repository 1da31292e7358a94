"""How good recipes' models are on pictures that none of them was trained on."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.config import Config
from cyclegan_style.config.directions import DIRECTIONS, Direction
from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.images import Pixels, to_tensor
from cyclegan_style.data.listing import open_pictures
from cyclegan_style.data.training_data import open_test_domains, spread
from cyclegan_style.evaluation.collect import Read
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.grid import FEWEST_PERIODS, grid_strength
from cyclegan_style.evaluation.health import GRID_PERIOD
from cyclegan_style.evaluation.image_sets import ImageSet
from cyclegan_style.evaluation.intervals import Interval, mean_interval, terms_of_ratio
from cyclegan_style.evaluation.model import Translation, as_rgb
from cyclegan_style.evaluation.paired import gradient_energy, psnr, ssim
from cyclegan_style.evaluation.scores import EvaluationOptions
from cyclegan_style.models.export import MODEL_FOLDER
from cyclegan_style.models.model_files import directions_of
from cyclegan_style.runs.best import direction_of_improvement
from cyclegan_style.synthetic import Domain, demo_folder
from cyclegan_style.training.demo import partners
from cyclegan_style.training.validation import DomainReader, DomainTranslator

SCORES = ("fd_squeezenet", "kid", "swd", "structure", "grid", "psnr", "ssim", "sharpness")
"""In the order of the table; the last three on the demo, whose true translations are known."""
NOTHING, REAL = "doing nothing", "real pictures"
"""What the recipes' scores are held against."""


@dataclass(frozen=True)
class Score:
    """A score, and how far it would move with other pictures of the kind, where that is known."""

    value: float
    interval: Interval | None


Scores = dict[str, dict[str, Score]]
"""By direction and name."""


def sign_of(score: str) -> int:
    """1 for scores of which more is better, -1 if less is, 0 for what is not a quality."""
    return 1 if score == "structure" else direction_of_improvement(f"{score}_")


def scores_to_json(scores: Scores) -> dict[str, Any]:
    """Scores as JSON objects."""
    return {
        direction: {
            name: {"value": score.value, "interval": score.interval}
            for name, score in named.items()
        }
        for direction, named in scores.items()
    }


def scores_from_json(values: Mapping[str, Any]) -> Scores:
    """What ``scores_to_json`` made."""
    return {
        direction: {
            name: Score(score["value"], score["interval"] and tuple(score["interval"]))
            for name, score in named.items()
        }
        for direction, named in values.items()
    }


class Unchanged:
    """The translator that does nothing."""

    def __init__(self, domain: ImageDomain) -> None:
        self.domain = domain

    def read(self, picture: Path) -> Pixels:
        """Pixels of a file with the channels of its domain."""
        return self.domain.read(picture)

    def translate_pixels(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """The pictures themselves."""
        return list(pictures)


class Noting:
    """Reads pictures through another reader and notes what is measured of each."""

    def __init__(self, read: Read, truth: Read | None = None) -> None:
        self.read = read
        self.truth = truth
        """Makes of a picture's path the pixels that its translation should have."""
        self.noted: dict[str, dict[Path, float]] = defaultdict(dict)

    def __call__(self, path: Path) -> Pixels:
        """RGB pixels that the reader makes of a file."""
        pixels = self.read(path)
        if min(pixels.shape[:2]) >= FEWEST_PERIODS * GRID_PERIOD:
            self.note("grid", path, grid_strength(to_tensor(pixels)[None], GRID_PERIOD))
        if self.truth is not None:
            found, wanted = (to_tensor(each)[None] / 2 + 0.5 for each in (pixels, self.truth(path)))
            self.note("psnr", path, psnr(found, wanted))
            self.note("ssim", path, ssim(found, wanted))
            self.note("energy", path, gradient_energy(found))
            self.note("true_energy", path, gradient_energy(wanted))
        return pixels

    def note(self, name: str, path: Path, value: torch.Tensor) -> None:
        """Keep a number of a picture."""
        self.noted[name][path] = value.item()

    def scores(self) -> dict[str, Score]:
        """Means of what was noted; sharpness is a ratio of sums."""
        columns = {
            name: np.array([values[path] for path in sorted(values)])
            for name, values in self.noted.items()
        }
        if "energy" in columns:
            energy, true_energy = columns.pop("energy"), columns.pop("true_energy")
            columns["sharpness"] = terms_of_ratio(energy, true_energy)
        return {
            name: Score(float(values.mean()), mean_interval(values))
            for name, values in columns.items()
            if np.isfinite(values.mean())
        }


class HeldOut:
    """The test pictures of both domains at the size of training, whose real ones are seen once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = PartialState().device
        self.domains = open_test_domains(config)
        self.evaluator = Evaluator(EvaluationOptions(("fd", "kid", "swd")))
        most = config.evaluation.max_images
        self.paths = {name: spread(domain.paths, most) for name, domain in self.domains.items()}
        self.real = {
            name: self.measure(name, self.paths[name], DomainReader(domain))
            for name, domain in self.domains.items()
        }
        # Files that cannot be read were named just now, and are left out from here on.
        self.paths = {
            name: [self.paths[name][index] for index in real.pictures().indices]
            for name, real in self.real.items()
        }
        self.truths = truth_readers(config, self.domains)

    def score_run(self, run: Path) -> Scores:
        """Scores of a run's model in every direction that it translates."""
        held = directions_of(run / MODEL_FOLDER)
        return {
            direction.name: self.score(direction, self.translator(run, direction))
            for direction in DIRECTIONS
            if direction.name in held
        }

    def yardsticks(self) -> dict[str, Scores]:
        """Scores of the pictures as they are, and of real pictures where there are others."""
        unchanged: Scores = {
            direction.name: self.score(direction, Unchanged(self.domains[direction.source]))
            for direction in DIRECTIONS
        }
        real: Scores = {direction.name: self.score_of_real(direction) for direction in DIRECTIONS}
        return {NOTHING: unchanged, REAL: real}

    def translator(self, run: Path, direction: Direction) -> DomainTranslator:
        """A run's model, as it computes for its users."""
        predictor = Predictor.load(run / MODEL_FOLDER, direction.name, self.device)
        return DomainTranslator(self.domains[direction.source], predictor)

    def score(
        self, direction: Direction, translator: DomainTranslator | Unchanged
    ) -> dict[str, Score]:
        """Scores of one direction's translations."""
        translation = Translation(translator, self.evaluator.distances)
        noting = Noting(translation, self.truths.get(direction.name))
        source = direction.source
        fakes = translation.measured(self.measure(source, self.paths[source], noting))
        return self.compare(self.real[direction.target], fakes) | noting.scores()

    def score_of_real(self, direction: Direction) -> dict[str, Score]:
        """Scores of real pictures of the target: as many of training as there are translations.

        Where the test pictures are those of training, one half of them is held against the other:
        fewer pictures, of which a Fréchet distance is larger.
        """
        target = direction.target
        tests = self.paths[target]
        spec = {"a": self.config.data.a, "b": self.config.data.b}[target]
        known = set(self.domains[target].paths)
        trained = self.domains[target].like(open_pictures(str(spec), "train", f"data.{target}"))
        others = [path for path in trained.paths if path not in known]
        reader = Noting(DomainReader(trained if len(others) > 1 else self.domains[target]))
        if len(others) > 1:
            others = spread(others, len(self.paths[direction.source]))
            reals, fakes = self.real[target], self.measure(target, others, reader)
        elif len(tests) > 3:
            reals = self.measure(target, tests[::2], DomainReader(self.domains[target]))
            fakes = self.measure(target, tests[1::2], reader)
        else:
            return {}
        return self.compare(reals, fakes) | reader.scores()

    def compare(self, reals: ImageSet, fakes: ImageSet) -> dict[str, Score]:
        """Scores of a set against real pictures."""
        found = self.evaluator.compare(reals, fakes)
        return {
            name: Score(value, found.intervals.get(name))
            for name, value in found.values.items()
            if name in SCORES
        }

    def measure(self, name: str, paths: Sequence[Path], read: Read) -> ImageSet:
        """Features of some pictures of a domain."""
        domain = self.domains[name]
        return self.evaluator.measure(paths, domain.spec, domain.field, read)

    def examples(
        self, direction: Direction, runs: Mapping[str, Path], count: int
    ) -> list[tuple[str, list[Pixels]]]:
        """Titled columns of a few pictures: as they are, by every run's model, and the truth."""
        paths = spread(self.paths[direction.source], count)
        source = DomainReader(self.domains[direction.source])
        columns = [("input", [source(path) for path in paths])]
        for name, run in runs.items():
            translator = self.translator(run, direction)
            pictures = [translator.translate_pixels([translator.read(path)])[0] for path in paths]
            columns.append((name, [as_rgb(picture) for picture in pictures]))
        if direction.name in self.truths:
            truth = self.truths[direction.name]
            columns.append(("truth", [truth(path) for path in paths]))
        return columns


def truth_readers(config: Config, domains: Mapping[str, ImageDomain]) -> dict[str, Read]:
    """Readers of the true translations of test pictures by direction, on the demo alone."""
    shown = partners(config.data)
    if not shown:
        return {}
    return {
        direction.name: truth_reader(shown[direction.source], domains[direction.target])
        for direction in DIRECTIONS
    }


def truth_reader(source: Domain, target: ImageDomain) -> Callable[[Path], Pixels]:
    """A reader of the true translations of a demo domain's test pictures."""
    folder = demo_folder(source, "truth")
    read = DomainReader(target.like(open_pictures(str(folder))))
    return lambda path: read(folder / path.name)
