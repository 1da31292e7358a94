"""The number format in which a generator translates fastest, and every other that it may be in."""

import logging
from copy import deepcopy
from dataclasses import asdict
from functools import cache

import torch

from cyclegan_style.applying.prepared import NO_LIMIT, PreparedGenerator
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks.layers import typical_convolution
from cyclegan_style.system.hardware import FORMATS, known_format, name_of_format
from cyclegan_style.system.measured import Speeds, Trial, fastest_here

CANDIDATES = {name_of_format(dtype): dtype for dtype in FORMATS.values()}
SIDE_OF_PART = 16
SIDE = 128
"""Of the picture that is translated for the measurement, or the next that the network takes."""

logger = logging.getLogger(__name__)


def choose_dtype(precision: str, device: torch.device, generator: LoadedGenerator) -> torch.dtype:
    """The number format of that name; ``auto`` takes the one in which the generator is fastest.

    Of GPUs that is known; on a CPU it is measured, unless that has been done before. Values of a
    range have more bits than 16-bit formats keep.
    """
    if precision != "auto":
        if precision not in FORMATS:
            raise UserError(f"precision {precision!r} is none of auto, {', '.join(FORMATS)}")
        return FORMATS[precision]
    if generator.in_range or generator.out_range:
        return torch.float32
    known = known_format(device.type)
    if known is not None:
        return known
    speeds = translation_speeds(generator)
    logger.info("computing in %s: %s", speeds.best, speeds.reasons())
    return CANDIDATES[speeds.best]


def translation_speeds(generator: LoadedGenerator) -> Speeds:
    """How fast a generator translates on this CPU in each number format."""
    channels = f"{generator.in_channels} to {generator.out_channels} channels"
    what = ("translation", str(asdict(generator.config)), channels)
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", enabled=False):
        return fastest_here(what, list(CANDIDATES), lambda: translation_trials(generator))


def translation_trials(generator: LoadedGenerator) -> dict[str, Trial]:
    """A trial of each number format, of the layers that a predictor has in it."""
    return {name: translation_trial(generator, dtype) for name, dtype in CANDIDATES.items()}


def translation_trial(generator: LoadedGenerator, dtype: torch.dtype) -> Trial:
    """A typical convolution of a small map, and a small picture; the network is copied for that."""
    cpu = torch.device("cpu")
    layer = typical_convolution(generator.network)
    # Channels last, as predictors have them.
    alone = deepcopy(layer).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    small_map = torch.rand(1, layer.in_channels, SIDE_OF_PART, SIDE_OF_PART)
    small_map = small_map.to(dtype, memory_format=torch.channels_last)
    picture = torch.rand(1, generator.in_channels, SIDE, SIDE) * 2 - 1

    @cache
    def prepared() -> PreparedGenerator:
        return PreparedGenerator(generator, cpu, dtype, NO_LIMIT)

    return Trial(
        torch.inference_mode()(lambda: alone(small_map)),
        lambda: prepared().translate_tensor(picture),
    )
