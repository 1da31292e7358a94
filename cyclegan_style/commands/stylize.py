"""``stylize``: pictures in the style of others, without training."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from cyclegan_style.commands.parser import (
    command_parser,
    prepare_folder,
    print_result,
    quick_imports,
)
from cyclegan_style.errors import UserError
from cyclegan_style.stylizing.recipe import LayerWeights, Recipe


def stylize_command(arguments: list[str]) -> int:
    """Paint what this process has its share of, and sum up what all did."""
    options = parse_stylize_options(arguments)
    recipe = recipe_of(options)

    with quick_imports():
        from cyclegan_style.applying.origin import note_origin
        from cyclegan_style.stylizing.files import (
            Output,
            gathered,
            names_a_picture,
            origin_of_paintings,
            plan_paintings,
            read_styles,
            refuse_overwritten,
            stylize_files,
        )
        from cyclegan_style.stylizing.stylizer import Stylizer
        from cyclegan_style.system.hardware import join_processes
        from cyclegan_style.system.memory import reuse_freed_memory
        from cyclegan_style.system.processes import on_main_process

    # Which layers were chosen and why is worth a line each.
    logging.getLogger("cyclegan_style.stylizing").setLevel(logging.INFO)
    reuse_freed_memory()
    processes = join_processes(on_cpu=options.device == "cpu")
    jobs = on_main_process(lambda: plan_paintings(options.content, options.output, options.format))
    styles = read_styles(options.style, options.style_weights, options.mask)
    masks = [style.mask for style in styles if style.mask is not None]
    refuse_overwritten(jobs, [*options.style, *masks])
    own_device = processes.num_processes > 1 and options.device == "auto"
    stylizer = Stylizer(recipe, processes.device if own_device else options.device)
    single = names_a_picture(options.output)
    prepare_folder(options.output.parent if single else options.output)
    if not single:
        origin = origin_of_paintings(recipe, styles)
        on_main_process(
            lambda: note_origin(options.output, jobs, origin, overwrite=options.overwrite)
        )
    own = stylize_files(
        stylizer,
        jobs[processes.process_index :: processes.num_processes],
        styles,
        Output(options.quality, not options.strip_metadata, options.save_every, options.report),
        overwrite=single or options.overwrite,
        progress=processes.is_main_process,
    )
    summary = gathered(own)
    if not processes.is_main_process:
        return 0
    painted = len(jobs) - summary.skipped - len(summary.failed)
    text = (
        f"{painted} painted, {summary.skipped} skipped, {len(summary.failed)} failed"
        f" in {summary.seconds:.1f} s"
    )
    print(text, file=sys.stderr)
    if options.json:
        print_result(summary.as_dict(), as_json=True)
    return 1 if summary.failed else 0


def parse_stylize_options(arguments: list[str]) -> Namespace:
    """Read the options of ``stylize`` and refuse those out of range."""
    parser = command_parser(
        "stylize",
        "Paint pictures in the style of others, by optimisation and without training. Of several"
        " contents, run again, the same command goes on where it was interrupted. Exit status 1:"
        " some contents failed, and are named.",
    )
    add_file_options(parser)
    add_loss_options(parser)
    add_painting_options(parser)
    options = parser.parse_args(arguments)
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality must be 1 to 100, not {options.quality}")
    return options


def add_file_options(parser: ArgumentParser) -> None:
    """What is painted in which style, and what is written."""
    parser.add_argument(
        "--content", nargs="+", required=True, help="files, folders (searched recursively), globs"
    )
    parser.add_argument(
        "--style", nargs="+", type=Path, required=True, help="pictures whose style is wanted"
    )
    parser.add_argument(
        "--style-weights", nargs="+", type=float, help="one for each style; by default all alike"
    )
    parser.add_argument(
        "--mask",
        nargs="+",
        help="one for each style: a picture, laid over the content, that is white where the style"
        " is wanted, or the word all",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="a file for one content (painting.jpg), or a folder",
    )
    parser.add_argument(
        "--format", choices=["png", "jpg", "webp"], default="png", help="of pictures in a folder"
    )
    parser.add_argument("--quality", type=int, default=95, help="of jpg and webp, 1 to 100")
    parser.add_argument("--overwrite", action="store_true", help="redo finished files of a folder")
    parser.add_argument(
        "--strip-metadata", action="store_true", help="write no EXIF (date, camera, place, …)"
    )
    parser.add_argument(
        "--save-every",
        type=PositiveInt,
        help="steps between previews, in a folder NAME-previews beside the painting",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="write NAME.html beside the painting: curves, previews, content and style",
    )


def add_loss_options(parser: ArgumentParser) -> None:
    """What makes a painting good."""
    parser.add_argument(
        "--features",
        choices=choices("features"),
        default=Recipe.features,
        help="network that looks at the pictures: squeezenet comes along, vgg19 is downloaded",
    )
    parser.add_argument("--weights", type=Path, help="file of that network's weights")
    parser.add_argument(
        "--layers",
        choices=choices("layers"),
        default=Recipe.layers,
        help="usual: good ones for any picture; auto: those that tell this content from this style"
        " (they are listed with the reason)",
    )
    parser.add_argument(
        "--content-layers",
        nargs="+",
        metavar="LAYER",
        help="where the picture stays like the content: names, or names with weights (fire5:0.5)",
    )
    parser.add_argument(
        "--style-layers",
        nargs="+",
        metavar="LAYER",
        help="where its statistics become the style's: first layers texture, later large forms",
    )
    parser.add_argument(
        "--content-loss",
        choices=choices("content_loss"),
        default=Recipe.content_loss,
        help="squared differences of features, or their structural similarity",
    )
    parser.add_argument(
        "--style-loss",
        choices=choices("style_loss"),
        default=Recipe.style_loss,
        help="Gram matrices, mean and deviation, or sliced Wasserstein distance",
    )
    parser.add_argument(
        "--content-weight",
        type=float,
        default=Recipe.content_weight,
        help="how much of the content is kept",
    )
    parser.add_argument(
        "--style-weight", type=float, default=Recipe.style_weight, help="how strong the style is"
    )
    parser.add_argument(
        "--variation-weight",
        type=float,
        default=Recipe.variation_weight,
        help="of the total variation, which smooths",
    )
    parser.add_argument(
        "--pooling",
        choices=choices("pooling"),
        default=Recipe.pooling,
        help="what the network's pooling layers do; average is smoother",
    )
    parser.add_argument(
        "--style-scale",
        type=float,
        default=Recipe.style_scale,
        help="longest side of the style over the content's: above 1 makes coarser strokes",
    )
    parser.add_argument(
        "--preserve-colors",
        choices=choices("preserve_colors"),
        default=Recipe.preserve_colors,
        help="luminance: paint brightness alone; histogram: give the style the content's colours",
    )


def add_painting_options(parser: ArgumentParser) -> None:
    """How the painting is found."""
    parser.add_argument(
        "--steps", type=int, default=Recipe.steps, help="over all scales, most at the coarse ones"
    )
    parser.add_argument(
        "--optimizer",
        choices=choices("optimizer"),
        default=Recipe.optimizer,
        help="lbfgs needs fewer steps, adam less memory",
    )
    parser.add_argument(
        "--learning-rate", type=float, help="by default 1 for lbfgs and 0.02 for adam"
    )
    parser.add_argument(
        "--scales",
        type=int,
        help="sizes painted from coarse to fine, each twice the last; by default from 64 pixels on",
    )
    parser.add_argument(
        "--start",
        choices=choices("start"),
        default=Recipe.start,
        help="what the coarsest scale begins with",
    )
    parser.add_argument(
        "--size", type=int, help="longest side at which to paint; by default the content's"
    )
    parser.add_argument(
        "--memory-budget",
        help="such as 2GB, by default most of what is free; pictures that would take more are"
        " painted smaller and enlarged",
    )
    parser.add_argument(
        "--seed", type=int, default=Recipe.seed, help="the same seed paints the same picture"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def choices(field: str) -> tuple[str, ...]:
    """What a field of the recipe can be."""
    return get_args(get_type_hints(Recipe)[field])


def recipe_of(options: Namespace) -> Recipe:
    """The recipe that the options ask for, checked as far as that needs no network."""
    values: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(Recipe)}
    for name in ("content_layers", "style_layers"):
        values[name] = layer_weights(values[name], f"--{name.replace('_', '-')}")
    recipe = Recipe(**values)
    recipe.check()
    return recipe


def layer_weights(layers: Sequence[str] | None, option: str) -> LayerWeights | None:
    """Weights by layer of ``conv1:0.5 fire2``; 1 where none is given."""
    if layers is None:
        return None
    weights = {}
    for layer in layers:
        name, _, weight = layer.partition(":")
        if name in weights:
            raise UserError(f"{option}: {name} is named twice")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise UserError(f"{option}: {layer!r} is no name, nor a name:weight") from None
    return weights
