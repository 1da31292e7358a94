"""``benchmark``: what is compared on this machine, and with what."""

from dataclasses import asdict, replace
from pathlib import Path

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from cyclegan_style.commands.benchmark_recipes import recipes_command
from cyclegan_style.commands.parser import (
    Command,
    add_network_options,
    add_precision_option,
    command_parser,
    print_result,
    run_named,
)
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.errors import UserError


def benchmark_command(arguments: list[str]) -> int:
    """Compare one subject with another way."""
    subjects: dict[str, tuple[Command, str]] = {
        "train": (train_command, "one training step"),
        "translate": (translate_command, "a folder of pictures"),
        "large": (large_command, "a large picture, in one pass and in stripes"),
        "evaluate": (evaluate_command, "FID of two folders"),
        "stylize": (stylize_command, "a painting in the style of another"),
        "all": (all_command, "everything that is timed, in a few minutes and without baselines"),
        "serve": (serve_command, "a server with many clients at once"),
        "data": (data_command, "the loader of training, from files and from memory"),
        "recipes": (recipes_command, "recipes against each other, trained for the same time"),
    }
    if not arguments:
        raise UserError(f"benchmark: name a subject: {', '.join(subjects)}")
    return run_named("cyclegan-style benchmark", "subject", subjects, arguments)


def train_command(arguments: list[str]) -> int:
    """``benchmark train``: the trainer's own step against a plain one."""
    parser = command_parser(
        "benchmark train",
        "Time a training step against the same step written the obvious way, in turns and in"
        " one process; prints the medians and the ratio, and which share of the time (share) the"
        " step's arithmetic would take at this machine's own speed of convolutions"
        " (limit_seconds).",
    )
    parser.add_argument(
        "--size", type=PositiveInt, default=128, help="side of the images in pixels"
    )
    parser.add_argument("--batch-size", type=PositiveInt, default=1, help="images of each domain")
    add_network_options(parser)
    parser.add_argument("--runs", type=PositiveInt, default=7, help="timed pairs")
    parser.add_argument(
        "--checkpoint-activations",
        action="store_true",
        help="compare, uncompiled, train.checkpoint_activations with steps without it",
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="with --checkpoint-activations: only the steps with it",
    )
    options = parser.parse_args(arguments)
    if options.alone and not options.checkpoint_activations:
        raise UserError("--alone: needs --checkpoint-activations")

    from cyclegan_style.benchmarks.training import (
        compare_recomputing,
        compare_training,
        measure_steps,
    )

    subject = options.size, options.batch_size, chosen_network(options), options.runs
    if options.alone:
        print_result(asdict(measure_steps(*subject, recomputing=True)), options.json)
    elif options.checkpoint_activations:
        print_result(asdict(compare_recomputing(*subject)), options.json)
    else:
        print_result(asdict(compare_training(*subject)), options.json)
    return 0


def all_command(arguments: list[str]) -> int:
    """``benchmark all``: how fast training, translation and evaluation are here."""
    parser = command_parser(
        "benchmark all",
        "Time training, translation and evaluation, each by itself: a few minutes on a GPU, and"
        " less on a CPU, where pictures are smaller and nothing is compiled unless asked for.",
    )
    parser.add_argument(
        "--size", type=PositiveInt, help="side of the pictures in pixels; 256, and 64 on a CPU"
    )
    parser.add_argument(
        "--images",
        type=PositiveInt,
        help="pictures to translate, and of each set to evaluate; 400, and 8 on a CPU",
    )
    add_network_options(parser)
    parser.add_argument("--runs", type=PositiveInt, help="timed runs; 5, and 2 on a CPU")
    parser.add_argument(
        "--compiling",
        choices=["yes", "no"],
        help="whether to time compiled networks as well; by default on a GPU",
    )
    parser.add_argument(
        "--definition",
        choices=["pytorch-fid", "squeezenet"],
        default="pytorch-fid",
        help="whose network evaluates; the Inception has random weights, which take as long",
    )
    options = parser.parse_args(arguments)

    from cyclegan_style.benchmarks.everything import measure_everything, usual_extent
    from cyclegan_style.system.hardware import choose_device

    asked = {name: options[name] for name in ("size", "images", "runs", "definition")}
    if options.compiling is not None:
        asked["compiling"] = options.compiling == "yes"
    chosen = {name: value for name, value in asked.items() if value is not None}
    extent = replace(usual_extent(choose_device("auto")), **chosen)
    print_result(asdict(measure_everything(chosen_network(options), extent)), options.json)
    return 0


def data_command(arguments: list[str]) -> int:
    """``benchmark data``: the loader against torchvision's ImageFolder and transforms."""
    parser = command_parser(
        "benchmark data",
        "Time the loader of training, over formats, workers and sources, against torchvision's"
        " ImageFolder with the same transforms on the same files; time decoders of JPEG; and"
        " estimate how many images a second an H100 would take.",
    )
    parser.add_argument(
        "--images", type=PositiveInt, default=200, help="files of each format, the demo's pictures"
    )
    parser.add_argument(
        "--side", type=PositiveInt, default=256, help="side of the pictures in the files"
    )
    parser.add_argument(
        "--size", type=PositiveInt, default=256, help="side of the samples in pixels"
    )
    parser.add_argument(
        "--workers", type=list[NonNegativeInt], default=[0, 1, 2], help="such as [0,1,2]"
    )
    parser.add_argument("--runs", type=PositiveInt, default=3, help="timed epochs")
    options = parser.parse_args(arguments)

    from cyclegan_style.benchmarks.loading import LoadingExtent, measure_loading

    workers = tuple(options.workers)
    extent = LoadingExtent(options.images, options.side, options.size, workers, options.runs)
    print_result(asdict(measure_loading(extent)), options.json)
    return 0


def translate_command(arguments: list[str]) -> int:
    """``benchmark translate``: a folder of pictures against one picture after the other."""
    parser = command_parser(
        "benchmark translate",
        "Time the translation of a folder against the obvious way: float32, one picture"
        " after the other, decoded and encoded in line. Prints medians, ratio and differences, and"
        " which share of the time (share) the network's arithmetic would take at this machine's own"
        " speed of convolutions (limit_seconds).",
    )
    parser.add_argument("--images", type=PositiveInt, default=200, help="pictures to translate")
    parser.add_argument(
        "--size", type=PositiveInt, default=256, help="side of the pictures in pixels"
    )
    add_network_options(parser)
    add_precision_option(parser)
    parser.add_argument("--runs", type=PositiveInt, default=3, help="timed pairs")
    options = parser.parse_args(arguments)

    from cyclegan_style.benchmarks.translation import compare_translation

    comparison = compare_translation(
        options.size, options.images, chosen_network(options), options.precision, options.runs
    )
    print_result(asdict(comparison), options.json)
    return 0


def large_command(arguments: list[str]) -> int:
    """``benchmark large``: time and memory of one picture, in one pass and in stripes."""
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
    options = parser.parse_args(arguments)

    from cyclegan_style.benchmarks.large import measure_large_picture

    figures = measure_large_picture(
        options.side,
        chosen_network(options),
        options.precision,
        stripes_only=options.stripes_only,
    )
    print_result(asdict(figures), options.json)
    return 0


def evaluate_command(arguments: list[str]) -> int:
    """``benchmark evaluate``: FID against the installed pytorch-fid."""
    parser = command_parser(
        "benchmark evaluate",
        "Time FID of two folders against the installed pytorch-fid, on the same files and weights.",
    )
    parser.add_argument("--real", type=Path, help="folder; generated pictures unless given")
    parser.add_argument("--fake", type=Path, help="folder; generated pictures unless given")
    parser.add_argument(
        "--images", type=PositiveInt, default=300, help="generated pictures per folder"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="file of the FID Inception; else torch hub's cache, else random ones",
    )
    options = parser.parse_args(arguments)

    from cyclegan_style.benchmarks.evaluation import compare_with_pytorch_fid

    comparison = compare_with_pytorch_fid(
        options.images, options.weights, options.real, options.fake
    )
    print_result(asdict(comparison), options.json)
    return 0


def stylize_command(arguments: list[str]) -> int:
    """``benchmark stylize``: the recipe's painting against the obvious loop, to the same loss."""
    parser = command_parser(
        "benchmark stylize",
        "Time a painting by the default recipe against the obvious loop, Adam at the full size, to"
        " the same loss; prints medians, ratios and both losses.",
    )
    parser.add_argument(
        "--size", type=PositiveInt, default=512, help="longest side of both pictures in pixels"
    )
    parser.add_argument("--content", type=Path, help="picture; one of the demo's unless given")
    parser.add_argument("--style", type=Path, help="picture; one of the demo's unless given")
    parser.add_argument(
        "--features",
        choices=["squeezenet", "vgg19"],
        default="squeezenet",
        help="network whose features are compared",
    )
    parser.add_argument("--weights", type=Path, help="file of that network's weights")
    parser.add_argument("--steps", type=PositiveInt, help="of the recipe; its own unless given")
    parser.add_argument(
        "--limit",
        type=PositiveFloat,
        default=5.0,
        help="times the recipe's seconds, after which the loop is stopped",
    )
    parser.add_argument("--runs", type=PositiveInt, default=1, help="timed pairs")
    parser.add_argument(
        "--alone",
        action="store_true",
        help="no comparison: time and peak memory of the recipe in a process of its own",
    )
    options = parser.parse_args(arguments)

    from cyclegan_style.benchmarks.stylizing import compare_stylizing, measure_painting
    from cyclegan_style.stylizing.recipe import Recipe

    recipe = Recipe(options.features, options.weights)
    if options.steps is not None:
        recipe = replace(recipe, steps=options.steps)
    pictures = (options.size, options.content, options.style)
    if options.alone:
        print_result(asdict(measure_painting(*pictures, recipe)), options.json)
    else:
        comparison = compare_stylizing(*pictures, recipe, options.limit, options.runs)
        print_result(asdict(comparison), options.json)
    return 0


def serve_command(arguments: list[str]) -> int:
    """``benchmark serve``: a server under load against the predictor alone."""
    parser = command_parser(
        "benchmark serve",
        "Start a server on this machine and let clients ask for translations as fast as they are"
        " answered. Prints its throughput beside that of the predictor's translate_batch, how long"
        " clients waited, how many answers were wrong, and the server's memory over time.",
    )
    parser.add_argument("--clients", type=PositiveInt, default=64, help="at once")
    parser.add_argument("--seconds", type=PositiveFloat, default=120.0, help="of load")
    parser.add_argument(
        "--size", type=PositiveInt, default=128, help="side of the pictures in pixels"
    )
    add_network_options(parser)
    options = parser.parse_args(arguments)

    from cyclegan_style.benchmarks.serving import measure_serving

    figures = measure_serving(
        options.size, chosen_network(options), options.clients, options.seconds
    )
    print_result(asdict(figures), options.json)
    return 0


def chosen_network(options: Namespace) -> GeneratorConfig:
    """The generator that ``add_network_options`` lets choose."""
    return GeneratorConfig(channels=int(options.channels), blocks=int(options.blocks))
