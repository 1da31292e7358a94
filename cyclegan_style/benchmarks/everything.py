"""What a machine makes of training, translation and evaluation, in a few minutes.

Without baselines, which have benchmarks of their own; beside each training speed stands the share
that it is of what the machine multiplies at most.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cyclegan_style.applying.number_format import choose_dtype
from cyclegan_style.applying.prepared import PreparedGenerator
from cyclegan_style.applying.translate import default_batch_size
from cyclegan_style.benchmarks.arithmetic import matrix_speed
from cyclegan_style.benchmarks.evaluation import smooth_picture, write_pictures
from cyclegan_style.benchmarks.large import random_generator
from cyclegan_style.benchmarks.random_inception import random_inception
from cyclegan_style.benchmarks.timing import device_name, own_peak_gigabytes, seconds_of
from cyclegan_style.benchmarks.training import (
    operations_of_step,
    product_step,
    refuse_nonsense,
    warm_up,
)
from cyclegan_style.benchmarks.translation import TranslationComparison, compare_translation
from cyclegan_style.config import Config, DataConfig, GeneratorConfig, TrainConfig
from cyclegan_style.evaluation.definitions import FeatureNetwork, definition_named
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.scores import EvaluationOptions
from cyclegan_style.features.inception import SIDE, Inception
from cyclegan_style.system.hardware import choose_device, format_of, name_of_format
from cyclegan_style.system.processes import say
from cyclegan_style.training.number_format import settled

STEPS_OF_SCHEDULE = 200 * 1334
"""Of the paper's schedule on horse2zebra: 200 epochs of its 1,334 zebras, one at a time."""
STEPS_OF_ROUND = 5
"""That a GPU is given at once, as by training."""
LARGEST_BATCH = 32
"""Beyond which a GPU gains little and the benchmark only takes longer."""
SHARE_OF_MEMORY = 0.6
"""For a batch: what two small ones took tells no more of a large one's than about how much."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    size: int
    """Side of all pictures in pixels."""
    images: int
    """Translated, and as many in either set that is evaluated."""
    runs: int
    """Of which the median is told."""
    compiling: bool
    definition: str = "pytorch-fid"
    """Of evaluation; that of the Inception has random weights, which take as long."""


def usual_extent(device: torch.device) -> Extent:
    """A few minutes' worth on either kind of device."""
    if device.type == "cpu":
        return Extent(size=64, images=8, runs=2, compiling=False)
    return Extent(size=256, images=400, runs=5, compiling=True)


@dataclass(frozen=True)
class TrainingSpeed:
    """Steps of one batch size, compiled or not."""

    batch_size: int
    precision: str
    compiled: bool
    seconds: float
    """Median of a step."""
    images_per_second: float
    """Of either domain."""
    warm_up_seconds: float
    """The first two steps, with what is compiled."""
    peak_gigabytes: float
    """Of the GPU's memory; on a CPU, all that the process has held so far."""
    teraflops: float
    """Operations of convolutions in 10¹² a second."""
    share: float
    """What that is of ``limit_teraflops``."""


@dataclass(frozen=True)
class Everything:
    """All that was measured."""

    device: str
    torch: str
    size: int
    limit_teraflops: float
    """10¹² operations a second of a product of large matrices, in the format of training."""
    training: list[TrainingSpeed]
    schedule_minutes: float
    """200 epochs of horse2zebra, 266,800 steps of one image, by the fastest of these at batch 1."""
    translation: TranslationComparison
    network_images_per_second: float
    """Translated without reading and writing files."""
    compiled_images_per_second: float | None
    """The same compiled, if that was tried and gained something."""
    evaluation_images_per_second: float
    """Read, prepared and looked at by the network of ``definition``, of two sets, and compared."""
    definition: str
    seconds: float
    """That all of this took."""


def measure_everything(generator: GeneratorConfig, extent: Extent) -> Everything:
    """Measure one thing after the other, and say on the way what was found."""
    began = time.perf_counter()
    device = choose_device("auto")
    base = step_config(extent, generator, batch_size=1, compiled=False)
    dtype = format_of(base.train.mixed_precision)
    limit = matrix_speed(512 if device.type == "cpu" else 8192, device, dtype)
    say(f"{device_name()}: {limit / 1e12:.3g} TFLOP/s of products in {name_of_format(dtype)}")
    translation = compare_translation(extent.size, extent.images, generator, "auto", runs=1)
    say(f"translation: {translation.images_per_second:.3g} files a second")
    plain, compiled = network_speeds(generator, extent, device)
    say(f"network alone: {plain:.3g} images a second, compiled {compiled}")
    evaluation = evaluation_speed(extent)
    say(f"evaluation: {evaluation:.3g} images a second by {extent.definition}")
    # Last, since an Accelerator changes for the whole process how cuDNN finds its kernels.
    training = [
        measure_training(step_config(extent, generator, size, compiled), extent, limit)
        for size in batch_sizes(extent, generator, device)
        for compiled in ([False, True] if extent.compiling else [False])
    ]
    one_by_one = min(speed.seconds for speed in training if speed.batch_size == 1)
    return Everything(
        device=device_name(),
        torch=torch.__version__,
        size=extent.size,
        limit_teraflops=limit / 1e12,
        training=training,
        schedule_minutes=one_by_one * STEPS_OF_SCHEDULE / 60,
        translation=translation,
        network_images_per_second=plain,
        compiled_images_per_second=compiled,
        evaluation_images_per_second=evaluation,
        definition=extent.definition,
        seconds=time.perf_counter() - began,
    )


def step_config(
    extent: Extent, generator: GeneratorConfig, batch_size: int, compiled: bool
) -> Config:
    """The paper's training in the fastest number format."""
    train = TrainConfig(
        batch_size=batch_size, mixed_precision="auto", channels_last=True, compile=compiled
    )
    return settled(Config(data=DataConfig(crop_size=extent.size), generator=generator, train=train))


def measure_training(config: Config, extent: Extent, limit: float) -> TrainingSpeed:
    """Time of the product's step, in rounds of a few on a GPU."""
    forget_what_was_computed()
    operations = operations_of_step(config)
    step = product_step(config)
    warm_up_seconds = warm_up(step)
    refuse_nonsense(step())
    calls = STEPS_OF_ROUND if torch.cuda.is_available() else 1
    rounds = (seconds_of(lambda: [step() for _ in range(calls)]) for _ in range(extent.runs))
    seconds = statistics.median(rounds) / calls
    train = config.train
    speed = TrainingSpeed(
        batch_size=train.batch_size,
        precision=train.mixed_precision,
        compiled=train.compile is True,
        seconds=seconds,
        images_per_second=train.batch_size / seconds,
        warm_up_seconds=warm_up_seconds,
        peak_gigabytes=peak_of_one(step),
        teraflops=operations / seconds / 1e12,
        share=operations / seconds / limit,
    )
    say(
        f"training: {speed.images_per_second:.3g} images a second in batches of {train.batch_size},"
        f" {'compiled' if train.compile else 'not compiled'}, {speed.share:.0%} of the products"
    )
    return speed


def peak_of_one(step: Callable[[], object]) -> float:
    """Most gigabytes in a step, without what cuDNN's search for kernels took in the first."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    step()
    return own_peak_gigabytes()


def forget_what_was_computed() -> None:
    """Free what earlier steps held on a GPU, and compiled for it."""
    if torch.cuda.is_available():
        gc.collect()
        torch.compiler.reset()
        torch.cuda.empty_cache()


def batch_sizes(extent: Extent, generator: GeneratorConfig, device: torch.device) -> list[int]:
    """One, and what the GPU's memory has room for; a CPU gains nothing by more than two."""
    if device.type == "cpu":
        return [1, 2]
    peaks = []
    for batch_size in (1, 2):
        forget_what_was_computed()
        step = product_step(step_config(extent, generator, batch_size, compiled=False))
        warm_up(step)
        peaks.append(peak_of_one(step))
        del step
    total = torch.cuda.get_device_properties(device).total_memory / 1e9
    return sorted({1, batch_within(SHARE_OF_MEMORY * total, *peaks)})


def batch_within(gigabytes: float, of_one: float, of_two: float) -> int:
    """The largest power of two that has room, by the peaks of batches of one and of two."""
    each = max(of_two - of_one, 1e-6)
    size = 1
    while 2 * size <= LARGEST_BATCH and of_one + (2 * size - 1) * each <= gigabytes:
        size *= 2
    return size


def network_speeds(
    generator: GeneratorConfig, extent: Extent, device: torch.device
) -> tuple[float, float | None]:
    """Images per second from pixels to pixels; compiled as well, where that is faster."""
    loaded = random_generator(generator)
    prepared = PreparedGenerator(loaded, device, choose_dtype("auto", device, loaded))
    shape = (default_batch_size(device), extent.size, extent.size)
    pictures = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)

    def images_per_second() -> float:
        prepared.translate_pixels(pictures)
        times = [seconds_of(lambda: prepared.translate_pixels(pictures)) for _ in range(5)]
        return len(pictures) / statistics.median(times)

    plain = images_per_second()
    compiled = extent.compiling and prepared.compile_if_faster(*shape)
    return plain, images_per_second() if compiled else None


def evaluation_speed(extent: Extent) -> float:
    """Images per second of a Fréchet distance of two folders."""
    evaluator = Evaluator(evaluation_options(extent.definition))
    with tempfile.TemporaryDirectory() as name:
        folders = [
            str(write_pictures(Path(name) / which, extent.images, seed))
            for seed, which in enumerate(("real", "fake"), 1)
        ]
        evaluator.load(folders[0], "--real")  # the first pass finds kernels
        seconds = seconds_of(
            lambda: evaluator.compare(*(evaluator.load(folder, "--real") for folder in folders))
        )
    return 2 * extent.images / seconds


def evaluation_options(definition: str) -> EvaluationOptions:
    """A distance without intervals and without what was computed before."""
    if definition == "squeezenet":
        return EvaluationOptions(("fd",), definition, intervals=False, cache=False)
    chance = np.random.default_rng(3)
    tensors = random_inception([smooth_picture(chance, (SIDE, SIDE), 8) for _ in range(4)])
    network = Inception()
    network.load_state_dict({key: tensors[key] for key in network.state_dict()})
    own = FeatureNetwork(definition_named(definition), network, "random")
    return EvaluationOptions(("fid",), network=own, intervals=False, cache=False)
