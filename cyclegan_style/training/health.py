"""Whether training goes well, measured on a few pictures that stay the same throughout a run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from cyclegan_style.config import Config
from cyclegan_style.config.directions import Direction
from cyclegan_style.data.domains import ImageDomain, enlarged
from cyclegan_style.data.images import to_tensor
from cyclegan_style.data.sampling import UnpairedDataset
from cyclegan_style.data.shapes import load_sizes
from cyclegan_style.data.training_data import spread
from cyclegan_style.evaluation import health
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.runs.best import BestScores
from cyclegan_style.runs.checkpoint import chance_untouched
from cyclegan_style.runs.health import PREFIX
from cyclegan_style.system.processes import on_main_process
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.discriminators import Discriminators
from cyclegan_style.training.noise import MADE, painter_of
from cyclegan_style.training.progress import Progress
from cyclegan_style.training.samples import translate_each

JUDGED = 16
"""Test pictures, and training pictures, of each domain that are judged. Every second of the tests
is translated, and every second of those is translated back."""
FEWEST_TRAINED, FEWEST_HELD_OUT = 4, 8
"""Of fewer pictures, all of one kind are often by chance before all of the other."""
FEWEST_EVALUATIONS = 6
"""A run of fewer ends before it could tell that scores have stopped getting better."""

Values = dict[str, float]


class Health:
    """Measures what shows that training goes wrong; the names are those of ``runs.health``."""

    def __init__(
        self,
        config: Config,
        dataset: UnpairedDataset,
        test_domains: Mapping[str, ImageDomain],
        progress: Progress,
        best: BestScores,
    ) -> None:
        self.config = config
        self.trained = dataset.domains
        sizes = list(load_sizes(config.data, size_divisor(config.generator)))
        self.test_domains = {
            name: ImageDomain(
                *(domain.spec, domain.field, domain.pictures),
                *(domain.channels, domain.resize, sizes),
            )
            for name, domain in test_domains.items()
        }
        self.progress = progress
        self.best = best

    def measure(self, generators: Generators, discriminators: Discriminators | None) -> Values:
        """All numbers of now, on every process, without a trace in what is trained."""
        return on_main_process(lambda: self._measure(generators, discriminators))

    @torch.no_grad()
    def _measure(self, generators: Generators, discriminators: Discriminators | None) -> Values:
        values = self.of_scores()
        if not self.config.loss.adversarial_weight:
            discriminators = None  # which learn nothing
        with chance_untouched(), at_rest(discriminators):
            torch.manual_seed(self.config.train.seed)  # the same noise each time
            for direction in generators.directions:
                fakes = translated(generators[direction.name], self.tests[direction.source][::2])
                values |= self.of_translations(direction, fakes)
                if direction.reverse in generators:
                    values |= self.of_way_back(direction, fakes, generators[direction.reverse])
                if discriminators is not None:
                    values |= self.of_verdicts(direction.target, fakes, discriminators)
            if self.config.task == "noise" and discriminators is not None:
                values |= self.of_noise(generators, discriminators)
        return {PREFIX + name: value for name, value in values.items() if math.isfinite(value)}

    def of_translations(self, direction: Direction, fakes: Tensor) -> Values:
        """Numbers of one direction's translations.

        What a painting does to brightness, variety and single places is its style.
        """
        inputs, targets = self.tests[direction.source][::2], self.tests[direction.target][::2]
        values = {
            "change": health.change(inputs, fakes, targets),
            "grid": health.grid(fakes, targets),
        }
        if self.config.task == "cyclegan":
            values |= {
                "variety": health.variety(inputs, fakes, targets),
                "brightness": health.brightness_order(inputs, fakes),
                "spots": health.spots(inputs, fakes, targets),
            }
        return {f"{name}_{direction.name}": value for name, value in values.items()}

    def of_noise(self, generators: Generators, discriminators: Discriminators) -> Values:
        """Numbers of pictures out of noise, half as many as the test pictures."""
        device = next(discriminators.parameters()).device
        tests = self.tests[MADE]
        numbers = range(len(tests[::2]))
        painter = painter_of(generators, self.config, device)
        made = torch.stack([to_tensor(each) for each in painter.numbered(numbers)])
        diverse = {f"diversity_{MADE}": health.variety(tests, made, tests)}
        return diverse | self.of_verdicts(MADE, made, discriminators)

    def of_way_back(self, direction: Direction, fakes: Tensor, way_back: nn.Module) -> Values:
        """What every second translation hides, by noise on the way back."""
        inputs = self.tests[direction.source][::2][::2]
        noise = health.NOISE * torch.randn_like(fakes[::2])
        back, from_noisy = (translated(way_back, fakes[::2] + each) for each in (0.0, noise))
        return {f"hidden_{direction.name}": health.hidden(inputs, back, from_noisy, noise)}

    def of_verdicts(self, domain: str, fakes: Tensor, discriminators: Discriminators) -> Values:
        """Numbers of one discriminator, each the mean over PatchGAN and heads."""
        of_fakes = verdicts(discriminators, domain, fakes)
        of_tests = verdicts(discriminators, domain, self.tests[domain])
        both = list(zip(of_tests, of_fakes, strict=True))
        values = {
            "separation": mean([health.preference(*pair) for pair in both]),
            "spread": mean([float(torch.cat(pair).std()) for pair in both]),
        }
        known, held_out = self.known[domain], self.held_out[domain]
        if len(known) >= FEWEST_TRAINED and len(held_out) >= FEWEST_HELD_OUT:
            both = list(zip(verdicts(discriminators, domain, known), of_tests, strict=True))
            values["memorised"] = mean(
                [health.preference(a.mean(1), b[held_out].mean(1)) for a, b in both]
            )
        return {f"{name}_{domain}": value for name, value in values.items()}

    def of_scores(self) -> Values:
        """For how long no score was the best so far, if scores are made and can tell."""
        every, total = self.config.evaluation.every_steps, self.progress.total_steps
        if not every or total < FEWEST_EVALUATIONS * every:
            return {}
        return {"stale": self.best.evaluations_without * every / total}

    @cached_property
    def tests(self) -> dict[str, Tensor]:
        """Test pictures, by domain."""
        return {name: self._pictures(tests) for name, tests in self.test_domains.items()}

    @cached_property
    def known(self) -> dict[str, Tensor]:
        """Training pictures, by domain."""
        return {name: self._pictures(trained) for name, trained in self.trained.items()}

    @cached_property
    def held_out(self) -> dict[str, list[int]]:
        """Which of the test pictures are not trained on, by domain."""
        found = {}
        for name, tests in self.test_domains.items():
            trained = self.trained[name].paths
            paths = [tests.paths[place] for place in places(tests)]
            found[name] = [place for place, path in enumerate(paths) if path not in trained]
        return found

    def _pictures(self, domain: ImageDomain) -> Tensor:
        """Some pictures of a domain as training sees them, but always their centre."""
        height, width = self.config.data.crop
        crops = []
        for place in places(domain):
            pixels = enlarged(domain.pixels(place), (height, width))
            top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
            crops.append(to_tensor(pixels[top : top + height, left : left + width]))
        return torch.stack(crops)


def places(domain: ImageDomain) -> list[int]:
    """Where the pictures that are judged lie in their domain."""
    return spread(range(len(domain)), JUDGED)


def translated(network: nn.Module, pictures: Tensor) -> Tensor:
    """Outputs for pictures of one size."""
    return torch.stack(translate_each(network, list(pictures)))


def verdicts(discriminators: Discriminators, domain: str, pictures: Tensor) -> list[Tensor]:
    """Verdicts on pictures, N × places, of the PatchGAN and of each head."""
    device = next(discriminators.parameters()).device
    each = [discriminators.judge(domain, picture[None].to(device)) for picture in pictures]
    return [
        torch.cat([verdict.float().flatten(1).cpu() for verdict in maps])
        for maps in zip(*each, strict=True)
    ]


@contextmanager
def at_rest(module: nn.Module | None) -> Iterator[None]:
    """Keep running statistics and singular vectors as they are; then go on as before."""
    trained = [part for part in module.modules() if part.training] if module is not None else []
    for part in trained:
        part.training = False
    try:
        yield
    finally:
        for part in trained:
            part.training = True


def mean(values: Sequence[float]) -> float:
    """The mean of numbers."""
    return sum(values) / len(values)
