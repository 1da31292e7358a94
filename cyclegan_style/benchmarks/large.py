"""Time and memory of one large picture, in one pass and in stripes, each in its own process."""

import time
from dataclasses import dataclass

import torch

from cyclegan_style.applying.number_format import choose_dtype
from cyclegan_style.applying.prepared import NO_LIMIT, PreparedGenerator
from cyclegan_style.applying.tiling import StripedGenerator, default_stripe_height
from cyclegan_style.benchmarks.timing import (
    device_name,
    in_own_process,
    own_peak_gigabytes,
    synchronise,
)
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.system.hardware import PrecisionName, choose_device, name_of_format
from cyclegan_style.system.memory import reuse_freed_memory

PRACTICE_SIDE = 64


@dataclass(frozen=True)
class LargePicture:
    """Figures of both ways; those of one pass are None if it was left out."""

    one_pass_seconds_per_megapixel: float | None
    one_pass_peak_gigabytes: float | None
    stripes_seconds_per_megapixel: float
    stripes_peak_gigabytes: float
    """All that the process, or the GPU for it, held: the program itself included."""
    stripe_height: int
    precision: str
    device: str


def measure_large_picture(
    side: int, config: GeneratorConfig, precision: PrecisionName, *, stripes_only: bool
) -> LargePicture:
    """Translate a square of noise through a network of random weights."""
    if side % size_divisor(config):
        raise UserError(f"--side must be a multiple of {size_divisor(config)}, not {side}")
    dtype = choose_dtype(precision, choose_device("auto"), random_generator(config))
    stripe_height = default_stripe_height(side, config.channels, dtype)
    whole = None if stripes_only else in_own_process(translate_square, side, config, dtype, None)
    seconds, gigabytes = in_own_process(translate_square, side, config, dtype, stripe_height)
    megapixels = side**2 / 1e6
    return LargePicture(
        whole and whole[0] / megapixels,
        whole and whole[1],
        seconds / megapixels,
        gigabytes,
        min(stripe_height, side),
        name_of_format(dtype),
        device_name(),
    )


def translate_square(
    side: int, config: GeneratorConfig, dtype: torch.dtype, stripe_height: int | None
) -> tuple[float, float]:
    """Seconds and gigabytes of this process for one picture; without a stripe height, in a pass."""
    reuse_freed_memory()
    prepared = PreparedGenerator(random_generator(config), choose_device("auto"), dtype, NO_LIMIT)
    picture = torch.rand(1, 3, side, side) * 2 - 1
    prepared.translate_tensor(picture[:, :, :PRACTICE_SIDE, :PRACTICE_SIDE])
    started = time.perf_counter()
    if stripe_height is None:
        prepared.translate_tensor(picture)
    else:
        with torch.inference_mode():
            StripedGenerator(prepared.network, stripe_height)(picture)
    synchronise()
    return time.perf_counter() - started, own_peak_gigabytes()


def random_generator(config: GeneratorConfig) -> LoadedGenerator:
    """A generator of random weights, the same each time."""
    torch.manual_seed(0)
    return LoadedGenerator(build_generator(config), config, 3, 3, "ab")
