"""The small folder that serves a user: two generators and the configuration that built them."""

from pathlib import Path

from torch import nn

from cyclegan_style.checkpoint import write_durably, write_tensors

CONFIG_FILE = "config.yaml"


def generator_file(direction: str) -> str:
    """Name of the file with the generator of a direction, ``ab`` or ``ba``."""
    return f"generator_{direction}.safetensors"


def export_model(folder: Path, generators: nn.ModuleDict, config_yaml: str) -> None:
    """Write or refresh a model folder; each file is replaced in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / CONFIG_FILE, config_yaml.encode())
    for direction, generator in generators.items():
        write_tensors(folder / generator_file(direction), generator.state_dict())
