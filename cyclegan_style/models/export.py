"""The small folder that serves a user: generators and the configuration that built them."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from cyclegan_style.system.tensor_files import write_all
from cyclegan_style.system.whole_files import write_durably

CONFIG_FILE = "config.yaml"
CARD_FILE = "README.md"
"""What the Hub shows of a model."""
MODEL_FOLDER = "model"
"""Folder of a run in which its model lies."""


def generator_file(direction: str) -> str:
    """Name of the file with the generator of a direction, ``ab`` or ``ba``."""
    return f"generator_{direction}.safetensors"


def discriminator_file(domain: str) -> str:
    """Name of the file with the discriminator of a domain, ``a`` or ``b``."""
    return f"discriminator_{domain}.safetensors"


def export_model(
    folder: Path,
    generators: nn.ModuleDict | Mapping[str, nn.Module],
    config_yaml: str,
    discriminators: Mapping[str, nn.Module] | None = None,
) -> None:
    """Write or refresh a model folder; each file is replaced in one move.

    Discriminators are of use only to those who train the model further.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / CONFIG_FILE, config_yaml.encode())
    networks = {folder / generator_file(name): network for name, network in generators.items()}
    networks |= {
        folder / discriminator_file(name): network
        for name, network in (discriminators or {}).items()
    }
    write_all({path: network.state_dict() for path, network in networks.items()})
