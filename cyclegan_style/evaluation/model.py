"""Scores of both generators of a trained model on folders of source pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_style.cyclegan import DIRECTIONS
from cyclegan_style.evaluation.collect import values_of_all
from cyclegan_style.evaluation.folders import EvaluationOptions, Evaluator, Scores, warn_of_few
from cyclegan_style.evaluation.paired import ssim
from cyclegan_style.images import Pixels, to_tensor


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

    On the way it notes how much of each picture's structure is kept.
    """

    def __init__(self, translator: Translator) -> None:
        self.translator = translator
        self.structure: dict[Path, float] = {}

    def __call__(self, path: Path) -> Pixels:
        """RGB pixels of the translation of a file."""
        pixels = self.translator.read(path)
        output = as_rgb(self.translator.translate_pixels([pixels])[0])
        if min(output.shape[:2]) >= 13:
            self.structure[path] = structure_similarity(as_rgb(pixels), output)
        return output


def evaluate_model(
    translators: Mapping[str, Translator], a: str, b: str, options: EvaluationOptions
) -> dict[str, Scores]:
    """Scores of ``ab``, A's pictures translated against B, and of ``ba``, where there is one."""
    evaluator = Evaluator(options)
    specs = {"a": a, "b": b}
    scores: dict[str, Scores] = {}
    for name, source, target, _ in DIRECTIONS:
        if name not in translators:
            continue
        translation = Translation(translators[name])
        real = evaluator.load(specs[target], f"--{target}")
        fake = evaluator.load(specs[source], f"--{source}", read=translation)
        scores[name] = evaluator.compare(real, fake)
        kept = values_of_all(translation.structure)
        if kept:
            scores[name].values["structure"] = float(np.mean(kept))
        warn_of_few(scores[name])
    return scores


def structure_similarity(source: Pixels, output: Pixels) -> float:
    """SSIM of the strengths of edges, which repainting in other colours leaves where they are."""
    edges = [gradient_magnitude(to_tensor(pixels)[None] / 2 + 0.5) for pixels in (source, output)]
    return ssim(*edges).item()


def gradient_magnitude(images: Tensor) -> Tensor:
    """Length of the Sobel gradient of the brightness, N×1×H×W for N×3×H×W in [0, 1]."""
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (images * weights).sum(1, keepdim=True)
    slope = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([slope, slope.T])[:, None]
    return F.conv2d(grey, kernels).square().sum(1, keepdim=True).sqrt()


def as_rgb(pixels: Pixels) -> Pixels:
    """Three channels: grey repeated, alpha dropped as the public tools do."""
    if pixels.shape[2] <= 2:
        return np.repeat(pixels[:, :, :1], 3, axis=2)
    return pixels[:, :, :3]
