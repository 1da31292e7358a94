"""The number format in which a run trains: the fastest where it begins, the same from then on."""

from dataclasses import replace
from pathlib import Path

import torch

from cyclegan_style.config import Config
from cyclegan_style.networks.layers import typical_convolution
from cyclegan_style.runs.run_folder import FORMAT_FILE
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
from cyclegan_style.training.convolutions import with_fastest_convolutions
from cyclegan_style.training.fastest_way import (
    begun_with,
    generator_on_trial,
    say_what_is_chosen,
    training_trial,
    what_is_trained,
)

CANDIDATES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""fp16 needs a GPU."""
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
    if config.train.mixed_precision == "auto":
        join_training(config.train)
        precision = PRECISIONS[on_main_process(lambda: _fastest(config)[0])]
        config = replace(config, train=replace(config.train, mixed_precision=precision))
    return with_fastest_convolutions(config)


def _format_of_run(config: Config, run: Path) -> str:
    fastest, speeds = _fastest(config)
    device = training_device()
    began = begun_with(run, FORMAT_FILE, PRECISIONS, fastest, format_of_earlier_versions(device))
    if not trains_in(PRECISIONS[began], device):
        say(f"the run began in {began}, in which this {device} cannot train")
        began = fastest  # here; the run's own remains
    to_change = f"--train.mixed_precision {PRECISIONS[fastest]}"
    say_what_is_chosen("computing in", began, fastest, speeds, to_change)
    return began


def _fastest(config: Config) -> tuple[str, Speeds | None]:
    """The fastest number format and, on a CPU, the measurement that says so."""
    known = known_format(training_device())
    if known is not None:
        return name_of_format(known), None
    speeds = training_speeds(config)
    return speeds.best, speeds


def training_speeds(config: Config) -> Speeds:
    """How fast the generator trains on this CPU in each number format."""

    def trials() -> dict[str, Trial]:
        network = generator_on_trial(config)
        layer = typical_convolution(network)
        return {
            name: training_trial(config, layer, network, SIDE, dtype)
            for name, dtype in CANDIDATES.items()
        }

    with torch.random.fork_rng(devices=[]):
        return fastest_here(("training", *what_is_trained(config)), list(CANDIDATES), trials)
