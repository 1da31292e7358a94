"""A configuration's values by name, as text and as numbers."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import yaml

from cyclegan_style.config.fields import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    TaskName,
    ValueRange,
)
from cyclegan_style.config.sizes import plain_size


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A configuration with other values of fields such as ``train.seed``."""
    for name, value in values.items():
        section, _, key = name.partition(".")
        changed = replace(getattr(config, section), **{key: value}) if key else value
        config = replace(config, **{section: changed})
    return config


def value_of(config: Config, name: str) -> Any:
    """The value of a field such as ``train.seed``."""
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key) if key else getattr(config, section)


def flat_fields(config: Config) -> dict[str, Any]:
    """The value of every field by its dotted name."""
    values: dict[str, Any] = {}
    for section, fields in to_dict(config).items():
        if isinstance(fields, dict):
            values |= {f"{section}.{name}": value for name, value in fields.items()}
        else:
            values[section] = fields
    return values


def parse_bytes(text: str) -> int:
    """Number of bytes that a size such as 500MB, 2GB or 1048576 means."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1}
    number, factor = text.strip().upper(), 1
    for ending, value in units.items():
        if number.endswith(ending):
            number, factor = number.removesuffix(ending), value
            break
    try:
        size = float(number) * factor
    except ValueError:
        size = -1.0
    if not 0 <= size < 2**63:
        raise ValueError(f"{text!r} is not a size such as 500MB or 2GB")
    return int(size)


DEEPEST_YAML = 100
"""Sections in sections. The parser in C would overflow the stack where the other raises."""


def from_yaml(text: str) -> Any:
    """What YAML says, or a YAMLError; a model's file may be anybody's."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST_YAML:
            raise yaml.YAMLError(f"more than {DEEPEST_YAML} sections in each other")
    return yaml.load(text, Loader=loader)


def to_yaml(config: Config) -> str:
    """The whole configuration as YAML that ``--config`` reads back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def model_yaml(
    generator: GeneratorConfig,
    channels_a: int,
    channels_b: int,
    discriminator: DiscriminatorConfig | None = None,
    task: TaskName = "cyclegan",
    ranges: Mapping[str, ValueRange] | None = None,
) -> str:
    """What a model's folder has to say of its networks: no paths, and nothing that is not known."""
    config = Config(generator=generator, discriminator=discriminator or DiscriminatorConfig())
    sections = to_dict(config)
    data: dict[str, Any] = {"channels_a": channels_a, "channels_b": channels_b}
    data |= {f"range_{name}": _plain(each) for name, each in (ranges or {}).items() if each}
    values = {"task": task, "data": data, "generator": sections["generator"]}
    if discriminator is not None:
        values["discriminator"] = sections["discriminator"]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def noise_model_yaml(generator: GeneratorConfig, side: int, channels: int) -> str:
    """The same of a generator that makes pictures of this size out of noise."""
    values = {
        "task": "noise",
        "data": {"crop_size": side, "channels_b": channels},
        "generator": to_dict(Config(generator=generator))["generator"],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def to_dict(config: Config) -> dict[str, Any]:
    """The whole configuration as nested dictionaries of plain values."""
    values = asdict(config)
    for name in ("load_size", "crop_size"):
        values["data"][name] = plain_size(values["data"][name])
    if config.data.flip != "both":  # what true and false say as well, as in runs of before
        values["data"]["flip"] = config.data.mirrored
    values["data"]["pairs"] = config.data.pairs and list(config.data.pairs)
    values["discriminator"]["augment"] = list(config.discriminator.augment)
    values["discriminator"]["feature_layers"] = list(config.discriminator.feature_layers)
    values["loss"]["cycle_features"] = list(config.loss.cycle_features)
    values["evaluation"]["metrics"] = list(config.evaluation.metrics)
    for name in ("range", "range_a", "range_b"):
        values["data"][name] = _plain(values["data"][name])
    values["tracking"]["sample_channels"] = _plain(values["tracking"]["sample_channels"])
    return values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
