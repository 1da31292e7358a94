"""Random weights for the FID Inception that behave like trained ones, and pictures to look at."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan_style.data.images import write_image
from cyclegan_style.features.inception import WEIGHTS_FILE, Inception


def write_random_weights(torch_home: Path, seed: int = 2015) -> Path:
    """Put a state dict where pytorch-fid and torch-fidelity look for theirs."""
    target = torch_home / "hub" / "checkpoints" / WEIGHTS_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(random_state(seed), target)
    return target


@cache
def random_state(seed: int) -> dict[str, Tensor]:
    """Convolutions of mixed gains, and batch norms that have seen a few pictures."""
    generator = torch.Generator().manual_seed(seed)
    network = Inception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            gain = (2 / module.weight[0].numel()) ** 0.5
            gain *= 0.5 + 0.5 * torch.rand((), generator=generator).item()
            weight = torch.randn(module.weight.shape, generator=generator) * gain
            module.weight = nn.Parameter(weight)
        elif isinstance(module, nn.BatchNorm2d):
            spread = torch.rand(module.num_features, generator=generator)
            module.weight = nn.Parameter(0.8 + 0.4 * spread)
            module.bias = nn.Parameter(
                0.7 + 0.3 * torch.randn(module.num_features, generator=generator)
            )
            module.momentum = 1.0
    pictures = np.stack([soft_picture(299, 299, number) for number in range(4)])
    images = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1
    with torch.no_grad():
        network.train()(images)
    classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    return {name: tensor.detach() for name, tensor in network.state_dict().items()} | classifier


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
