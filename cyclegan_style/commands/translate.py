"""``translate``: files and folders of pictures and videos."""

import logging
import sys
from pathlib import Path

from jsonargparse import Namespace

from cyclegan_style.commands.parser import (
    add_direction_option,
    add_precision_option,
    add_style_option,
    command_parser,
    prepare_folder,
    print_result,
    quick_imports,
)
from cyclegan_style.errors import UserError


def translate_command(arguments: list[str]) -> int:
    """Translate what this process has its share of, and sum up what all did."""
    options = parse_translate_options(arguments)

    with quick_imports():
        from cyclegan_style.applying.jobs import plan
        from cyclegan_style.applying.origin import note_origin, origin_of_translations
        from cyclegan_style.applying.predictor import Predictor
        from cyclegan_style.applying.translate import Output, gathered, translate_files
        from cyclegan_style.system.hardware import join_processes
        from cyclegan_style.system.memory import reuse_freed_memory
        from cyclegan_style.system.processes import main_process_first, on_main_process

    reuse_freed_memory()
    processes = join_processes(on_cpu=options.device == "cpu")
    jobs = on_main_process(lambda: plan(options.input, options.output, options.format))
    prepare_folder(options.output)
    own_device = processes.num_processes > 1 and options.device == "auto"
    if processes.is_main_process:
        logging.getLogger("cyclegan_style.applying.number_format").setLevel(logging.INFO)
    # The first measures which number format is the fastest, and the others remember.
    predictor = main_process_first(
        lambda: Predictor.load(
            options.model,
            options.direction,
            processes.device if own_device else options.device,
            options.precision,
            options.memory_budget,
            working_size=options.working_size,
            keep_alpha=options.keep_alpha,
            style=options.style,
            strength=options.strength,
        )
    )
    output = Output(options.quality, options.side_by_side, not options.strip_metadata)
    on_main_process(
        lambda: note_origin(
            options.output,
            jobs,
            origin_of_translations(predictor, output),
            overwrite=options.overwrite,
        )
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
        print_result(summary.as_dict(), as_json=True)
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
    add_direction_option(parser)
    add_style_option(parser)
    parser.add_argument(
        "--format",
        choices=["png", "jpg", "webp", "tif"],
        default="png",
        help="of pictures; .npy files stay .npy",
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
    options = parser.parse_args(arguments)
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality must be 1 to 100, not {options.quality}")
    if options.batch_size is not None and options.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, not {options.batch_size}")
    if options.keep_alpha and options.format == "jpg":
        raise UserError("--keep-alpha: jpg holds no transparency; use --format png or webp")
    return options
