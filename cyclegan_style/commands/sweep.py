"""``sweep``: a run for every combination of some fields' values, and which did best."""

from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from jsonargparse.typing import PositiveInt

from cyclegan_style.commands.parser import (
    command_parser,
    prepare_folder,
    print_result,
    print_tables,
)
from cyclegan_style.commands.train import OF_RUN_FOLDERS, parse_training_options, separate_fields
from cyclegan_style.config import Config, flat_fields, value_of
from cyclegan_style.errors import UserError

if TYPE_CHECKING:
    from cyclegan_style.benchmarks.sweep_grid import Grid


def sweep_command(arguments: list[str]) -> int:
    """Train every combination, and write the tables."""
    own, fields = separate_fields(arguments, OF_RUN_FOLDERS)
    parser = command_parser(
        "sweep",
        "Train a run for every combination of values with commas between, and rank them by their"
        " scores: sweep --config configs/best.yaml --data.root my_pictures --loss.cycle_a 5,10"
        " --train.seed 0,1,2 trains six runs and compares two configurations, each by its mean over"
        " three seeds. A comma in brackets is part of a list: --discriminator.augment"
        " [],[color,translation] are two values. Fields with one value are for all runs. The same"
        " command goes on where it was stopped; values may be added, and 0, with a comma after it"
        " is a single value to which others may be added. Writes OUTPUT/sweep.html and sweep.md.",
    )
    parser.add_argument("--config", help="YAML file of fields, as for train; or else the demo's")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/sweep"), help="folder of tables and runs"
    )
    parser.add_argument(
        "--score",
        help="what ranks, such as kid_ab; by default the mean of the ranks by every score that"
        " chooses a best model",
    )
    parser.add_argument(
        "--parallel",
        type=PositiveInt,
        default=1,
        help="runs at once, each in a process of its own, over the GPUs or the cores in turn",
    )
    parser.add_argument(
        "--wandb",
        type=Path,
        metavar="FILE",
        help="train nothing, but write this YAML file for wandb sweep",
    )
    options = parser.parse_args(own)
    chosen = [] if options.config is None else [f"--config={options.config}"]
    constant, swept = separate_swept(fields)
    grid = read_grid([*chosen, *constant], swept)
    if options.wandb is not None:
        return write_for_wandb(grid, [*chosen, *constant], options)

    prepare_folder(options.output)

    from cyclegan_style.benchmarks.sweep import Sweep, run_sweep
    from cyclegan_style.benchmarks.sweep_report import DOCUMENT_FILE, PAGE_FILE
    from cyclegan_style.benchmarks.sweep_table import table_to_json

    table = run_sweep(Sweep(grid, options.output, options.score, options.parallel))
    page, document = (options.output / name for name in (PAGE_FILE, DOCUMENT_FILE))
    print_tables(page, document, table_to_json(table), as_json=options.json)
    return 1 if table.failures else 0


def write_for_wandb(grid: "Grid", options: Sequence[str], chosen: Any) -> int:
    """Write the grid as a sweep of wandb."""
    from cyclegan_style.benchmarks.sweep import refuse_impossible, scores_of
    from cyclegan_style.benchmarks.sweep_wandb import wandb_sweep, write_wandb_sweep

    scores = scores_of(grid, chosen.score)
    refuse_impossible(grid)
    sweep = wandb_sweep(grid, chosen.score or scores[0], options, chosen.output)
    try:
        write_wandb_sweep(chosen.wandb, sweep)
    except OSError as error:
        raise UserError(f"--wandb: {chosen.wandb}: {error.strerror}") from None
    if chosen.json:
        print_result({"file": str(chosen.wandb), "runs": len(grid.runs)}, as_json=True)
    else:
        print(f"{len(grid.runs)} runs; begin with: wandb sweep {chosen.wandb}")
    return 0


def separate_swept(fields: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Options that are the same for all runs, and the values of the others by field."""
    given: dict[str, list[str]] = {}
    for argument in fields:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            given[name] = [value] if equals else []
        else:
            given[name].append(argument)
    constant: list[str] = []
    swept: dict[str, list[str]] = {}
    for name, words in given.items():
        values = values_of(name, words[0]) if len(words) == 1 else []
        if len(values) > 1:
            swept[name] = values[:-1] if not values[-1] else values
            if not all(swept[name]):
                raise UserError(f"--{name} {words[0]}: there is nothing between two commas")
        elif len(words) == 1:
            constant.append(f"--{name}={words[0]}")
        else:
            constant += [f"--{name}", *words]
    if not swept:
        raise UserError("sweep: give a field several values, such as --train.seed 0,1,2")
    return constant, swept


def values_of(name: str, text: str) -> list[str]:
    """The values of a field; commas in brackets, and in names of existing files, part none."""
    if is_text(name) and names_files(text):
        return [text]
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values]


def names_files(text: str) -> bool:
    """Whether a text is a path, or a glob pattern, of something that there is."""
    path = Path(text).expanduser()
    try:
        found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        return path.exists() or any(found)
    except (OSError, ValueError, NotImplementedError):  # no name of a file
        return False


def is_text(name: str) -> bool:
    """Whether a field holds any text, such as a path."""
    section, _, field = name.partition(".")
    kind = get_type_hints(Config).get(section)
    return is_dataclass(kind) and get_type_hints(kind).get(field) in (str, str | None)


def read_grid(options: Sequence[str], swept: dict[str, list[str]]) -> "Grid":
    """The grid of values, each as ``train`` reads it."""
    from cyclegan_style.benchmarks.sweep_grid import Grid

    first = {name: texts[0] for name, texts in swept.items()}
    base = read_config(options, first)
    values: dict[str, tuple[Any, ...]] = {}
    for name in in_order(swept):
        found = [value_of(base, name)]
        for text in swept[name][1:]:
            value = value_of(read_config(options, first | {name: text}), name)
            if value in found:
                raise UserError(f"--{name}: {text} is given twice")
            found.append(value)
        values[name] = tuple(found)
    return Grid(base, values)


def read_config(options: Sequence[str], values: dict[str, str]) -> Config:
    """The configuration with one value of each field."""
    chosen = [f"--{name}={text}" for name, text in values.items()]
    _, config = parse_training_options([*options, *chosen])
    return config


def in_order(names: Iterable[str]) -> list[str]:
    """Fields in the order of the configuration, so that runs have one name however one asks."""
    return sorted(names, key=list(flat_fields(Config())).index)
