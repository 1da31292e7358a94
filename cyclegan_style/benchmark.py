"""Timings of the product against the obvious way of doing the same, in pairs.

The two take turns in one process, so that a machine whose speed drifts drifts for both.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from cyclegan_style.config import Config, DataConfig, GeneratorConfig, TrainConfig
from cyclegan_style.cyclegan import build_discriminators, build_generators
from cyclegan_style.hardware import build_accelerator
from cyclegan_style.training_step import TrainingStep


@dataclass(frozen=True)
class Comparison:
    """Medians over paired runs."""

    baseline_seconds: float
    seconds: float
    ratio: float
    """Median of the ratios of the pairs."""
    device: str


def compare_training(
    size: int, batch_size: int, channels: int, blocks: int, runs: int, seed: int = 0
) -> Comparison:
    """Time a step of the paper's networks, written plainly, against the product's own step."""
    config = Config(
        data=DataConfig(crop_size=size, load_size=size),
        generator=GeneratorConfig(channels=channels, blocks=blocks),
        train=TrainConfig(
            seed=seed, mixed_precision="auto", compile=True, channels_last=True, pool_size=0
        ),
    )
    accelerator = build_accelerator(config)
    generator = torch.Generator().manual_seed(seed)
    images = {
        domain: (torch.rand(batch_size, 3, size, size, generator=generator) * 2 - 1).to(
            accelerator.device
        )
        for domain in ("a", "b")
    }
    baseline = PlainStep(config, accelerator.device)
    product = TrainingStep(config, accelerator)
    baseline_times, times = time_in_pairs(
        lambda: baseline.run(images["a"], images["b"]), lambda: product.run([images]), runs
    )
    ratios = [plain / ours for plain, ours in zip(baseline_times, times, strict=True)]
    return Comparison(
        statistics.median(baseline_times),
        statistics.median(times),
        statistics.median(ratios),
        device_name(accelerator.device),
    )


class PlainStep:
    """The step of the reference as one would write it down: float32, eager, a pass per image."""

    def __init__(self, config: Config, device: torch.device) -> None:
        generators = build_generators(config).to(device)
        discriminators = build_discriminators(config).to(device)
        self.generator_ab, self.generator_ba = generators["ab"], generators["ba"]
        self.discriminator_a, self.discriminator_b = discriminators["a"], discriminators["b"]
        self.generator_optimizer = torch.optim.Adam(
            itertools.chain(self.generator_ab.parameters(), self.generator_ba.parameters()),
            lr=2e-4,
            betas=(0.5, 0.999),
        )
        self.discriminator_optimizer = torch.optim.Adam(
            itertools.chain(self.discriminator_a.parameters(), self.discriminator_b.parameters()),
            lr=2e-4,
            betas=(0.5, 0.999),
        )

    def run(self, real_a: Tensor, real_b: Tensor) -> None:
        """One step of both turns."""
        set_trained([self.discriminator_a, self.discriminator_b], False)
        fake_b, fake_a = self.generator_ab(real_a), self.generator_ba(real_b)
        loss = 10 * F.l1_loss(self.generator_ba(fake_b), real_a)
        loss = loss + 10 * F.l1_loss(self.generator_ab(fake_a), real_b)
        loss = loss + 5 * F.l1_loss(self.generator_ba(real_a), real_a)
        loss = loss + 5 * F.l1_loss(self.generator_ab(real_b), real_b)
        loss = loss + towards(self.discriminator_b(fake_b), 1.0)
        loss = loss + towards(self.discriminator_a(fake_a), 1.0)
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()

        set_trained([self.discriminator_a, self.discriminator_b], True)
        self.discriminator_optimizer.zero_grad()
        for discriminator, real, fake in (
            (self.discriminator_a, real_a, fake_a.detach()),
            (self.discriminator_b, real_b, fake_b.detach()),
        ):
            verdicts = towards(discriminator(real), 1.0) + towards(discriminator(fake), 0.0)
            (verdicts * 0.5).backward()
        self.discriminator_optimizer.step()


def towards(verdict: Tensor, target: float) -> Tensor:
    """Least-squares distance of verdicts from a target."""
    return F.mse_loss(verdict, torch.full_like(verdict, target))


def set_trained(networks: list[nn.Module], trained: bool) -> None:
    """Switch the gradients of networks on or off."""
    for network in networks:
        network.requires_grad_(trained)


def time_in_pairs(
    baseline: Callable[[], object], product: Callable[[], object], runs: int
) -> tuple[list[float], list[float]]:
    """Seconds of ``runs`` runs of each, taking turns, after a warm-up that also compiles."""
    for _ in range(2):
        baseline()
        product()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in tqdm(range(runs), "timing pairs", file=sys.stderr):
        times[0].append(seconds_of(baseline))
        times[1].append(seconds_of(product))
    return times


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call, with the device waited for."""
    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    """Wait until the device has done all it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"
