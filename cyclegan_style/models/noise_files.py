"""Whatever holds a generator that makes pictures out of noise → that generator.

The files may be anybody's: they hold tensors alone, and a network is built for them only if it has
exactly these.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cyclegan_style.config import DataConfig, GeneratorConfig, noise_model_yaml, square_side
from cyclegan_style.errors import UserError, printable
from cyclegan_style.models.export import CONFIG_FILE, export_model
from cyclegan_style.models.model_files import (
    NOISE_FILE,
    find_folder,
    known_fields,
    local_path,
    makes_from_noise,
    network_of,
    read_sections,
    read_state,
)
from cyclegan_style.networks import build_noise_generator


@dataclass(frozen=True)
class LoadedNoiseGenerator:
    """A generator in float32 on the CPU, and what built it."""

    network: nn.Module
    config: GeneratorConfig
    side: int
    channels: int


def is_noise_model(model: str) -> bool:
    """Whether a model on this machine or the Hub makes pictures out of noise."""
    path = local_path(model)
    if path.is_file():
        return path.name == NOISE_FILE
    return makes_from_noise(find_folder(path if path.is_dir() else model))


def write_noise_folder(output: Path, loaded: LoadedNoiseGenerator) -> list[Path]:
    """Write a model folder of ours, which holds all that ``generate`` needs and no more."""
    try:
        export_model(
            output,
            {"b": loaded.network},
            noise_model_yaml(loaded.config, loaded.side, loaded.channels),
        )
    except OSError as error:
        raise UserError(printable(f"{output}: cannot be written: {error.strerror}")) from None
    return [output / CONFIG_FILE, output / NOISE_FILE]


def load_noise_generator(model: str | Path) -> LoadedNoiseGenerator:
    """Load the generator of a run, an exported folder, its file or a Hub repository."""
    path = local_path(model)
    if path.is_file() and path.name == NOISE_FILE:
        path = path.parent
    folder = path if path.is_file() else find_folder(path if path.is_dir() else model)
    if not makes_from_noise(folder):
        raise UserError(
            printable(f"{model}: this model translates pictures: use cyclegan-style translate")
        )
    sections = read_sections(folder / CONFIG_FILE)
    config = GeneratorConfig(**known_fields(GeneratorConfig, sections.get("generator")))
    data = DataConfig(**known_fields(DataConfig, sections.get("data")))
    file = folder / NOISE_FILE
    channels = data.channels_b
    network = network_of(
        file,
        read_state(file),
        lambda: build_noise_generator(config, square_side(data.crop_size), channels),
        f"{config.architecture} generator",
        0,
    )
    return LoadedNoiseGenerator(network, config, square_side(data.crop_size), channels)
