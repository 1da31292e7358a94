"""Scores of both generators of a trained model on folders of source pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_style.config.directions import DIRECTIONS
from cyclegan_style.data.images import (
    EightBits,
    ImageError,
    Pixels,
    eight_bits,
    luminance,
    to_tensor,
)
from cyclegan_style.data.levels import viewed
from cyclegan_style.evaluation.collect import values_of_all
from cyclegan_style.evaluation.distances import Distances
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.image_sets import ImageSet
from cyclegan_style.evaluation.paired import ssim
from cyclegan_style.evaluation.scores import (
    METRICS,
    OF_TRANSLATIONS,
    EvaluationOptions,
    Scores,
    warn_of_few,
)

SMALLEST = 13
"""Side in pixels below which the window of SSIM does not fit into the edges."""


class Translator(Protocol):
    """What translates pictures in one direction, such as a Predictor."""

    def read(self, picture: Path) -> Pixels:
        """Pixels of a file with the channels that the model takes."""
        ...

    def translate_pixels(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Translations of the same sizes."""
        ...


class Translation:
    """Reads a picture and translates it, as the file that it would be saved as.

    On the way it notes how near each translation stays to its picture.
    """

    def __init__(
        self,
        translator: Translator,
        distances: Distances,
        channels_in: Sequence[int] | None = None,
        channels_out: Sequence[int] | None = None,
    ) -> None:
        self.translator = translator
        self.channels_in, self.channels_out = channels_in, channels_out
        self.measures: dict[str, Callable[[Pixels, Pixels], float]] = {
            "structure": structure_similarity
        }
        networks = distances.networks
        self.measures |= {name: network.of_pixels for name, network in networks.items()}
        self.smallest = max([SMALLEST, *(network.smallest for network in networks.values())])
        self.nearness: dict[str, dict[Path, float]] = {name: {} for name in self.measures}

    def __call__(self, path: Path) -> Pixels:
        """RGB pixels of the translation of a file."""
        pixels = self.translator.read(path)
        if min(pixels.shape[:2]) < self.smallest:
            raise ImageError(path, f"smaller than {self.smallest} × {self.smallest} pixels")
        output = as_rgb(self.translator.translate_pixels([pixels])[0], self.channels_out)
        seen = as_rgb(pixels, self.channels_in)
        for name, measure in self.measures.items():
            self.nearness[name][path] = measure(seen, output)
        return output

    def measured(self, fakes: ImageSet) -> ImageSet:
        """The set that was read through this, with what all processes noted."""
        nearness = {name: np.array(values_of_all(noted)) for name, noted in self.nearness.items()}
        return replace(fakes, nearness=nearness)


def evaluate_model(
    translators: Mapping[str, Translator], a: str, b: str, options: EvaluationOptions
) -> dict[str, Scores]:
    """Scores of ``ab``, A's pictures translated against B, and of ``ba``, where there is one."""
    evaluator = Evaluator(options, METRICS + OF_TRANSLATIONS)
    specs = {"a": a, "b": b}
    scores: dict[str, Scores] = {}
    for name, source, target, _ in DIRECTIONS:
        if name not in translators:
            continue
        real = evaluator.load(specs[target], f"--{target}")
        fake = translated(evaluator, translators[name], specs[source], f"--{source}")
        scores[name] = evaluator.compare(real, fake)
        warn_of_few(evaluator.metrics, scores[name].circumstances)
    return scores


def translated(evaluator: Evaluator, translator: Translator, spec: str, option: str) -> ImageSet:
    """The translations of a set of pictures, and how near each stays to its picture."""
    translation = Translation(translator, evaluator.distances)
    return translation.measured(evaluator.load(spec, option, read=translation))


def structure_similarity(source: Pixels, output: Pixels) -> float:
    """SSIM of the strengths of edges, which repainting in other colours leaves where they are."""
    edges = [gradient_magnitude(to_tensor(pixels)[None] / 2 + 0.5) for pixels in (source, output)]
    return ssim(*edges).item()


def gradient_magnitude(images: Tensor) -> Tensor:
    """Length of the Sobel gradient of the brightness, N×1×H×W for N×3×H×W in [0, 1]."""
    slope = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([slope, slope.T])[:, None]
    return F.conv2d(luminance(images), kernels).square().sum(1, keepdim=True).sqrt()


def as_rgb(pixels: Pixels, channels: Sequence[int] | None = None) -> EightBits:
    """Three channels of 8 bits: grey repeated, alpha dropped as the public tools do.

    Of a picture of many ``channels`` these are taken.
    """
    pixels = eight_bits(viewed(pixels, channels))
    if pixels.shape[2] <= 2:
        return np.repeat(pixels[:, :, :1], 3, axis=2)
    return pixels[:, :, :3]
