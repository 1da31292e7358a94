"""The command line: parse, call one function, print."""

import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from cyclegan_style.config import Config
from cyclegan_style.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

PACKAGE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return the exit status: 0 done, 1 partly failed, 2 bad input."""
    logging.basicConfig(format="%(message)s")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return run_command(arguments)
    except (UserError, ArgumentError) as error:
        print(f"error: {one_line(readable(str(error)))}", file=sys.stderr)
        return 2


def run_command(arguments: list[str]) -> int:
    """Find the sub-command and run it with the arguments that are left."""
    commands: dict[str, tuple[Callable[[list[str]], int], str]] = {
        "train": (train_command, "train a CycleGAN on two folders of pictures"),
        "evaluate": (evaluate_command, "score pictures, or what a model makes of them"),
        "runs": (runs_command, "list runs, show how one stands, check its checkpoints"),
        "replay": (replay_command, "compare the training step with a recorded reference"),
        "benchmark": (benchmark_command, "time the product against the obvious way"),
    }
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print("usage: cyclegan-style COMMAND [options]; COMMAND --help says more\n")
        for command, (_, purpose) in commands.items():
            print(f"  {command:<12}{purpose}")
        return 0
    if name not in commands:
        raise UserError(f"unknown command {name!r}; there are {', '.join(commands)}")
    function, _ = commands[name]
    return function(arguments[1:])


def train_command(arguments: list[str]) -> int:
    """``train``: every field of the configuration is an option."""
    from cyclegan_style.trainer import train

    options, config = parse_training_options(arguments)
    result = train(config)
    if "json" in options:
        scores = {
            direction: {method: asdict(score) for method, score in methods.items()}
            for direction, methods in result.scores.items()
        }
        print(json.dumps({"run": str(result.run), "step": result.step, "scores": scores}))
    return 0


def parse_training_options(arguments: list[str]) -> tuple[Namespace, Config]:
    """Read ``--config`` and the options that override it; without one, the demo is configured."""
    parser = ArgumentParser(
        prog="cyclegan-style train",
        exit_on_error=False,
        allow_abbrev=False,
        description="Train a CycleGAN on pictures of two domains that need not be paired. Without"
        " --config it trains the built-in demo; the other configurations lie in configs/. Every"
        " field can be set on the command line, such as --train.batch_size 4.",
    )
    parser.add_argument("--config", action="config", help="YAML file with fields of these sections")
    parser.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="end stdout with one JSON object"
    )
    parser.add_class_arguments(Config)
    if not any(argument.partition("=")[0] == "--config" for argument in arguments):
        demo = ["--config", str(shipped_config("demo"))]
        if any(argument.partition("=")[0] == "--data.root" for argument in arguments):
            demo += ["--data.a=null", "--data.b=null"]  # it names both domains
        arguments = [*demo, *arguments]
    try:
        options = parser.parse_args(arguments)
    except UnicodeDecodeError:
        raise UserError("config: not a text file in UTF-8") from None
    built = parser.instantiate(options)
    sections = {name: built[name] for name in Config.__dataclass_fields__}
    return options, Config(**sections)


def shipped_config(name: str) -> Path:
    """A configuration of the repository, or of the package where that was installed alone."""
    candidates = [PACKAGE.parent / "configs", PACKAGE / "configs"]
    return next(
        (path for folder in candidates if (path := folder / f"{name}.yaml").exists()),
        candidates[0] / f"{name}.yaml",
    )


def replay_command(arguments: list[str]) -> int:
    """``replay``: a recorded trajectory of the reference through our own step."""
    from cyclegan_style.reference import replay

    parser = ArgumentParser(
        prog="cyclegan-style replay",
        exit_on_error=False,
        description="Run a recorded trajectory of the reference implementation through the"
        " trainer's own step in float64 and print the largest differences.",
    )
    parser.add_argument("trajectory", type=Path, help="safetensors file; its .json lies beside it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    errors: dict[str, Any] = asdict(replay(options.trajectory))
    print_result(errors, options.json)
    return 0


def runs_command(arguments: list[str]) -> int:
    """``runs``: what the run folders tell."""
    from cyclegan_style.runs import find_runs, summarise_run, verify_run

    parser = ArgumentParser(
        prog="cyclegan-style runs",
        exit_on_error=False,
        description="list: every run in a folder; show: one run; verify: check every checkpoint of"
        " one run against its checksums, exit status 1 if any is damaged.",
    )
    parser.add_argument("action", choices=["list", "show", "verify"], help="what to do")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="run, or runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.action == "verify":
        outcomes = verify_run(options.folder)
        print_result(outcomes, options.json)
        return 0 if all(outcome == "ok" for outcome in outcomes.values()) else 1
    if options.action == "show":
        print_result(asdict(summarise_run(options.folder)), options.json)
        return 0
    summaries = [asdict(summarise_run(run)) for run in find_runs(options.folder)]
    if options.json:
        print(json.dumps({"runs": summaries}))
    for summary in [] if options.json else summaries:
        total = summary["total_steps"] or "?"
        print(f"{summary['run']:<32}{summary['state']:<10}step {summary['step']}/{total}")
    return 0


def evaluate_command(arguments: list[str]) -> int:
    """``evaluate``: scores of folders, models and pairs, and files of statistics."""
    from cyclegan_style.evaluation.command import evaluate

    return evaluate(arguments)


def benchmark_command(arguments: list[str]) -> int:
    """``benchmark``: paired timings on this machine."""
    from cyclegan_style.benchmark import compare_training

    if arguments[:1] == ["evaluate"]:
        return benchmark_evaluation_command(arguments[1:])
    parser = ArgumentParser(
        prog="cyclegan-style benchmark",
        exit_on_error=False,
        description="Time the product against the obvious way of doing the same, in turns and in"
        " one process; prints the medians and the ratio.",
    )
    parser.add_argument(
        "subject",
        choices=["train", "evaluate"],
        help="train: one training step; evaluate: FID, with options of its own",
    )
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=1, help="images of each domain")
    parser.add_argument("--channels", type=int, default=64, help="filters of the first layer")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks")
    parser.add_argument("--runs", type=int, default=7, help="timed pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    comparison = compare_training(
        options.size, options.batch_size, options.channels, options.blocks, options.runs
    )
    print_result(asdict(comparison), options.json)
    return 0


def benchmark_evaluation_command(arguments: list[str]) -> int:
    """``benchmark evaluate``: FID against the installed pytorch-fid."""
    from cyclegan_style.evaluation.benchmark import compare_with_pytorch_fid

    parser = ArgumentParser(
        prog="cyclegan-style benchmark evaluate",
        exit_on_error=False,
        description="Time FID of two folders against the installed pytorch-fid, on the same files"
        " and weights.",
    )
    parser.add_argument("--real", type=Path, help="folder; generated pictures unless given")
    parser.add_argument("--fake", type=Path, help="folder; generated pictures unless given")
    parser.add_argument("--images", type=int, default=300, help="generated pictures per folder")
    parser.add_argument("--weights", type=Path, help="file of the FID Inception")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    comparison = compare_with_pytorch_fid(
        options.images, options.weights, options.real, options.fake
    )
    print_result(asdict(comparison), options.json)
    return 0


def print_result(values: dict[str, Any], as_json: bool) -> None:
    """Print numbers as one JSON object, or as lines for people."""
    if as_json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            print(f"{name.replace('_', ' '):<28}{value}")


def readable(message: str) -> str:
    """The parser's complaint without Python's names for types."""
    # An error of a loader's worker arrives with the worker's traceback around it.
    message = re.sub(r"(?s)^Caught \w+ in DataLoader worker.*\w+Error: ", "", message)
    message = message.replace('in "<unicode string>", ', "at ")
    message = re.sub(r'Parser key "([^"]*)"', r"\1", message)
    message = re.sub(r"an? <class '(\w+)'>", r"\1", message)
    return re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", message)


def one_line(message: str) -> str:
    """A message of several lines on one."""
    return " ".join(message.split())
