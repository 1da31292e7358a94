"""Whether a run compiles its residual blocks: where that is faster, and the run long enough.

Compiling goes on before the first step. In the background it would let a run change, at a step that
depends on the moment, to code with other roundings: no two runs would be the same.
"""

import sys
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor

from cyclegan_style.config import Config
from cyclegan_style.networks.resnet import ResidualBlock
from cyclegan_style.runs.run_folder import COMPILING_FILE
from cyclegan_style.system.hardware import PRECISIONS, training_device
from cyclegan_style.system.measured import Speeds, Trial, fastest_here, seconds_of
from cyclegan_style.system.processes import on_main_process, say
from cyclegan_style.training.compiling import compiled
from cyclegan_style.training.fastest_way import (
    begun_with,
    generator_on_trial,
    noise,
    say_what_is_chosen,
    train_once,
    what_is_trained,
)

NAMES = ("eager", "compiled")
LONG_ENOUGH_SECONDS = 600.0
"""Of training the blocks: the least gain that counts, a tenth, then saves twice what compiling
takes, some 25 seconds."""
DIVISION = 4
"""Of a picture's side before the blocks, and how often more channels there are."""


def with_compiling_of_run(config: Config, run: Path, precision: str, images: int) -> Config:
    """The configuration with ``auto`` replaced by what the run began with; all processes agree.

    ``images`` are those of an epoch.
    """
    if config.train.compile != "auto":
        return config
    chosen = on_main_process(lambda: _of_run(config, run, precision, images))
    return replace(
        config, train=replace(config.train, compile="blocks" if chosen == "compiled" else False)
    )


def _of_run(config: Config, run: Path, precision: str, images: int) -> str:
    fastest, speeds = _fastest(config, precision, images)
    began = begun_with(run, COMPILING_FILE, NAMES, fastest, "eager")
    if began == "compiled" and not _may_compile(config):
        say("the run began with compiled blocks, for direct convolutions that keep activations")
        began = fastest  # here; the run's own remains
    to_change = f"--train.compile {'blocks' if fastest == 'compiled' else 'false'}"
    say_what_is_chosen("residual blocks:", began, fastest, speeds, to_change)
    return began


def _may_compile(config: Config) -> bool:
    return config.train.convolutions == "direct" and not config.train.checkpoint_activations


def _fastest(config: Config, precision: str, images: int) -> tuple[str, Speeds | None]:
    """The faster way in the end and, where there is a choice, the measurement that says so."""
    if not _may_compile(config):
        return "eager", None
    speeds = training_speeds(config, precision, images)
    return ("eager", None) if speeds is None else (speeds.best, speeds)


def training_speeds(config: Config, precision: str, images: int) -> Speeds | None:
    """How fast a block trains in each way; None if there is none, or too little for it to do."""
    device = torch.device(training_device())
    dtype = next(getattr(torch, name) for name, known in PRECISIONS.items() if known == precision)
    with torch.random.fork_rng(devices=[]):
        block, inputs = block_on_trial(config, device)
        if block is None:
            return None
        eager = partial(train_once, block, inputs, dtype)
        seconds = min(seconds_of(eager) for _ in range(3))
        if seconds * times_in_blocks(config, images) < LONG_ENOUGH_SECONDS:
            return None

        def trials() -> dict[str, Trial]:
            # No smaller part could show a hopeless one: whatever comes first is compiled.
            other = partial(train_once, compiled(deepcopy(block), device), inputs, dtype)
            return {"eager": Trial(eager, eager), "compiled": Trial(eager, other)}

        place = torch.cuda.get_device_name() if device.type == "cuda" else device.type
        what = (
            "compiled blocks in training",
            f"{tuple(inputs.shape)} in {dtype} on {place}",
            *what_is_trained(config),
        )
        return fastest_here(what, NAMES, trials)


def block_on_trial(config: Config, device: torch.device) -> tuple[ResidualBlock | None, Tensor]:
    """A residual block as it is trained, and a map of the size that it is given."""
    layers = generator_on_trial(config).modules()
    block = next((layer for layer in layers if isinstance(layer, ResidualBlock)), None)
    height, width = config.data.crop
    maps = [
        noise(config, DIVISION * config.generator.channels, (height // DIVISION, width // DIVISION))
        for _ in range(config.train.batch_size)
    ]
    return (block if block is None else block.to(device)), torch.cat(maps).to(device)


def times_in_blocks(config: Config, images: int) -> int:
    """How often a process passes a batch through a block, forward and backward, in a whole run."""
    train = config.train
    epochs = train.epochs + train.decay_epochs
    batches = epochs * images // (train.batch_size * PartialState().num_processes)
    steps = (train.steps or batches // train.accumulation_steps, train.max_steps or sys.maxsize)
    there_and_back = 2 if config.task == "cyclegan" and not train.one_sided else 1
    passes = there_and_back * len(config.directions) * config.generator.blocks
    return min(steps) * train.accumulation_steps * passes
