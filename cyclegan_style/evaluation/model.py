"""Scores of both generators of a trained model on folders of source pictures."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.checkpoint import read_tensors
from cyclegan_style.config import Config, size_divisor
from cyclegan_style.cyclegan import DIRECTIONS, build_generators
from cyclegan_style.domains import enlarged
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.collect import on_device, values_of_all
from cyclegan_style.evaluation.folders import EvaluationOptions, Evaluator, Scores, warn_of_few
from cyclegan_style.evaluation.paired import ssim
from cyclegan_style.export import CONFIG_FILE, generator_file
from cyclegan_style.images import Pixels, read_image, to_pixels, to_tensor

ReadConfig = Callable[[Path], Config]


class Translation:
    """Reads a picture and translates it, as the file that it would be saved as.

    On the way it notes how much of each picture's structure is kept.
    """

    def __init__(self, generator: nn.Module, divisor: int, channels: tuple[int, int]) -> None:
        self.generator = on_device(generator.eval())
        self.divisor = divisor
        self.source_channels, self.target_channels = channels
        self.structure: dict[Path, float] = {}
        self._lock = Lock()  # one picture at a time: the network has all cores to itself

    def __call__(self, path: Path) -> Pixels:
        """RGB pixels of the translation of a file."""
        pixels = enlarged(read_image(path, self.source_channels), self.divisor)
        with self._lock:
            fake = self.translate(to_tensor(pixels))
        output = as_rgb(to_pixels(fake))
        if min(output.shape[:2]) >= 13:
            self.structure[path] = structure_similarity(as_rgb(pixels), output)
        return output

    @torch.inference_mode()
    def translate(self, image: Tensor) -> Tensor:
        """Translate a C×H×W image, its sides filled up by reflection to what the network takes."""
        height, width = image.shape[1:]
        right, below = -width % self.divisor, -height % self.divisor
        device = next(self.generator.parameters()).device
        padded = F.pad(image[None].to(device), (0, right, 0, below), mode="reflect")
        fake: Tensor = self.generator(padded)[0, :, :height, :width]
        return fake


def evaluate_model(
    model: Path, a: str, b: str, options: EvaluationOptions, read_config: ReadConfig
) -> dict[str, Scores]:
    """Scores of ``ab``, A's pictures translated against B, and of ``ba``."""
    generators, config = load_generators(model, read_config)
    channels = {"a": config.data.channels_a, "b": config.data.channels_b}
    evaluator = Evaluator(options)
    specs = {"a": a, "b": b}
    scores = {}
    for name, source, target, _ in DIRECTIONS:
        translation = Translation(
            generators[name],
            size_divisor(config.generator),
            (channels[source], channels[target]),
        )
        real = evaluator.load(specs[target], f"--{target}")
        fake = evaluator.load(specs[source], f"--{source}", read=translation)
        scores[name] = evaluator.compare(real, fake)
        kept = values_of_all(translation.structure)
        if kept:
            scores[name].values["structure"] = float(np.mean(kept))
        warn_of_few(scores[name])
    return scores


def load_generators(model: Path, read_config: ReadConfig) -> tuple[nn.ModuleDict, Config]:
    """Both generators and the configuration of a run folder or of an exported model."""
    folder = model / "model" if (model / "model").is_dir() else model
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"--model: {model}: neither a run nor a model: no {CONFIG_FILE} in it")
    config = read_config(folder / CONFIG_FILE)
    generators = build_generators(config)
    for name in ("ab", "ba"):
        file = folder / generator_file(name)
        try:
            generators[name].load_state_dict(read_tensors(file)[0])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(
                f"--model: {file}: not what {CONFIG_FILE} describes: {reason}"
            ) from None
    return generators, config


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
