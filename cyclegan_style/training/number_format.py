"""The number format in which a run trains: the fastest where it begins, the same from then on."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cyclegan_style.config import Config
from cyclegan_style.directions import DIRECTIONS
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.layers import typical_convolution
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.runs.run_folder import has_begun, keep_format, kept_format
from cyclegan_style.system.hardware import (
    PRECISIONS,
    format_of_earlier_versions,
    join_training,
    known_format,
    name_of_format,
    training_device,
    trains_in,
)
from cyclegan_style.system.measured import Speeds, Trial, fastest_here
from cyclegan_style.system.processes import on_main_process, say

CANDIDATES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""fp16 needs a GPU."""
SIDE_OF_PART = 16
SIDE = 64
"""Of the picture that is translated for the measurement, or the next that the network takes."""


def precision_of_run(config: Config, run: Path) -> str:
    """accelerate's name of the number format in which a run trains; all processes agree on it.

    With ``auto`` it is the one that the run began in, if it has begun, and is kept with it.
    """
    if config.train.mixed_precision != "auto":
        return config.train.mixed_precision
    return PRECISIONS[on_main_process(lambda: _format_of_run(config, run))]


def settled(config: Config) -> Config:
    """The configuration with ``auto`` replaced by what is fastest here, for timings."""
    if config.train.mixed_precision != "auto":
        return config
    join_training(config.train)
    precision = PRECISIONS[on_main_process(lambda: _fastest(config)[0])]
    return replace(config, train=replace(config.train, mixed_precision=precision))


def _format_of_run(config: Config, run: Path) -> str:
    fastest, speeds = _fastest(config)
    device = training_device()
    kept = kept_format(run)
    began = (kept or format_of_earlier_versions(device)) if has_begun(run) else fastest
    if not trains_in(PRECISIONS[began], device):
        say(f"the run began in {began}, in which this {device} cannot train")
        began = fastest  # here; the run's own remains
    elif kept != began:
        keep_format(run, began)
    say_what_is_chosen(began, fastest, speeds)
    return began


def say_what_is_chosen(chosen: str, fastest: str, speeds: Speeds | None) -> None:
    """One line of the number format, and why; of a GPU's own no more than what is unusual."""
    if chosen != fastest:
        by = "" if speeds is None else f": {speeds.compared(fastest, chosen)}{speeds.source}"
        say(
            f"computing in {chosen}, as the run began, though {fastest} is faster here{by};"
            f" to go on in it: --train.mixed_precision {PRECISIONS[fastest]}"
        )
    elif speeds is not None:
        say(f"computing in {chosen}: {speeds.reasons()}")


def _fastest(config: Config) -> tuple[str, Speeds | None]:
    """The fastest number format and, on a CPU, the measurement that says so."""
    known = known_format(training_device())
    if known is not None:
        return name_of_format(known), None
    speeds = training_speeds(config)
    return speeds.best, speeds


def training_speeds(config: Config) -> Speeds:
    """How fast the generator trains on this CPU in each number format."""
    first = DIRECTIONS[0]
    source, target = config.data.channels[first.source], config.data.channels[first.target]
    layout = torch.channels_last if config.train.channels_last else torch.contiguous_format

    def noise(channels: int, side: int) -> Tensor:
        return torch.rand(1, channels, side, side).contiguous(memory_format=layout)

    def trials() -> dict[str, Trial]:
        network = build_generator(config.generator, source, target).to(memory_format=layout)
        layer = typical_convolution(network)
        small_map = noise(layer.in_channels, SIDE_OF_PART).requires_grad_()
        divisor = size_divisor(config.generator)
        picture = noise(source, -(-SIDE // divisor) * divisor)
        return {
            name: Trial(
                partial(train_once, layer, small_map, dtype),
                partial(train_once, network, picture, dtype),
            )
            for name, dtype in CANDIDATES.items()
        }

    channels = f"{source} to {target} channels"
    what = ("training", str(asdict(config.generator)), channels, str(layout))
    with torch.random.fork_rng(devices=[]):
        return fastest_here(what, list(CANDIDATES), trials)


def train_once(module: nn.Module, inputs: Tensor, dtype: torch.dtype) -> None:
    """One pass forward and backward, as a step of training makes it."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        outputs: Tensor = module(inputs)
    outputs.float().square().mean().backward()
