"""Random weights for the FID Inception that behave like trained ones, and pictures to look at."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cyclegan_style.benchmarks.random_inception import random_inception
from cyclegan_style.data.images import write_image
from cyclegan_style.features.inception import WEIGHTS_FILE


def write_random_weights(torch_home: Path, seed: int = 2015) -> Path:
    """Put a state dict where pytorch-fid and torch-fidelity look for theirs."""
    target = torch_home / "hub" / "checkpoints" / WEIGHTS_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(random_state(seed), target)
    return target


@cache
def random_state(seed: int) -> dict[str, Tensor]:
    """Those of the benchmark, whose norms have seen soft pictures."""
    return random_inception([soft_picture(299, 299, number) for number in range(4)], seed)


def soft_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Noise of all scales with a colour of its own, rather like a photograph."""
    chance = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    noise = chance.normal(size=(3, height, width))
    spectrum = np.fft.rfft2(noise) * frequency ** -chance.uniform(0.8, 1.6)
    waves = np.fft.irfft2(spectrum, s=(height, width))
    waves /= waves.std()
    colour = chance.uniform(60, 190, (3, 1, 1))
    return (waves * 45 + colour).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def write_soft_pictures(folder: Path, count: int, seed: int, longest: int = 420) -> Path:
    """PNG files of mixed sizes, by default smaller and larger ones than the network's input."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    for number in range(count):
        height, width = chance.integers(90, longest, 2)
        write_image(folder / f"{number:03}.png", soft_picture(height, width, 1000 * seed + number))
    return folder
