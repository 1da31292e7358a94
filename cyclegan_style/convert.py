"""Our models as generator files of the reference implementation, and back."""

import io
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from cyclegan_style.checkpoint import write_durably
from cyclegan_style.config import Config, DataConfig, to_yaml
from cyclegan_style.errors import UserError
from cyclegan_style.export import export_model
from cyclegan_style.images import printable
from cyclegan_style.model_files import LoadedGenerator, load_generator

REFERENCE_FILES = {"ab": "latest_net_G_A.pth", "ba": "latest_net_G_B.pth"}


def convert(model: str, output: Path) -> list[Path]:
    """Write the other kind of model than the one given, and return what was written.

    A folder with ``latest_net_G_A.pth`` and ``latest_net_G_B.pth`` becomes a model folder of ours;
    every other model becomes those two files.
    """
    source = Path(model).expanduser()
    try:
        if all((source / name).is_file() for name in REFERENCE_FILES.values()):
            return from_reference(source, output)
        return to_reference(model, output)
    except OSError as error:
        raise UserError(printable(f"{output}: cannot be written: {error.strerror}")) from None


def to_reference(model: str, output: Path) -> list[Path]:
    """Write both generators as the plain state dicts that the reference loads."""
    if Path(model).expanduser().is_file():
        raise UserError(printable(f"{model}: a single file holds one direction; name its folder"))
    generators = {
        "ab": load_generator(model, "ab").network,
        "ba": load_generator(model, "ba").network,
    }
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    for direction, network in generators.items():
        buffer = io.BytesIO()
        torch.save(OrderedDict(network.state_dict()), buffer)
        paths.append(output / REFERENCE_FILES[direction])
        write_durably(paths[-1], buffer.getvalue())
    return paths


def from_reference(source: Path, output: Path) -> list[Path]:
    """Write a model folder of ours from the reference's two generator files."""
    ab = load_generator(source / REFERENCE_FILES["ab"], "ab")
    ba = load_generator(source / REFERENCE_FILES["ba"], "ba")
    _refuse_unlike(source, ab, ba)
    config = Config(
        data=DataConfig(channels_a=ab.in_channels, channels_b=ab.out_channels),
        generator=ab.config,
    )
    networks = nn.ModuleDict({"ab": ab.network, "ba": ba.network})
    export_model(output, networks, to_yaml(config))
    return sorted(path for path in output.iterdir() if path.is_file())


def _refuse_unlike(source: Path, ab: LoadedGenerator, ba: LoadedGenerator) -> None:
    """A model has one architecture, and one generator takes what the other gives."""
    first, second = asdict(ab.config), asdict(ba.config)
    differences = [
        f"{name} is {first[name]} and {second[name]}"
        for name in first
        if first[name] != second[name]
    ]
    if (ab.in_channels, ab.out_channels) != (ba.out_channels, ba.in_channels):
        differences.append("the channels that go in and out do not match")
    if differences:
        raise UserError(printable(f"{source}: its generators differ: {'; '.join(differences)}"))
