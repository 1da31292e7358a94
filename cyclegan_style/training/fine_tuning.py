"""Weights of a trained model that a fresh run begins with, instead of random ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from cyclegan_style.config import Config, DiscriminatorConfig
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.configurations import differing_fields
from cyclegan_style.models.discriminator_files import LoadedDiscriminator
from cyclegan_style.models.model_files import LoadedGenerator, load_generators
from cyclegan_style.networks import bound_spectrally, build_discriminator
from cyclegan_style.runs.discriminators import load_discriminators
from cyclegan_style.training.step import TrainingStep


def begin_from(model: str, config: Config, step: TrainingStep) -> str:
    """Put a model's weights into a training step that has taken none, and say what they are."""
    generators = load_generators(model)
    discriminators = load_discriminators(model) if step.discriminators is not None else {}
    _refuse_others(model, config, generators, discriminators)
    for direction, generator in step.generators.items():
        generator.load_state_dict(generators[direction].network.state_dict())
    if step.average is not None:
        step.average.module.load_state_dict(step.generators.state_dict())
    if step.discriminators is None:
        return printable(f"beginning with the generators of {model}")
    for domain in step.discriminators.keys() & discriminators.keys():
        found = _as_configured(discriminators[domain], config.discriminator)
        # Scales and heads that it lacks stay as they are: random, but the same in all processes.
        step.discriminators[domain].load_state_dict(found.state_dict(), strict=False)
    if not discriminators:
        return printable(f"beginning with the generators of {model}; it has no discriminators")
    fresh = _fresh_parts(config.discriminator, [each.config for each in discriminators.values()])
    return printable(f"beginning with the generators and discriminators of {model}{fresh}")


def _fresh_parts(config: DiscriminatorConfig, found: Sequence[DiscriminatorConfig]) -> str:
    """What of the configured discriminators those found lack, for people."""
    scales = range(1 + min(each.scales for each in found), 1 + config.scales)
    layers = [
        layer
        for layer in config.feature_layers
        if any(layer not in each.feature_layers for each in found)
    ]
    told = f"; fresh are scales {', '.join(map(str, scales))}" if scales else ""
    return told + (f"; fresh are the heads on {', '.join(layers)}" if layers else "")


def _as_configured(discriminator: LoadedDiscriminator, config: DiscriminatorConfig) -> nn.Module:
    """A copy of the discriminator, with a spectral norm if one is configured.

    It has those of the configured scales and heads that the discriminator has.
    """
    there = discriminator.config.feature_layers
    common = tuple(layer for layer in config.feature_layers if layer in there)
    scales = min(config.scales, discriminator.config.scales)
    plain = replace(config, spectral_norm=False, feature_layers=common, scales=scales)
    network = build_discriminator(plain, discriminator.in_channels)
    state = discriminator.network.state_dict()
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    if config.spectral_norm:
        bound_spectrally(network)
    return network


def _refuse_others(
    model: str,
    config: Config,
    generators: Mapping[str, LoadedGenerator],
    discriminators: Mapping[str, LoadedDiscriminator],
) -> None:
    """Raise a UserError that lists in what a model differs from what is to be trained."""
    channels = config.data.channels
    differences: set[str] = set()
    for name, source, target, _ in config.directions:
        if name not in generators:
            raise UserError(
                printable(
                    f"train.start_from: {model}: has no generator {name}, which is to be trained;"
                    f" it translates {' and '.join(generators)} alone"
                )
            )
        found = generators[name]
        differences |= {
            f"generator.{field} is {there} there and {here} here"
            for field, there, here in differing_fields(found.config, config.generator)
        }
        differences |= _of_channels(source, found.in_channels, channels[source])
        differences |= _of_channels(target, found.out_channels, channels[target])
    for domain, judge in discriminators.items():
        differences |= {
            f"discriminator.{field} is {there} there and {here} here"
            for field, there, here in differing_fields(judge.config, config.discriminator)
        }
        differences |= _of_channels(domain, judge.in_channels, channels[domain])
    if differences:
        raise UserError(
            printable(
                f"train.start_from: {model}: has other networks than are configured:"
                f" {'; '.join(sorted(differences))}"
            )
        )


def _of_channels(domain: str, found: int, configured: int) -> set[str]:
    if found == configured:
        return set()
    return {f"data.channels_{domain} is {found} there and {configured} here"}
