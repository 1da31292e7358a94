"""The command line: parse, call one function, print."""

import json
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace, set_parsing_settings
from jsonargparse.typing import PositiveInt

from cyclegan_style.commands.parser import command_parser
from cyclegan_style.config import Config, GeneratorConfig
from cyclegan_style.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

PACKAGE = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return the exit status: 0 done, 1 partly failed, 2 bad input."""
    logging.basicConfig(format="%(message)s")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return run_command(arguments)
    except (UserError, ArgumentError) as error:
        print(f"error: {one_line(readable(str(error)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def run_command(arguments: list[str]) -> int:
    """Find the sub-command and run it with the arguments that are left."""
    commands: dict[str, tuple[Callable[[list[str]], int], str]] = {
        "train": (train_command, "train a CycleGAN on two folders of pictures"),
        "translate": (translate_command, "translate pictures and videos with a trained model"),
        "convert": (convert_command, "turn a model into files of the reference, or back"),
        "export": (export_command, "write a model for other programs, or publish it"),
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
    from accelerate import PartialState

    from cyclegan_style.training.trainer import train

    options, config = parse_training_options(arguments)
    result = train(config)
    if "json" in options and PartialState().is_main_process:
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


def translate_command(arguments: list[str]) -> int:
    """``translate``: files and folders of pictures."""
    from cyclegan_style.applying.jobs import plan
    from cyclegan_style.applying.origin import note_origin
    from cyclegan_style.applying.predictor import Predictor
    from cyclegan_style.applying.translate import Output, gathered, translate_files
    from cyclegan_style.system.hardware import join_processes, reuse_freed_memory
    from cyclegan_style.system.processes import on_main_process

    options = parse_translate_options(arguments)
    reuse_freed_memory()
    processes = join_processes(on_cpu=options.device == "cpu")
    jobs = on_main_process(lambda: plan(options.input, options.output, options.format))
    prepare_folder(options.output)
    own_device = processes.num_processes > 1 and options.device == "auto"
    predictor = Predictor.load(
        options.model,
        options.direction,
        processes.device if own_device else options.device,
        options.precision,
        options.memory_budget,
        working_size=options.working_size,
        keep_alpha=options.keep_alpha,
    )
    output = Output(options.quality, options.side_by_side, not options.strip_metadata)
    on_main_process(
        lambda: note_origin(options.output, jobs, predictor, output, overwrite=options.overwrite)
    )
    own = translate_files(
        predictor,
        jobs[processes.process_index :: processes.num_processes],
        output,
        batch_size=options.batch_size,
        overwrite=options.overwrite,
        progress=processes.is_main_process,
    )
    summary = gathered(own)
    if not processes.is_main_process:
        return 0
    text = (
        f"{summary.translated} translated, {summary.skipped} skipped, {len(summary.failed)} failed"
        f" in {summary.seconds:.1f} s, {summary.images_per_second:.2f} images/s"
    )
    print(text, file=sys.stderr)
    if options.json:
        print(json.dumps(summary.as_dict()))
    return 1 if summary.failed else 0


def parse_translate_options(arguments: list[str]) -> Namespace:
    """Read the options of ``translate`` and refuse those out of range."""
    parser = command_parser(
        "translate",
        "Translate pictures and videos (gif, and with cyclegan-style[video] mp4 and"
        " webm, which keep their format). Run again, the same command goes on where it was"
        " interrupted. Exit status 1: some files failed, and are named.",
    )
    parser.add_argument(
        "--model",
        required=True,
        help="run folder, exported model folder, Hub repository (user/name) or a generator file of"
        " the reference implementation (latest_net_G_A.pth)",
    )
    parser.add_argument(
        "--input", nargs="+", required=True, help="files, folders (searched recursively), globs"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--direction", choices=["ab", "ba"], help="ab, or what the file's name tells, by default"
    )
    parser.add_argument(
        "--format", choices=["png", "jpg", "webp"], default="png", help="of pictures"
    )
    parser.add_argument("--quality", type=int, default=95, help="of jpg and webp, 1 to 100")
    parser.add_argument("--overwrite", action="store_true", help="redo finished files")
    parser.add_argument("--side-by-side", action="store_true", help="write input | output")
    parser.add_argument(
        "--batch-size", type=int, help="pictures of one size at once; by default 8, on CPUs 1"
    )
    parser.add_argument(
        "--memory-budget",
        help="such as 2GB, by default most of what is free; pictures that would take more are"
        " computed in stripes, with the same result",
    )
    parser.add_argument(
        "--working-size", type=int, help="translate at this shorter side, write at the own size"
    )
    parser.add_argument(
        "--keep-alpha", action="store_true", help="hand transparency on (png, webp)"
    )
    parser.add_argument(
        "--strip-metadata", action="store_true", help="write no EXIF (date, camera, place, …)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add_precision_option(parser)
    parser.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    options = parser.parse_args(arguments)
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality must be 1 to 100, not {options.quality}")
    if options.batch_size is not None and options.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, not {options.batch_size}")
    if options.keep_alpha and options.format == "jpg":
        raise UserError("--keep-alpha: jpg holds no transparency; use --format png or webp")
    return options


def prepare_folder(folder: Path) -> None:
    """Make the folder if it is not there, or say in one line why it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"--output: {folder} cannot be written to: {error.strerror}") from None


def convert_command(arguments: list[str]) -> int:
    """``convert``: between our models and the reference's generator files."""
    from cyclegan_style.models.convert import convert
    from cyclegan_style.runs.discriminators import load_discriminators

    parser = command_parser(
        "convert",
        "Write a model as latest_net_G_A.pth and latest_net_G_B.pth, which the"
        " reference implementation loads; a folder with those two becomes a model folder. The"
        " discriminators of a run come along as latest_net_D_A.pth and latest_net_D_B.pth.",
    )
    parser.add_argument("model", help="run folder, model folder, Hub repository, or such a folder")
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    discriminators = load_discriminators(options.model)
    written = [str(path) for path in convert(options.model, options.output, discriminators)]
    if options.json:
        print(json.dumps({"written": written}))
    else:
        print("\n".join(written))
    return 0


def export_command(arguments: list[str]) -> int:
    """``export``: a model as an ONNX file, a torch.export file, a folder or on the Hub."""
    from cyclegan_style.models.convert import write_model_folder
    from cyclegan_style.models.graph_files import write_onnx, write_torch_export
    from cyclegan_style.models.model_files import load_generator, load_generators
    from cyclegan_style.models.publish import push

    options = parse_export_options(arguments)
    written: dict[str, Any] = {}
    if options.onnx or options.torch_export:
        generator = load_generator(options.model, options.direction)
        if options.onnx:
            written["onnx"] = asdict(write_onnx(generator, options.onnx))
        if options.torch_export:
            written["torch_export"] = asdict(write_torch_export(generator, options.torch_export))
    if options.folder:
        paths = write_model_folder(
            options.model, options.folder, load_generators(options.model), {}
        )
        written["folder"] = [str(path) for path in paths]
    if options.push:
        written["push"] = push(options.model, options.push, private=options.private)
    if options.json:
        print(json.dumps(written))
        return 0
    for name, value in written.items():
        if name in ("onnx", "torch_export"):
            sizes = ", ".join("×".join(map(str, size)) for size in value["sizes"])
            error = f"{value['largest_error']:.1e}"
            print(f"{value['path']}: equal to the model within {error} for inputs of {sizes}")
        else:
            print(value if name == "push" else "\n".join(value))
    return 0


def parse_export_options(arguments: list[str]) -> Namespace:
    """Read the options of ``export``, one of which must say what is to be written."""
    parser = command_parser(
        "export",
        "Write a model for other programs, or publish it. An ONNX or torch.export file"
        " holds one direction, takes any batch, height and width, and is compared with the model"
        " before it is written.",
    )
    parser.add_argument(
        "model",
        help="run folder, exported model folder, Hub repository (user/name), or a generator file of"
        " the reference implementation or a folder of two",
    )
    parser.add_argument(
        "--direction", choices=["ab", "ba"], help="ab, or what the file's name tells, by default"
    )
    parser.add_argument("--onnx", type=Path, help="ONNX file to write")
    parser.add_argument("--torch-export", type=Path, help="torch.export file (.pt2) to write")
    parser.add_argument("--folder", type=Path, help="model folder to write, with all generators")
    parser.add_argument("--push", help="Hub repository (user/name) to make or to update")
    parser.add_argument("--private", action="store_true", help="make that repository a private one")
    parser.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    options = parser.parse_args(arguments)
    if not (options.onnx or options.torch_export or options.folder or options.push):
        raise UserError("export: name what to write: --onnx, --torch-export, --folder or --push")
    for option, path in (("--onnx", options.onnx), ("--torch-export", options.torch_export)):
        if path is not None and (path.is_dir() or not path.name):
            raise UserError(f"{option}: {path} is a folder; name the file to write")
    return options


def replay_command(arguments: list[str]) -> int:
    """``replay``: a recorded trajectory of the reference through our own step."""
    from cyclegan_style.training.replay import replay

    parser = command_parser(
        "replay",
        "Run a recorded trajectory of the reference implementation through the"
        " trainer's own step in float64 and print the largest differences.",
    )
    parser.add_argument("trajectory", type=Path, help="safetensors file; its .json lies beside it")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as always")
    options = parser.parse_args(arguments)
    # Three numbers are as readable in this form as in any other.
    print_result(asdict(replay(options.trajectory)), as_json=True)
    return 0


def runs_command(arguments: list[str]) -> int:
    """``runs``: what the run folders tell."""
    from cyclegan_style.runs.listing import find_runs, summarise_run, verify_run

    parser = command_parser(
        "runs",
        "list: every run in a folder; show: one run; verify: check every checkpoint of"
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
    from cyclegan_style.commands.evaluate import evaluate

    return evaluate(arguments)


def benchmark_command(arguments: list[str]) -> int:
    """``benchmark``: paired timings on this machine."""
    own_options = {
        "translate": benchmark_translation_command,
        "large": benchmark_large_picture_command,
        "evaluate": benchmark_evaluation_command,
    }
    if arguments and arguments[0] in own_options:
        return own_options[arguments[0]](arguments[1:])
    from cyclegan_style.benchmarks.training import compare_training

    parser = command_parser(
        "benchmark",
        "Time the product against the obvious way of doing the same, in turns and in"
        " one process; prints the medians and the ratio.",
    )
    parser.add_argument(
        "subject",
        choices=["train", *own_options],
        help="train: one training step, with the options below; translate: a folder of pictures,"
        " large: a picture in one pass and in stripes, and evaluate: FID, with options of their own"
        " (add --help)",
    )
    parser.add_argument(
        "--size", type=PositiveInt, default=128, help="side of the images in pixels"
    )
    parser.add_argument("--batch-size", type=PositiveInt, default=1, help="images of each domain")
    add_network_options(parser)
    parser.add_argument("--runs", type=PositiveInt, default=7, help="timed pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    comparison = compare_training(
        options.size, options.batch_size, options.channels, options.blocks, options.runs
    )
    print_result(asdict(comparison), options.json)
    return 0


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


def benchmark_translation_command(arguments: list[str]) -> int:
    """``benchmark translate``: a folder of pictures against one picture after the other."""
    from cyclegan_style.benchmarks.translation import compare_translation

    parser = command_parser(
        "benchmark translate",
        "Time the translation of a folder against the obvious way: float32, one picture"
        " after the other, decoded and encoded in line. Prints medians, ratio and differences.",
    )
    parser.add_argument("--images", type=PositiveInt, default=200, help="pictures to translate")
    parser.add_argument(
        "--size", type=PositiveInt, default=256, help="side of the pictures in pixels"
    )
    add_network_options(parser)
    add_precision_option(parser)
    parser.add_argument("--runs", type=PositiveInt, default=3, help="timed pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    comparison = compare_translation(
        options.size,
        options.images,
        GeneratorConfig(channels=options.channels, blocks=options.blocks),
        options.precision,
        options.runs,
    )
    print_result(asdict(comparison), options.json)
    return 0


def benchmark_large_picture_command(arguments: list[str]) -> int:
    """``benchmark large``: time and memory of one picture, in one pass and in stripes."""
    from cyclegan_style.benchmarks.large import measure_large_picture

    parser = command_parser(
        "benchmark large",
        "Measure time and peak memory of one square picture, in one pass and in stripes, each in a"
        " process of its own.",
    )
    parser.add_argument(
        "--side", type=PositiveInt, default=1024, help="side of the picture in pixels"
    )
    add_network_options(parser)
    add_precision_option(parser)
    parser.add_argument(
        "--stripes-only", action="store_true", help="where one pass needs more than there is"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    figures = measure_large_picture(
        options.side,
        GeneratorConfig(channels=options.channels, blocks=options.blocks),
        options.precision,
        stripes_only=options.stripes_only,
    )
    print_result(asdict(figures), options.json)
    return 0


def benchmark_evaluation_command(arguments: list[str]) -> int:
    """``benchmark evaluate``: FID against the installed pytorch-fid."""
    from cyclegan_style.benchmarks.evaluation import compare_with_pytorch_fid

    parser = command_parser(
        "benchmark evaluate",
        "Time FID of two folders against the installed pytorch-fid, on the same files and weights.",
    )
    parser.add_argument("--real", type=Path, help="folder; generated pictures unless given")
    parser.add_argument("--fake", type=Path, help="folder; generated pictures unless given")
    parser.add_argument(
        "--images", type=PositiveInt, default=300, help="generated pictures per folder"
    )
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
            print(f"{name.replace('_', ' '):<32}{value}")


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
