"""Whatever holds trained discriminators → all of them.

They lie in the checkpoints of a run, beside the generators of a model folder that training is to
go on from, or in files of the reference implementation. The reference names a discriminator after
the generator that it teaches: its ``D_A`` judges domain B.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn
from torch.nn.utils import parametrize

from cyclegan_style.config import DiscriminatorConfig
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.configurations import depth_of
from cyclegan_style.models.export import discriminator_file
from cyclegan_style.models.model_files import (
    State,
    directions_of,
    network_of,
    norm_between,
    read_reference_state,
    unknown_network,
    without_norm_buffers,
)
from cyclegan_style.networks import build_discriminator
from cyclegan_style.networks.discriminators import SCALES
from cyclegan_style.networks.feature_heads import HEADS, SQUEEZENET_LAYERS

REFERENCE_DISCRIMINATORS = {"a": "latest_net_D_B.pth", "b": "latest_net_D_A.pth"}
"""By the domain that is judged."""
OUR_DISCRIMINATORS = {domain: discriminator_file(domain) for domain in ("a", "b")}


@dataclass(frozen=True)
class LoadedDiscriminator:
    """A discriminator in float32 on the CPU, and what built it.

    A spectral norm is gone: its weights are the bounded ones.
    """

    network: nn.Module
    config: DiscriminatorConfig
    in_channels: int


def read_discriminator_file(path: Path) -> LoadedDiscriminator:
    """The discriminator that the tensors of a file tell."""
    state = read_reference_state(path)
    config, in_channels = _infer_config(path, state)
    if config.norm == "instance":
        state = without_norm_buffers(state)
    return built_discriminator(path, state, config, in_channels)


def discriminators_of_files(
    folder: Path, names: Mapping[str, str]
) -> dict[str, LoadedDiscriminator]:
    """Discriminators of a folder by the domain that each judges, none or one of every generator."""
    paths = {domain: folder / name for domain, name in names.items()}
    there = {domain: path for domain, path in paths.items() if path.is_file()}
    targets = [direction[1] for direction in directions_of(folder)]
    missing = [paths[domain] for domain in targets if domain not in there]
    if there and missing:
        raise UserError(
            printable(f"{missing[0]}: no such file, but the other discriminator is there")
        )
    return {domain: read_discriminator_file(path) for domain, path in there.items()}


def built_discriminator(
    path: Path, state: State, config: DiscriminatorConfig, in_channels: int
) -> LoadedDiscriminator:
    """The network with these tensors, without the parametrisation of a spectral norm."""
    network = network_of(
        path,
        state,
        lambda: build_discriminator(config, in_channels),
        f"{config.architecture} discriminator",
        depth_of(config),
    )
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return LoadedDiscriminator(network.requires_grad_(False), config, in_channels)


def of_the_reference(state: State) -> State:
    """The tensors that the reference has as well, which knows neither scales nor heads."""
    return {key: tensor for key, tensor in state.items() if not key.startswith((SCALES, HEADS))}


def _infer_config(path: Path, state: State) -> tuple[DiscriminatorConfig, int]:
    config, in_channels = _infer_first(path, of_the_reference(state))
    scales = {key.split(".")[1] for key in state if key.startswith(SCALES)}
    layers = {key.split(".")[1] for key in state if key.startswith(HEADS)}
    known = tuple(layer for layer in SQUEEZENET_LAYERS if layer in layers)
    return replace(config, feature_layers=known, scales=1 + len(scales)), in_channels


def _infer_first(path: Path, state: State) -> tuple[DiscriminatorConfig, int]:
    try:
        if "net.0.weight" in state:
            channels, in_channels, _, _ = state["net.0.weight"].shape
            norm = norm_between(state, "net.2", "net.3")
            return DiscriminatorConfig("pixel", channels=channels, norm=norm), in_channels
        first = "whole" if "whole.0.weight" in state else "model"
        channels, in_channels, _, _ = state[f"{first}.0.weight"].shape
        # After the first layer each takes three places, and the last convolution one.
        layers = (max(int(key.split(".")[1]) for key in state) - 2) // 3
        norm = norm_between(state, f"{first}.2", f"{first}.3")
        config = DiscriminatorConfig("patch", channels=channels, layers=layers, norm=norm)
        if first == "whole":  # whose first layer is one of its halvings
            config = replace(config, architecture="whole", layers=layers + 1)
        return config, in_channels
    except (LookupError, ValueError):
        expected = (
            "model.0.weight and model.2.weight (patch), net.0.weight (pixel) or whole.0.weight"
            " (whole)"
        )
        raise unknown_network(path, state, "discriminator", expected) from None
