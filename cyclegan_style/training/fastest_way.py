"""What it takes to let a run train in the fastest of several ways, and keep to that one."""

from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cyclegan_style.config import Config, Size, square_side
from cyclegan_style.config.directions import DIRECTIONS
from cyclegan_style.networks import build_generator, build_noise_generator
from cyclegan_style.networks.sizes import size_divisor
from cyclegan_style.runs.run_folder import has_begun, keep_choice, kept_choice
from cyclegan_style.system.measured import Speeds, Trial
from cyclegan_style.system.processes import say
from cyclegan_style.training.side_by_side import WAYS, goes_side_by_side, start_threads

SIDE_OF_PART = 32
"""Of the map on which one layer is tried; of a smaller one its weights take most of the time."""


def begun_with(
    run: Path, file: str, names: Collection[str], fastest: str, of_earlier_versions: str
) -> str:
    """The way in which the run began, which its file keeps; the fastest, if it begins now."""
    kept = kept_choice(run, file, names)
    began = (kept or of_earlier_versions) if has_begun(run) else fastest
    if kept != began:
        keep_choice(run, file, began)
    return began


def say_what_is_chosen(
    doing: str, chosen: str, fastest: str, speeds: Speeds | None, to_change: str
) -> None:
    """One line of the way and why; where nothing was measured, no more than what is unusual."""
    if chosen != fastest:
        why = f"{fastest} is faster here" if speeds is None else speeds.better_than(chosen)
        say(f"{doing} {chosen}, as the run began, though {why}; to go on in it: {to_change}")
    elif speeds is not None:
        say(f"{doing} {chosen}: {speeds.reasons()}")


# What is timed


def what_is_trained(config: Config) -> tuple[str, ...]:
    """What the time of a generator's training depends on, beside the size of pictures."""
    source, target = _channels(config)
    noise = config.task == "noise"
    made = f"{config.data.crop_size} pixels" if noise else f"{source} to {target} channels"
    at_once = f"{ways_at_once(config)} at once"
    return str(asdict(config.generator)), made, str(_layout(config)), at_once


def ways_at_once(config: Config) -> int:
    """How many generators are trained at once, each by its share of the cores."""
    return WAYS if goes_side_by_side(config) else 1


def training_trial(
    config: Config,
    layer: nn.Conv2d | nn.ConvTranspose2d,
    network: nn.Module,
    side: int,
    dtype: torch.dtype,
) -> Trial:
    """Training of a layer on a small map, and of its generator as a step trains that."""
    small_map = map_on_trial(config, layer.in_channels)
    part = partial(train_once, layer, small_map, dtype)
    networks = [network, *(deepcopy(network) for _ in range(ways_at_once(config) - 1))]
    picture = picture_on_trial(config, side)
    passes = [partial(train_once, each, picture, dtype) for each in networks]
    return Trial(part, passes[0] if len(passes) == 1 else partial(all_at_once, passes))


def all_at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Make all calls, each in a thread with its share of the cores."""
    with start_threads(len(calls), torch.get_num_threads() // len(calls)) as threads:
        for done in [threads.submit(call) for call in calls]:
            done.result()


def generator_on_trial(config: Config) -> nn.Module:
    """One as it is trained, with weights of chance."""
    if config.task == "noise":
        side, channels = square_side(config.data.crop_size), config.data.channels_b
        network = build_noise_generator(config.generator, side, channels)
    else:
        network = build_generator(config.generator, *_channels(config))
    return network.to(memory_format=_layout(config))


def picture_on_trial(config: Config, side: int) -> Tensor:
    """A picture of noise with this side, or the next that the generator takes, or a latent."""
    if config.task == "noise":
        return torch.rand(2, config.generator.latent)  # of one alone batch norm makes nothing
    divisor = size_divisor(config.generator)
    side = -(-side // divisor) * divisor
    return noise(config, _channels(config)[0], (side, side))


def map_on_trial(config: Config, channels: int) -> Tensor:
    """A small map of noise before a layer, which trains the layers before it as well."""
    return noise(config, channels, (SIDE_OF_PART, SIDE_OF_PART)).requires_grad_()


def noise(config: Config, channels: int, size: Size) -> Tensor:
    """A map of chance."""
    return torch.rand(1, channels, *size).contiguous(memory_format=_layout(config))


def train_once(module: Callable[[Tensor], Tensor], inputs: Tensor, dtype: torch.dtype) -> None:
    """One pass forward and backward, as a step of training makes it."""
    with torch.autocast(inputs.device.type, dtype, enabled=dtype != torch.float32):
        outputs = module(inputs)
    outputs.float().square().mean().backward()
    if inputs.is_cuda:
        torch.cuda.synchronize()


def _channels(config: Config) -> tuple[int, int]:
    first = DIRECTIONS[0]
    return config.data.channels[first.source], config.data.channels[first.target]


def _layout(config: Config) -> torch.memory_format:
    return torch.channels_last if config.train.channels_last else torch.contiguous_format
