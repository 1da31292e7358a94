"""The training step, timed against the same step written the obvious way."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.benchmarks.arithmetic import convolution_speed, operations_of
from cyclegan_style.benchmarks.timing import (
    Timings,
    device_name,
    in_own_process,
    own_peak_gigabytes,
    seconds_of,
    time_in_turns,
)
from cyclegan_style.config import Config, DataConfig, GeneratorConfig, TrainConfig
from cyclegan_style.config.directions import DOMAINS
from cyclegan_style.data.sampling import UnpairedBatchSampler, training_loader
from cyclegan_style.data.training_data import open_dataset
from cyclegan_style.errors import UserError
from cyclegan_style.system.hardware import build_accelerator, format_of
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.discriminators import build_discriminators
from cyclegan_style.training.number_format import settled


@dataclass(frozen=True)
class Comparison(Timings):
    """Timings, and the most memory that each way needed in a process of its own."""

    warm_up_seconds: float
    """The product's first two steps, in which it compiles."""
    baseline_peak_gigabytes: float
    peak_gigabytes: float
    loader_batches_per_second: float
    """Batches of both domains that the loader delivers when nothing else runs."""
    limit_seconds: float
    """What the step's arithmetic would take at this machine's own speed of convolutions."""
    share: float
    """``limit_seconds`` over ``seconds``."""
    device: str
    convolutions: str
    """winograd, which is not compiled, or direct."""


def compare_training(
    size: int, batch_size: int, generator: GeneratorConfig, runs: int
) -> Comparison:
    """Time a step of the paper's networks, written plainly, against the product's own step."""
    config = Config(
        data=DataConfig(
            a="demo:photo", b="demo:painting", crop_size=size, load_size=size * 286 // 256
        ),
        generator=generator,
        train=TrainConfig(
            batch_size=batch_size,
            mixed_precision="auto",
            convolutions="auto",
            compile=True,
            channels_last=True,
        ),
    )
    config = settled(config)
    plain, fast = plain_step(config), product_step(config)
    warm_up(plain)
    warm_up_seconds = warm_up(fast)
    refuse_nonsense(fast())
    timings = time_in_turns(plain, fast, runs)
    limit = limit_seconds(config)
    return Comparison(
        **asdict(timings),
        warm_up_seconds=warm_up_seconds,
        baseline_peak_gigabytes=in_own_process(peak_of_steps, plain_step, config),
        peak_gigabytes=in_own_process(peak_of_steps, product_step, config),
        loader_batches_per_second=loader_speed(config),
        limit_seconds=limit,
        share=limit / timings.seconds,
        device=device_name(),
        convolutions=config.train.convolutions,
    )


@dataclass(frozen=True)
class StepCost:
    """What a step takes in a process of its own."""

    seconds: float
    """Median."""
    peak_gigabytes: float
    device: str


@dataclass(frozen=True)
class RecomputingComparison:
    """Steps that keep their activations, the baseline, and steps that compute them again."""

    baseline_seconds: float
    seconds: float
    ratio: float
    baseline_peak_gigabytes: float
    peak_gigabytes: float
    device: str


def compare_recomputing(
    size: int, batch_size: int, generator: GeneratorConfig, runs: int
) -> RecomputingComparison:
    """Measure ``train.checkpoint_activations``, each way in a process of its own."""
    kept, again = (
        measure_steps(size, batch_size, generator, runs, recomputing=recomputing)
        for recomputing in (False, True)
    )
    return RecomputingComparison(
        baseline_seconds=kept.seconds,
        seconds=again.seconds,
        ratio=kept.seconds / again.seconds,
        baseline_peak_gigabytes=kept.peak_gigabytes,
        peak_gigabytes=again.peak_gigabytes,
        device=again.device,
    )


def measure_steps(
    size: int, batch_size: int, generator: GeneratorConfig, runs: int, *, recomputing: bool
) -> StepCost:
    """Time and memory of the product's step, not compiled, after one that is not counted."""
    train = TrainConfig(
        batch_size=batch_size,
        mixed_precision="auto",
        channels_last=True,
        checkpoint_activations=recomputing,
    )
    config = Config(data=DataConfig(crop_size=size), generator=generator, train=train)
    return in_own_process(cost_of_steps, settled(config), runs)


def cost_of_steps(config: Config, runs: int) -> StepCost:
    """Time and memory of the product's steps in this process."""
    step = product_step(config)
    refuse_nonsense(step())
    seconds = statistics.median(seconds_of(step) for _ in range(runs))
    return StepCost(seconds, own_peak_gigabytes(), device_name())


Step = Callable[[], object]


def plain_step(config: Config) -> Step:
    """The step of the reference, written the obvious way."""
    device = build_accelerator(config, config.train.mixed_precision).device
    images = random_images(config, device)
    step = PlainStep(config, device)
    return lambda: step.run(images["a"], images["b"])


def product_step(config: Config) -> Callable[[], Mapping[str, Tensor]]:
    """The step that training runs; returns its losses."""
    accelerator = build_accelerator(config, config.train.mixed_precision)
    images = random_images(config, accelerator.device)
    step = CycleGanStep(config, accelerator)
    return lambda: step.run([images])


def limit_seconds(config: Config) -> float:
    """Seconds of a step's arithmetic at the speed of one convolution of a residual block.

    It is as large as where translation and identity go through a generator together, and in the
    number format of the step.
    """
    train = config.train
    device = build_accelerator(config, train.mixed_precision).device
    images, side = 2 * train.batch_size, max(1, min(config.data.crop) // 4)
    dtype = format_of(train.mixed_precision)
    return operations_of_step(config) / convolution_speed(images, side, device, dtype)


def operations_of_step(config: Config) -> int:
    """Floating-point operations of a step's convolutions, forward and backward, on paper."""
    paper = torch.device("meta")
    step, images = PlainStep(config, paper), random_images(config, paper)
    return operations_of(lambda: step.run(images["a"], images["b"]))


def random_images(config: Config, device: torch.device) -> dict[str, Tensor]:
    """A batch of noise for each domain."""
    shape = (config.train.batch_size, 3, *config.data.crop)
    generator = torch.Generator().manual_seed(config.train.seed)
    return {
        domain: (torch.rand(shape, generator=generator) * 2 - 1).to(device) for domain in DOMAINS
    }


def peak_of_steps(build: Callable[[Config], Step], config: Config) -> float:
    """Gigabytes that a few steps need at most."""
    step = build(config)
    for _ in range(4):
        step()
    return own_peak_gigabytes()


def loader_speed(config: Config) -> float:
    """Batches per second of the training loader over an epoch of the demo's pictures, resized."""
    accelerator = build_accelerator(config, config.train.mixed_precision)
    dataset = open_dataset(config, accelerator)
    sampler = UnpairedBatchSampler(
        dataset.sizes,
        config.train.batch_size,
        config.train.seed,
        batches_per_global_step=1,
    )
    loader = training_loader(dataset, sampler, config.data.num_workers, pin_memory=False)
    batches = iter(loader)
    next(batches)  # the workers have started
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return count / (time.perf_counter() - start)


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


def refuse_nonsense(losses: Mapping[str, Tensor]) -> None:
    """A step that computes no numbers is not worth timing."""
    for name, loss in losses.items():
        if not math.isfinite(loss.item()):
            raise UserError(f"the product's step is broken on this machine: {name} is {loss}")


def warm_up(step: Step) -> float:
    """Seconds of the first two steps."""
    return seconds_of(lambda: (step(), step()))
