"""What the commands share: their parsers, how one of several is found, how results are printed."""

import gc
import json
import re
import tempfile
from argparse import OPTIONAL, SUPPRESS, Action
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter
from jsonargparse.typing import PositiveInt

from cyclegan_style.errors import UserError

Command = Callable[[list[str]], int]
"""Takes the arguments after its name and returns the exit status."""


def run_named(
    program: str, kind: str, commands: Mapping[str, tuple[Command, str]], arguments: list[str]
) -> int:
    """Run the command that the first argument names with those after it; without one, list all."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        word = kind.upper()
        print(f"usage: {program} {word} [options]; {word} --help says more\n")
        for command, (_, purpose) in commands.items():
            print(f"  {command:<12}{purpose}")
        return 0
    if name not in commands:
        raise UserError(f"unknown {kind} {name!r}; there are {', '.join(commands)}")
    function, _ = commands[name]
    return function(arguments[1:])


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import what a command computes with, without looking for garbage in it time and again.

    All of it stays, and looking takes a tenth of torch's time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class CommandHelpFormatter(DefaultHelpFormatter):
    """Shows the defaults that say something, and no types: the help itself says what is meant."""

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if not action.option_strings and action.nargs != OPTIONAL:
            return text
        silent = action.default in (None, False, SUPPRESS)
        return text if silent else f"{text} (default: %(default)s)".lstrip()


def command_parser(command: str, description: str) -> ArgumentParser:
    """A parser with ``--json`` that raises errors and takes no option by half of its name."""
    parser = ArgumentParser(
        prog=f"cyclegan-style {command}",
        description=description,
        formatter_class=CommandHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    return parser


def add_direction_option(parser: ArgumentParser) -> None:
    """Which of a model's two networks is meant."""
    parser.add_argument(
        "--direction", choices=["ab", "ba"], help="ab, or what the file's name tells, by default"
    )


def add_style_option(parser: ArgumentParser) -> None:
    """Which of a network's styles is meant, and how strongly it is painted."""
    parser.add_argument(
        "--style",
        help="of a model with several styles: its number, such as 2, or a blend, such as"
        " 1:0.3,2:0.7; the first by default",
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="of a model with generator.skip: how much of what it has learned is done to the input;"
        " 0: nothing",
    )


def add_network_options(parser: ArgumentParser) -> None:
    """The size of a residual generator."""
    parser.add_argument(
        "--channels", type=PositiveInt, default=64, help="filters of the first layer"
    )
    parser.add_argument("--blocks", type=PositiveInt, default=9, help="residual blocks")


def add_precision_option(parser: ArgumentParser) -> None:
    """The number format in which a model is applied."""
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="number format; auto: 16 bits where the hardware is fast at them",
    )


def prepare_folder(folder: Path) -> None:
    """Make the folder if it is not there, or say in one line why it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be written to: {error.strerror}") from None


def print_result(values: Mapping[str, Any], as_json: bool) -> None:
    """Print numbers as one JSON object, or as lines for people."""
    if as_json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            print(f"{name.replace('_', ' '):<32}{value}")


def print_tables(page: Path, document: Path, table: dict[str, Any], as_json: bool) -> None:
    """Write what a comparison found to standard output: all for programs, or its document."""
    if as_json:
        print_result({"page": str(page), "document": str(document)} | table, as_json=True)
    elif document.exists():
        print(document.read_text(encoding="utf-8"))
        print(f"open: {page}")


def readable(message: str) -> str:
    """The parser's complaint on one line and without Python's names for types."""
    # An error of a loader's worker arrives with the worker's traceback around it.
    message = re.sub(r"(?s)^Caught \w+ in DataLoader worker.*\w+Error: ", "", message)
    message = message.replace('in "<unicode string>", ', "at ")
    message = re.sub(r'Parser key "([^"]*)"', r"\1", message)
    message = re.sub(r"an? <class '(\w+)'>", r"\1", message)
    message = re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", message)
    return " ".join(message.split())
