"""How a run computes its convolutions: the fastest where it begins, the same from then on."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch

from cyclegan_style.config import Config, TrainConfig
from cyclegan_style.errors import UserError
from cyclegan_style.networks.winograd import layers_that_gain, train_by_winograd
from cyclegan_style.runs.run_folder import CONVOLUTIONS_FILE
from cyclegan_style.system.hardware import (
    format_of,
    join_training,
    name_of_format,
    training_device,
)
from cyclegan_style.system.measured import Speeds, Trial, fastest_here
from cyclegan_style.system.processes import on_main_process, say
from cyclegan_style.training.fastest_way import (
    begun_with,
    generator_on_trial,
    say_what_is_chosen,
    training_trial,
    what_is_trained,
)

NAMES = ("direct", "winograd")
LARGEST_SIDE = 128
"""Of the picture that is translated for the measurement."""


def refuse_convolutions(train: TrainConfig) -> None:
    """Raise a UserError if the device cannot train with the chosen convolutions."""
    device = training_device()
    if train.convolutions == "winograd" and device != "cpu":
        raise UserError(
            f"train.convolutions: winograd is for CPUs; on this {device} choose direct or auto"
        )


def with_convolutions_of_run(config: Config, run: Path, precision: str) -> Config:
    """The configuration with ``auto`` replaced by what the run began with; all processes agree."""
    if config.train.convolutions != "auto":
        return config
    return _computing_by(config, on_main_process(lambda: _of_run(config, run, precision)))


def with_fastest_convolutions(config: Config) -> Config:
    """The configuration with ``auto`` replaced by what is fastest here, for timings.

    Where Winograd's algorithm gains, it does more than the compiler, which is then left out.
    """
    if config.train.convolutions != "auto":
        return config
    join_training(config.train)
    eager = replace(config, train=replace(config.train, compile=False))
    precision = config.train.mixed_precision
    if on_main_process(lambda: _fastest(eager, precision)[0]) == "winograd":
        return _computing_by(eager, "winograd")
    return _computing_by(config, "direct")


def _computing_by(config: Config, name: str) -> Config:
    return replace(
        config,
        train=replace(config.train, convolutions="winograd" if name == "winograd" else "direct"),
    )


def _of_run(config: Config, run: Path, precision: str) -> str:
    fastest, speeds = _fastest(config, precision)
    began = begun_with(run, CONVOLUTIONS_FILE, NAMES, fastest, "direct")
    if began == "winograd" and not _takes_winograd(config, precision):
        say("the run began with winograd convolutions, for CPUs without train.compile or fp16")
        began = fastest  # here; the run's own remains
    say_what_is_chosen("convolutions:", began, fastest, speeds, f"--train.convolutions {fastest}")
    return began


def _takes_winograd(config: Config, precision: str) -> bool:
    return training_device() == "cpu" and precision != "fp16" and not config.train.compiles


def _fastest(config: Config, precision: str) -> tuple[str, Speeds | None]:
    """The fastest way and, where there is a choice, the measurement that says so."""
    if not _takes_winograd(config, precision):
        return "direct", None
    speeds = training_speeds(config, format_of(precision))
    return ("direct", None) if speeds is None else (speeds.best, speeds)


def training_speeds(config: Config, dtype: torch.dtype = torch.float32) -> Speeds | None:
    """How fast the generator trains on this CPU in each way; None if it is the same one."""
    side = min(*config.data.crop, LARGEST_SIDE)

    def trials() -> dict[str, Trial]:
        network = generator_on_trial(config)
        networks = {"direct": network, "winograd": deepcopy(network)}
        train_by_winograd(networks["winograd"])
        return {
            name: training_trial(config, layers_that_gain(network)[0], network, side, dtype)
            for name, network in networks.items()
        }

    with torch.random.fork_rng(devices=[]):
        if not layers_that_gain(generator_on_trial(config)):
            return None
        doing = f"convolutions in training in {name_of_format(dtype)}"
        what = (doing, f"{side} pixels", *what_is_trained(config))
        return fastest_here(what, NAMES, trials)
