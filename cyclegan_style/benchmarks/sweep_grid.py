"""The grid of a sweep: which values of which fields, and the run of each combination."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from cyclegan_style.config import Config, with_values

SEED = "train.seed"
"""The field whose values are repetitions, over which scores are averaged."""
LONGEST_VALUE, LONGEST_NAME = 32, 160
"""Letters of a value and of a whole name; what is longer ends with a checksum instead."""

Combination = dict[str, Any]
"""A value of each field."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep."""

    name: str
    """Of its folder."""
    configuration: str
    """The same without the seed; empty where nothing else is swept."""
    seed: int
    config: Config


@dataclass(frozen=True)
class Grid:
    """Every combination of some fields' values."""

    base: Config
    values: Mapping[str, tuple[Any, ...]]
    """By field, such as ``train.seed``."""

    @cached_property
    def titles(self) -> dict[str, str]:
        """The fields without their sections, as far as that leaves no two alike."""
        short = {field: field.rpartition(".")[2] for field in self.values}
        names = list(short.values())
        return {f: f if names.count(name) > 1 else name for f, name in short.items()}

    @cached_property
    def fields(self) -> list[str]:
        """All fields but the seed, which tell configurations apart."""
        return [field for field in self.values if field != SEED]

    @cached_property
    def configurations(self) -> dict[str, Combination]:
        """The combinations of all fields but the seed, by name."""
        chosen = [self.values[field] for field in self.fields]
        combinations = [dict(zip(self.fields, each, strict=True)) for each in product(*chosen)]
        return {self.name(combination): combination for combination in combinations}

    @cached_property
    def runs(self) -> list[SweepRun]:
        """Seed by seed, so that every configuration has its share of an early end."""
        seeds = self.values.get(SEED, (self.base.train.seed,))
        return [
            self.run(configuration, combination, seed)
            for seed in seeds
            for configuration, combination in self.configurations.items()
        ]

    def run(self, configuration: str, combination: Combination, seed: int) -> SweepRun:
        """The run of a configuration with a seed."""
        whole = {**combination, **({SEED: seed} if SEED in self.values else {})}
        config = with_values(self.base, {**combination, SEED: seed})
        return SweepRun(self.name(whole), configuration, seed, config)

    def name(self, combination: Combination) -> str:
        """A combination as the name of a file, such as ``cycle_a-5_seed-0``."""
        parts = [f"{self.titles[field]}-{file_name(value)}" for field, value in combination.items()]
        return shortened("_".join(parts), LONGEST_NAME)


def text_of(value: object) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return f"[{','.join(map(text_of, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def file_name(value: object) -> str:
    """A value as part of a file's name; a checksum tells apart what then looks alike."""
    text = "+".join(map(text_of, value)) if isinstance(value, tuple) else text_of(value)
    safe = re.sub(r"[^A-Za-z0-9.+_-]+", "-", text)
    if safe != text:
        return f"{safe.strip('-')[9 - LONGEST_VALUE :]}-{checksum(text)}"
    return shortened(text, LONGEST_VALUE) or "empty"


def shortened(text: str, longest: int) -> str:
    """A text of no more than so many letters."""
    return text if len(text) <= longest else f"{text[: longest - 9]}-{checksum(text)}"


def checksum(text: str) -> str:
    """A few letters that other texts do not have."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
