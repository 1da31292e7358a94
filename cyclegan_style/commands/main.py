"""The command line: find the command, and turn what goes wrong into one line and a status.

What a command computes with is imported once its options have been read: torch takes seconds, for
which neither ``--help`` nor a mistake should have to wait.
"""

import logging
import sys
from collections.abc import Sequence

from jsonargparse import ArgumentError

from cyclegan_style.commands.benchmark import benchmark_command
from cyclegan_style.commands.convert import convert_command
from cyclegan_style.commands.data import data_command
from cyclegan_style.commands.export import export_command
from cyclegan_style.commands.generate import generate_command
from cyclegan_style.commands.parser import Command, readable, run_named
from cyclegan_style.commands.replay import replay_command
from cyclegan_style.commands.runs import runs_command
from cyclegan_style.commands.serve import serve_command
from cyclegan_style.commands.stylize import stylize_command
from cyclegan_style.commands.sweep import sweep_command
from cyclegan_style.commands.train import train_command
from cyclegan_style.commands.translate import translate_command
from cyclegan_style.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return the exit status: 0 done, 1 partly failed, 2 bad input."""
    logging.basicConfig(format="%(message)s")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, tuple[Command, str]] = {
        "train": (train_command, "train a CycleGAN, a painter of styles, or pictures out of noise"),
        "sweep": (sweep_command, "train a run for every combination of values, and rank them"),
        "translate": (translate_command, "translate pictures and videos with a trained model"),
        "stylize": (stylize_command, "paint pictures in the style of another, without training"),
        "generate": (generate_command, "make pictures out of noise with a trained model"),
        "serve": (serve_command, "translate pictures for others over HTTP"),
        "convert": (convert_command, "turn a model into files of the reference, or back"),
        "export": (export_command, "write a model for other programs, or publish it"),
        "evaluate": (evaluate_command, "score pictures, or what a model makes of them"),
        "data": (data_command, "get data sets by name, check the pictures of two domains"),
        "runs": (runs_command, "list runs, show how one stands, check its checkpoints"),
        "replay": (replay_command, "compare the training step with a recorded reference"),
        "benchmark": (
            benchmark_command,
            "time the product against the obvious way, or compare recipes",
        ),
    }
    try:
        return run_named("cyclegan-style", "command", commands, arguments)
    except (UserError, ArgumentError) as error:
        print(f"error: {readable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def evaluate_command(arguments: list[str]) -> int:
    """``evaluate``, whose very options come from modules that need torch."""
    from cyclegan_style.commands.evaluate import evaluate_command

    return evaluate_command(arguments)
