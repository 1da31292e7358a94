"""Models as folders of ours, and as files of the reference implementation."""

import io
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch

from cyclegan_style.config import model_yaml
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.configurations import beyond_the_reference, differing_fields
from cyclegan_style.models.discriminator_files import (
    OUR_DISCRIMINATORS,
    REFERENCE_DISCRIMINATORS,
    LoadedDiscriminator,
    of_the_reference,
)
from cyclegan_style.models.export import CONFIG_FILE, export_model, generator_file
from cyclegan_style.models.model_files import (
    REFERENCE_GENERATORS,
    LoadedGenerator,
    State,
    find_model_folder,
    is_ours,
    load_generators,
    local_path,
)
from cyclegan_style.system.whole_files import write_durably

logger = logging.getLogger(__name__)


def convert(
    model: str, output: Path, discriminators: Mapping[str, LoadedDiscriminator]
) -> list[Path]:
    """Write the other kind of model than the one given, and return what was written.

    A folder with ``latest_net_G_A.pth`` and ``latest_net_G_B.pth`` becomes a model folder of ours;
    every other model becomes those two files, or one of them if it has one generator.
    Discriminators come along where there are any.
    """
    if local_path(model).is_file():
        raise UserError(printable(f"{model}: a single file holds one direction; name its folder"))
    folder = find_model_folder(model)
    if output.exists() and output.resolve() in (local_path(model).resolve(), folder.resolve()):
        raise UserError(printable(f"{output}: holds the model itself; choose another folder"))
    generators = load_generators(model)
    if is_ours(folder):
        refuse_beyond_the_reference(model, generators)
    if not discriminators:
        logger.warning("%s", printable(f"{model}: has no discriminators; generators are written"))
    if is_ours(folder):
        return write_reference_files(output, generators, discriminators)
    return write_model_folder(model, output, generators, discriminators)


def refuse_beyond_the_reference(model: str, generators: Mapping[str, LoadedGenerator]) -> None:
    """Raise a UserError for generators that the reference could not compute with."""
    beyond = {
        each for loaded in generators.values() for each in beyond_the_reference(loaded.config)
    }
    if beyond:
        raise UserError(
            printable(f"{model}: the reference has no layers for {', '.join(sorted(beyond))}")
        )


def write_reference_files(
    output: Path,
    generators: Mapping[str, LoadedGenerator],
    discriminators: Mapping[str, LoadedDiscriminator],
) -> list[Path]:
    """Write the plain state dicts that the reference loads, which knows no scales and no heads."""
    if any(each.config.feature_layers for each in discriminators.values()):
        logger.warning("the reference has no heads on features: they are left out")
    if any(each.config.scales > 1 for each in discriminators.values()):
        logger.warning(
            "the reference has one scale: discriminators of halved pictures are left out"
        )
    states = {
        REFERENCE_GENERATORS[name]: loaded.network.state_dict()
        for name, loaded in generators.items()
    }
    states |= {
        REFERENCE_DISCRIMINATORS[name]: of_the_reference(each.network.state_dict())
        for name, each in discriminators.items()
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, state in states.items():
            write_durably(output / name, saved(state))
    except OSError as error:
        raise UserError(printable(f"{output}: cannot be written: {error.strerror}")) from None
    return [output / name for name in states]


def saved(state: State) -> bytes:
    """What ``torch.save`` makes of a state dict."""
    buffer = io.BytesIO()
    torch.save(OrderedDict(state), buffer)
    return buffer.getvalue()


def write_model_folder(
    model: str,
    output: Path,
    generators: Mapping[str, LoadedGenerator],
    discriminators: Mapping[str, LoadedDiscriminator],
) -> list[Path]:
    """Write a model folder of ours, which holds all that loading it takes and no more."""
    refuse_unlike(model, generators, discriminators)
    some = next(iter(generators.values()))
    channels = (some.in_channels, some.out_channels)
    channels_a, channels_b = channels if some.direction == "ab" else channels[::-1]
    judge = next((each.config for each in discriminators.values()), None)
    try:
        export_model(
            output,
            {name: loaded.network for name, loaded in generators.items()},
            model_yaml(some.config, channels_a, channels_b, judge, some.task, some.ranges),
            {name: loaded.network for name, loaded in discriminators.items()},
        )
    except OSError as error:
        raise UserError(printable(f"{output}: cannot be written: {error.strerror}")) from None
    names = [
        CONFIG_FILE,
        *(generator_file(name) for name in generators),
        *(OUR_DISCRIMINATORS[name] for name in discriminators),
    ]
    return [output / name for name in names]


def refuse_unlike(
    model: str,
    generators: Mapping[str, LoadedGenerator],
    discriminators: Mapping[str, LoadedDiscriminator],
) -> None:
    """A model has one architecture, and one generator takes what the other gives."""
    differences: list[str] = []
    if len(generators) == 2:
        both = differing_fields(*(loaded.config for loaded in generators.values()))
        differences += [f"generator.{name} is {one} and {other}" for name, one, other in both]
    if len(discriminators) == 2:
        both = differing_fields(*(loaded.config for loaded in discriminators.values()))
        differences += [f"discriminator.{name} is {one} and {other}" for name, one, other in both]
    seen = {
        domain: {
            *(g.in_channels for name, g in generators.items() if name[0] == domain),
            *(g.out_channels for name, g in generators.items() if name[1] == domain),
            *(d.in_channels for name, d in discriminators.items() if name == domain),
        }
        for domain in ("a", "b")
    }
    differences += [
        f"domain {domain} has {' and '.join(map(str, sorted(channels)))} channels"
        for domain, channels in seen.items()
        if len(channels) > 1
    ]
    if differences:
        raise UserError(printable(f"{model}: its networks do not match: {'; '.join(differences)}"))
