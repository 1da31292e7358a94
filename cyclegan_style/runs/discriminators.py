"""Discriminators of a run, which lie in its checkpoints, or of a model that has files of them."""

from pathlib import Path

from cyclegan_style.config import DataConfig, DiscriminatorConfig
from cyclegan_style.config.directions import DOMAINS
from cyclegan_style.models.discriminator_files import (
    OUR_DISCRIMINATORS,
    REFERENCE_DISCRIMINATORS,
    LoadedDiscriminator,
    built_discriminator,
    discriminators_of_files,
)
from cyclegan_style.models.export import CONFIG_FILE
from cyclegan_style.models.model_files import known_fields, local_path, read_sections
from cyclegan_style.runs.checkpoint import newest_checkpoint


def load_discriminators(model: str | Path) -> dict[str, LoadedDiscriminator]:
    """All discriminators by the domain that each judges, or an empty dictionary."""
    folder = local_path(model)
    of_run = _of_checkpoint(folder) if (folder / CONFIG_FILE).is_file() else {}
    return (
        of_run
        or discriminators_of_files(folder, OUR_DISCRIMINATORS)
        or discriminators_of_files(folder, REFERENCE_DISCRIMINATORS)
    )


def _of_checkpoint(run: Path) -> dict[str, LoadedDiscriminator]:
    """Discriminators of a run's newest whole checkpoint, of the same step as its model."""
    checkpoint, _ = newest_checkpoint(run)
    if checkpoint is None:
        return {}
    sections = read_sections(run / CONFIG_FILE)
    if sections.get("task") == "one_style":  # which is trained without
        return {}
    config = DiscriminatorConfig(**known_fields(DiscriminatorConfig, sections.get("discriminator")))
    data = DataConfig(**known_fields(DataConfig, sections.get("data")))
    tensors = checkpoint.shared("discriminators")
    states = {
        domain: {
            key.removeprefix(f"{domain}."): tensor
            for key, tensor in tensors.items()
            if key.startswith(f"{domain}.")
        }
        for domain in DOMAINS
    }
    return {
        domain: built_discriminator(checkpoint.folder, state, config, data.channels[domain])
        for domain, state in states.items()
        if state
    }
