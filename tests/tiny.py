"""Configurations, pictures and networks that are as small as they can be."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn

from cyclegan_style.config import Config, with_values
from cyclegan_style.data.images import write_image

SMALLEST_NETWORKS = {
    "data.a": "a",
    "data.b": "b",
    "data.load_size": 32,
    "data.crop_size": 24,
    "data.num_workers": 0,
    "generator.channels": 4,
    "generator.blocks": 1,
    "discriminator.channels": 4,
    "discriminator.layers": 1,
    "train.pool_size": 0,
    "train.cpu_threads": 1,
}


def configure(**fields: Any) -> Config:
    """The defaults with other values of fields such as ``train__seed``."""
    return with_values(Config(), {name.replace("__", "."): v for name, v in fields.items()})


def tiny_config(**fields: Any) -> Config:
    """The smallest networks and pictures, with other values of fields such as ``train__seed``."""
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return with_values(Config(), SMALLEST_NETWORKS | named)


def make_pictures(
    folder: Path, count: int, height: int = 32, width: int = 32, channels: int = 3, seed: int = 0
) -> Path:
    """A folder of noise that is smooth enough to be told apart by its colours."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        base = generator.integers(0, 200, (1, 1, channels))
        noise = generator.integers(0, 56, (height, width, channels))
        write_image(folder / f"{number:03}.png", (base + noise).astype(np.uint8))
    return folder


def random_batch(
    count: int = 1, height: int = 24, width: int = 24, channels: int = 3, seed: int = 0
) -> dict[str, Tensor]:
    """Images of both domains in [-1, 1] and in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, height, width)
    return {
        domain: torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
        for domain in ("a", "b")
    }


def enlarge_weights(module: nn.Module, seed: int = 0) -> None:
    """Draw weights and biases large enough that every part of a network counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.2 * noise)


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Largest absolute difference between two state dicts of the same keys."""
    assert first.keys() == second.keys()
    return max((first[key] - second[key]).abs().max().item() for key in first)


def stray(output: Tensor, exact: Tensor) -> float:
    """Mean distance from what float64 gives.

    How far rounding leads depends on the order in which a processor sums, so that no number bounds
    it everywhere. Two ways to compute the same in float32 stray about equally far, though, and one
    that computes something else strays a hundred times further.
    """
    return (output - exact).abs().mean().item()


def equal_tensors(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two dictionaries hold the same tensors bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def forget_accelerator() -> None:
    """Let the next Accelerator begin anew, in another precision for example."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def fp16_on_a_cpu(scale: float = 2.0**16) -> Accelerator:
    """An Accelerator for fp16 as it is on CUDA; on a CPU it leaves out autocast and the scaler."""
    accelerator = Accelerator(cpu=True, mixed_precision="fp16")
    accelerator.native_amp = True
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return accelerator
