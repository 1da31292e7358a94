"""``train``: every field of the configuration is an option."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from cyclegan_style.commands.parser import print_result, readable
from cyclegan_style.config import Config, DataConfig
from cyclegan_style.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

PACKAGE = Path(__file__).parents[1]
FIELD_OPTION = re.compile(r"--(task|[a-z]+\.\w+)(=.*)?", re.DOTALL)
OF_RUN_FOLDERS = {
    "run.dir": "each run has a folder below --output",
    "run.resume": "runs that have begun go on",
}
"""Fields that commands with several runs set themselves, and why."""


def train_command(arguments: list[str]) -> int:
    """Train, and with ``--json`` tell where the run is and how it scored."""
    options, config = parse_training_options(arguments)

    from accelerate import PartialState

    from cyclegan_style.training.trainer import train

    result = train(config, small_recipe_notes(arguments, config.data))
    if "json" in options and PartialState().is_main_process:
        scores = {
            direction: {method: asdict(score) for method, score in methods.items()}
            for direction, methods in result.scores.items()
        }
        print_result({"run": str(result.run), "step": result.step, "scores": scores}, as_json=True)
    return 0


@cache
def training_parser() -> ArgumentParser:
    """Every field of the configuration as an option; to build it takes longer than to parse."""
    parser = ArgumentParser(
        prog="cyclegan-style train",
        exit_on_error=False,
        allow_abbrev=False,
        description="Train a CycleGAN on pictures of two domains that need not be paired, or what"
        " else --task names. Without --config it trains the built-in demo; the other configurations"
        " lie in configs/. Every field can be set on the command line, such as"
        " --train.batch_size 4.",
    )
    parser.add_argument("--config", action="config", help="YAML file with fields of these sections")
    parser.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="end stdout with one JSON object"
    )
    parser.add_class_arguments(Config)
    return parser


def parse_training_options(arguments: list[str]) -> tuple[Namespace, Config]:
    """Read ``--config`` and the options that override it; without one, the demo is configured."""
    if not has_option(arguments, "--config"):
        demo = ["--config", str(shipped_config("demo"))]
        if has_option(arguments, "--data.root") or has_option(arguments, "--data.pairs"):
            demo += ["--data.a=null", "--data.b=null"]  # each names both domains
        arguments = [*demo, *arguments]
    try:
        options = training_parser().parse_args(arguments)
    except UnicodeDecodeError:
        raise UserError("config: not a text file in UTF-8") from None
    built = training_parser().instantiate(options)
    sections = {name: built[name] for name in Config.__dataclass_fields__}
    return options, Config(**sections)


def read_config(file: str | Path | None = None, values: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a YAML file, by default the demo's, with other values of some fields.

    ``values`` are by dotted names, such as ``{"train.steps": 100, "data.a": "photos/"}``. A
    UserError names a file that cannot be read, or a field that there is not or of another kind.
    """
    arguments = [] if file is None else ["--config", str(file)]
    arguments += [f"--{name}={as_text(value)}" for name, value in (values or {}).items()]
    try:
        return parse_training_options(arguments)[1]
    except ArgumentError as error:
        raise UserError(readable(str(error))) from None


def as_text(value: object) -> str:
    """A value as it would be written on the command line."""
    if isinstance(value, str | Path):
        return str(value)
    return json.dumps(value)


def separate_fields(
    arguments: Sequence[str], set_elsewhere: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """A command's own arguments, and those that set fields; some are set elsewhere, and why."""
    own: list[str] = []
    fields: list[str] = []
    chosen = own
    for argument in arguments:
        if argument.startswith("--"):
            chosen = fields if FIELD_OPTION.fullmatch(argument) else own
        chosen.append(argument)
    for name, reason in set_elsewhere.items():
        if has_option(fields, f"--{name}"):
            raise UserError(f"--{name} cannot be given here: {reason}")
    return own, fields


def has_option(arguments: Sequence[str], name: str) -> bool:
    """Whether an option is given, in one word with its value or in two."""
    return any(argument.partition("=")[0] == name for argument in arguments)


def small_recipe_notes(arguments: Sequence[str], data: DataConfig) -> list[str]:
    """What to tell those who train on their own pictures without having chosen a recipe."""
    from cyclegan_style.synthetic import DEMO_SPECS

    if has_option(arguments, "--config") or {data.a, data.b} <= DEMO_SPECS.keys():
        return []
    return [
        "no --config: your pictures are trained on with the small recipe of configs/demo.yaml;"
        f" the paper's is --config {shipped_config('paper')}"
    ]


def shipped_config(name: str) -> Path:
    """A configuration of the repository, or of the package where that was installed alone."""
    candidates = [PACKAGE.parent / "configs", PACKAGE / "configs"]
    return next(
        (path for folder in candidates if (path := folder / f"{name}.yaml").exists()),
        candidates[0] / f"{name}.yaml",
    )
