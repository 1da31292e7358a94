"""Replay of a recorded trajectory of the reference implementation through our own step.

A trajectory is a safetensors file (weights before and after, inputs and first outputs) with a JSON
file of the same name beside it (configuration and losses of every step). The reference names
networks otherwise: its ``G_A`` maps A to B, its ``D_A`` judges domain B, its ``cycle_A`` starts
in A and its ``idt_A`` is ‖G_A(B) − B‖.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cyclegan_style.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
)
from cyclegan_style.errors import UserError
from cyclegan_style.training.cyclegan import GeneratorTurn
from cyclegan_style.training.cyclegan_step import CycleGanStep

LOSS_NAMES = {
    "G_A": "adversarial_ab",
    "G_B": "adversarial_ba",
    "cycle_A": "cycle_a",
    "cycle_B": "cycle_b",
    "idt_A": "identity_b",
    "idt_B": "identity_a",
    "D_A": "discriminator_b",
    "D_B": "discriminator_a",
}
OBJECTIVES = {"lsgan": "least_squares", "vanilla": "cross_entropy"}


@dataclass(frozen=True)
class ReplayErrors:
    """Largest differences between a recorded trajectory and its replay."""

    max_relative_loss_error: float
    """Of any loss of any step, relative to the recorded value."""
    max_output_error: float
    """Of any value of the translations and reconstructions of the first step, absolute."""
    max_weight_error: float
    """Of any convolution weight after the last step, absolute."""


@dataclass(frozen=True)
class Trajectory:
    """A recorded trajectory as it was read."""

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    @property
    def steps(self) -> int:
        """Number of recorded optimiser steps."""
        return len(self.record["losses"])

    def weights(self, moment: str, network: str) -> dict[str, Tensor]:
        """State dict of the reference's ``network``, ``init`` or ``final``."""
        prefix = f"{moment}.{network}."
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(prefix)
        }


def read_trajectory(path: Path) -> Trajectory:
    """Read the safetensors file and the JSON file beside it."""
    record_path = path.with_suffix(".json")
    try:
        tensors = load_file(path)
        record = json.loads(record_path.read_text(encoding="utf-8"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(
            f"{path}: no readable trajectory with its .json beside it: {error}"
        ) from None
    if not isinstance(record, dict) or not {"config", "losses"} <= record.keys():
        raise UserError(f"{record_path}: not the record of a trajectory: no 'config' or 'losses'")
    return Trajectory(tensors, record)


def replay(path: Path) -> ReplayErrors:
    """Run the recorded inputs through the trainer's step in float64 and compare."""
    trajectory = read_trajectory(path)
    try:
        return _replay(trajectory)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: does not fit its own configuration: {error!r}") from None


def _replay(trajectory: Trajectory) -> ReplayErrors:
    config = config_of(trajectory)
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    step = CycleGanStep(config, accelerator, dtype=torch.float64)
    networks = {
        "G_A": step.generators["ab"],
        "G_B": step.generators["ba"],
        "D_A": step.discriminators["b"],
        "D_B": step.discriminators["a"],
    }
    for name, network in networks.items():
        network.load_state_dict(trajectory.weights("init", name))
    loss_error = output_error = 0.0
    for number in range(trajectory.steps):
        inputs = {
            "a": trajectory.tensors[f"input.{number}.A"].double(),
            "b": trajectory.tensors[f"input.{number}.B"].double(),
        }
        losses = step.run([inputs])
        recorded = trajectory.record["losses"][number]
        loss_error = _largest((loss_error, _loss_error(losses, recorded)))
        if number == 0:
            output_error = _output_error(step.turns[0], trajectory)
    weight_error = _largest(
        _weight_error(network, trajectory.weights("final", name))
        for name, network in networks.items()
    )
    return ReplayErrors(loss_error, output_error, weight_error)


def config_of(trajectory: Trajectory) -> Config:
    """Our configuration that means what the recorded one means."""
    recorded = trajectory.record["config"]
    identity = recorded["lambda_identity"]
    objective = recorded.get("gan_mode", "lsgan")
    if objective not in OBJECTIVES:
        raise UserError(f"gan_mode {objective!r} cannot be replayed, only {', '.join(OBJECTIVES)}")
    if recorded.get("pool_size", 0):
        raise UserError("a trajectory with an image pool is random and cannot be replayed")
    return Config(
        data=DataConfig(
            channels_a=trajectory.tensors["input.0.A"].shape[1],
            channels_b=trajectory.tensors["input.0.B"].shape[1],
        ),
        generator=_generator_config(recorded),
        discriminator=_discriminator_config(trajectory),
        loss=LossConfig(
            adversarial=OBJECTIVES[objective],  # type: ignore[arg-type]
            cycle_a=recorded["lambda_A"],
            cycle_b=recorded["lambda_B"],
            identity_a=recorded["lambda_A"] * identity,
            identity_b=recorded["lambda_B"] * identity,
        ),
        optimizer=OptimizerConfig(
            learning_rate=recorded["lr"],
            beta1=recorded["beta1"],
            beta2=recorded.get("beta2", 0.999),
        ),
        train=TrainConfig(pool_size=0),
    )


def _generator_config(recorded: Mapping[str, Any]) -> GeneratorConfig:
    """Read names such as ``resnet_9blocks`` and ``unet_128``."""
    family, _, size = recorded["netG"].partition("_")
    norm = recorded.get("normG", recorded.get("norm", "instance"))
    if family == "resnet":
        blocks = int(size.removesuffix("blocks"))
        return GeneratorConfig("resnet", channels=recorded["ngf"], blocks=blocks, norm=norm)
    if family == "unet":
        levels = int(size).bit_length() - 1
        return GeneratorConfig("unet", channels=recorded["ngf"], levels=levels, norm=norm)
    raise UserError(f"netG {recorded['netG']!r} is neither resnet_<n>blocks nor unet_<size>")


def _discriminator_config(trajectory: Trajectory) -> DiscriminatorConfig:
    """The depth is read off the weights: names such as ``basic`` leave it to convention."""
    recorded = trajectory.record["config"]
    norm = recorded.get("normD", recorded.get("normG", recorded.get("norm", "instance")))
    if recorded["netD"] == "pixel":
        return DiscriminatorConfig("pixel", channels=recorded["ndf"], norm=norm)
    last_place = max(int(key.split(".")[1]) for key in trajectory.weights("init", "D_A"))
    layers = (last_place - 2) // 3
    return DiscriminatorConfig("patch", channels=recorded["ndf"], layers=layers, norm=norm)


def _loss_error(losses: Mapping[str, Tensor], recorded: Mapping[str, float]) -> float:
    """Largest relative error; where both are 0 there is none."""
    if not recorded:
        raise ValueError("a step without losses")
    errors = [0.0]
    for name, expected in recorded.items():
        ours = losses[LOSS_NAMES[name]].item()
        if ours != expected:
            errors.append(abs(ours - expected) / max(abs(expected), torch.finfo(torch.double).tiny))
    return _largest(errors)


def _output_error(turn: GeneratorTurn, trajectory: Trajectory) -> float:
    outputs = {f"fake_{domain.upper()}": image for domain, image in turn.fakes.items()}
    outputs |= {f"rec_{name.upper()}": image for name, image in turn.reconstructions.items()}
    return _largest(
        (output - trajectory.tensors[f"step0.{name}"]).abs().max().item()
        for name, output in outputs.items()
    )


def _weight_error(network: nn.Module, final: Mapping[str, Tensor]) -> float:
    """Biases are left out: before an instance norm their gradient is nothing but rounding."""
    return _largest(
        float((weight - final[key]).abs().max())
        for key, weight in network.state_dict().items()
        if weight.ndim == 4
    )


def _largest(errors: Iterable[float]) -> float:
    """The largest error; one that is not a number exceeds all others, which ``max`` would lose."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)
