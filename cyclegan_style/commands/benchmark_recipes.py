"""``benchmark recipes``: which recipe suits these pictures, after the same time of training."""

import math
from pathlib import Path

from jsonargparse import ArgumentError
from jsonargparse.typing import PositiveFloat, PositiveInt

from cyclegan_style.commands.parser import command_parser, prepare_folder, print_tables
from cyclegan_style.commands.train import (
    OF_RUN_FOLDERS,
    has_option,
    parse_training_options,
    separate_fields,
)
from cyclegan_style.config import Config
from cyclegan_style.errors import UserError

SET_HERE = OF_RUN_FOLDERS | {
    "train.seed": "--seeds says how many there are",
    "train.steps": "they follow from --minutes",
    "train.max_steps": "the steps follow from --minutes",
    "checkpoint.every_steps": "every run has ten checkpoints",
    "tracking.sample_every_steps": "every run has ten sheets of samples",
    "evaluation.every_steps": "runs are scored at their end",
    "evaluation.metrics": "all have the same scores",
    "evaluation.definition": "all have the same scores",
    "evaluation.patience": "all are trained for the same time",
}
"""Fields that are not the recipes' here, and why."""


def recipes_command(arguments: list[str]) -> int:
    """Train every recipe for as long, score all on the same pictures, and write the tables."""
    own, fields = separate_fields(arguments, SET_HERE)
    parser = command_parser(
        "benchmark recipes",
        "Train recipes for the same time with several seeds, score them on the same test pictures"
        " and write OUTPUT/recipes.html and recipes.md. Fields given as --section.field VALUE, such"
        " as --data.a, override those of every recipe. The same command goes on where it was"
        " stopped; recipes and seeds may be added.",
    )
    parser.add_argument(
        "--recipes",
        required=True,
        help="configurations with commas between; the others are compared with the first",
    )
    parser.add_argument(
        "--minutes", type=PositiveFloat, default=10.0, help="of training for each run"
    )
    parser.add_argument("--seeds", type=PositiveInt, default=3, help="runs of each recipe")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/recipes"), help="folder of tables and runs"
    )
    options = parser.parse_args(own)
    if not math.isfinite(options.minutes):
        raise UserError(f"--minutes: {options.minutes} is not a duration")
    recipes = read_recipes(options.recipes, fields)
    prepare_folder(options.output)

    from cyclegan_style.benchmarks.recipe_report import DOCUMENT_FILE, PAGE_FILE
    from cyclegan_style.benchmarks.recipe_table import table_to_json
    from cyclegan_style.benchmarks.recipes import Bench, compare_recipes

    table = compare_recipes(Bench(recipes, options.minutes, options.seeds, options.output))
    page, document = (options.output / name for name in (PAGE_FILE, DOCUMENT_FILE))
    print_tables(page, document, table_to_json(table), as_json=options.json)
    return 1 if table.failures else 0


def read_recipes(files: str, fields: list[str]) -> dict[str, Config]:
    """The configurations of files by their names, as ``train`` reads them."""
    recipes: dict[str, Config] = {}
    for name in files.split(","):
        path = Path(name.strip()).expanduser()
        if not path.is_file():
            raise UserError(f"--recipes: {path}: no such file")
        if path.stem in recipes:
            raise UserError(f"--recipes: two are called {path.stem}; rename one")
        arguments = ["--config", str(path), *usual_fields(fields), *fields]
        try:
            _, recipes[path.stem] = parse_training_options(arguments)
        except (ArgumentError, UserError) as error:
            raise UserError(f"--recipes: {path}: {error}") from None
    return recipes


def usual_fields(fields: list[str]) -> list[str]:
    """What gives way to the fields given: trackers, and domains that are named in another way."""
    usual = ["--tracking.backend=none", "--tracking.log_model=false"]
    if has_option(fields, "--data.root"):
        usual += [f"--data.{name}=null" for name in ("a", "b", "test_a", "test_b")]
    elif has_option(fields, "--data.a") and has_option(fields, "--data.b"):
        usual += [f"--data.{name}=null" for name in ("root", "test_a", "test_b")]
    return usual
