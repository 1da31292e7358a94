"""Timing of ``translate`` against the obvious way of translating a folder, in pairs."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cyclegan_style.applying.jobs import Job
from cyclegan_style.applying.number_format import choose_dtype
from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.applying.translate import translate_files
from cyclegan_style.benchmarks.arithmetic import convolution_speed, operations_of
from cyclegan_style.benchmarks.timing import Timings, device_name, time_in_turns
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.data.images import (
    Pixels,
    read_image,
    resize,
    to_pillow,
    to_pixels,
    to_tensor,
    write_image,
)
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.system.hardware import PrecisionName, choose_device, name_of_format


@dataclass(frozen=True)
class TranslationComparison(Timings):
    """Timings on the same pictures, of which the baseline takes one at a time, in float32."""

    images_per_second: float
    mean_difference: float
    """Between the PNG files of the two, in levels of 0 to 255."""
    largest_difference: int
    limit_seconds: float
    """What the network's arithmetic would take at this machine's own speed of convolutions."""
    share: float
    """``limit_seconds`` over ``seconds``."""
    precision: str
    device: str


def compare_translation(
    size: int, count: int, config: GeneratorConfig, precision: PrecisionName, runs: int
) -> TranslationComparison:
    """Translate ``count`` pictures through a network of random weights, both ways in turns."""
    if size % size_divisor(config):
        raise UserError(f"--size must be a multiple of {size_divisor(config)}, not {size}")
    torch.manual_seed(0)
    plain = build_generator(config).eval()
    device = choose_device("auto")
    plain = plain.to(device)
    loaded = LoadedGenerator(plain, config, 3, 3, "ab")
    dtype = choose_dtype(precision, device, loaded)

    def ours(jobs: list[Job]) -> None:
        """With a predictor of its own, so that what it compiles counts in every pair."""
        translate_files(Predictor(loaded, device, dtype), jobs, overwrite=True)

    with tempfile.TemporaryDirectory() as folder:
        jobs, obvious_jobs = picture_jobs(Path(folder), size, count)
        plainly(plain, obvious_jobs[:1], device)
        ours(jobs[:1])
        timings = time_in_turns(
            lambda: plainly(plain, obvious_jobs, device), lambda: ours(jobs), runs
        )
        differences = np.stack(
            [
                np.abs(read_image(ours.target).astype(int) - read_image(theirs.target))
                for ours, theirs in zip(jobs, obvious_jobs, strict=True)
            ]
        )
    speed = convolution_speed(1, max(1, size // 4), device, dtype, forward_only=True)
    limit = count * operations_of_translation(plain, size, device) / speed
    return TranslationComparison(
        **asdict(timings),
        images_per_second=count / timings.seconds,
        mean_difference=float(differences.mean()),
        largest_difference=int(differences.max()),
        limit_seconds=limit,
        share=limit / timings.seconds,
        precision=name_of_format(dtype),
        device=device_name(),
    )


def picture_jobs(folder: Path, size: int, count: int) -> tuple[list[Job], list[Job]]:
    """Write smooth random pictures; return a job for each, into a folder for each way."""
    generator = np.random.default_rng(0)
    jobs: tuple[list[Job], list[Job]] = ([], [])
    for number in range(count):
        name = f"{number:04}.png"
        coarse: Pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_image(folder / name, resize(coarse, (size, size)))
        for way, own in zip(("product", "obvious"), jobs, strict=True):
            own.append(Job(folder / name, folder / way / name))
    return jobs


@torch.no_grad()
def operations_of_translation(network: nn.Module, size: int, device: torch.device) -> int:
    """Floating-point operations of the convolutions for one picture."""
    return operations_of(lambda: network(torch.zeros(1, 3, size, size, device=device)))


@torch.no_grad()
def plainly(network: nn.Module, jobs: list[Job], device: torch.device) -> None:
    """Translate the way that the reference's test script does."""
    for job in jobs:
        image = to_tensor(read_image(job.source))[None].to(device)
        job.target.parent.mkdir(exist_ok=True)
        to_pillow(to_pixels(network(image)[0])).save(job.target)
