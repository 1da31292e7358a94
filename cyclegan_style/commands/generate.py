"""``generate``: pictures out of noise."""

import sys
from pathlib import Path

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt

from cyclegan_style.commands.parser import (
    command_parser,
    prepare_folder,
    print_result,
    quick_imports,
)
from cyclegan_style.errors import UserError

USUAL_COUNT = 16


def generate_command(arguments: list[str]) -> int:
    """Write pictures, a grid of them and an animation, and sum up what all processes did."""
    options = parse_generate_options(arguments)

    with quick_imports():
        from cyclegan_style.applying.generate import (
            NoisePainter,
            Wanted,
            generate_files,
            note_generated,
        )
        from cyclegan_style.system.hardware import join_processes
        from cyclegan_style.system.memory import reuse_freed_memory
        from cyclegan_style.system.processes import main_process_first, on_main_process

    reuse_freed_memory()
    processes = join_processes(on_cpu=options.device == "cpu")
    own_device = processes.num_processes > 1 and options.device == "auto"
    device = processes.device if own_device else options.device
    painter = main_process_first(
        lambda: NoisePainter.load(options.model, device, options.seed, options.truncation)
    )
    prepare_folder(options.output)
    ends = None if options.interpolate is None else tuple(options.interpolate)
    wanted = Wanted(options.count, ends, options.frames, options.format)
    on_main_process(
        lambda: note_generated(
            options.output, wanted, painter.origin(), overwrite=options.overwrite
        )
    )
    result = generate_files(painter, wanted, options.output)
    if not processes.is_main_process:
        return 0
    text = f"{result.generated} generated, {len(result.failed)} failed in {result.seconds:.1f} s"
    print(text, file=sys.stderr)
    if options.json:
        print_result(result.as_dict(), as_json=True)
    return 1 if result.failed else 0


def parse_generate_options(arguments: list[str]) -> Namespace:
    """Read the options of ``generate`` and refuse those out of range."""
    parser = command_parser(
        "generate",
        "Make pictures out of noise with a model of task noise: 00000.png, 00001.png, ... and a"
        " grid.png of the first. The same number and seed is the same picture, however many are"
        " made. Exit status 1: some files failed, and are named.",
    )
    parser.add_argument(
        "--model",
        required=True,
        help="run folder, exported model folder or Hub repository (user/name)",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--count",
        type=NonNegativeInt,
        help=f"pictures; by default {USUAL_COUNT}, beside an animation none",
    )
    parser.add_argument(
        "--seed", type=NonNegativeInt, default=0, help="another seed makes other pictures"
    )
    parser.add_argument(
        "--truncation",
        type=float,
        default=1.0,
        help="0 to 1: below 1 pictures are more usual, and more alike",
    )
    parser.add_argument(
        "--interpolate",
        nargs=2,
        type=NonNegativeInt,
        metavar=("A", "B"),
        help="write an animation from picture number A to number B",
    )
    parser.add_argument("--frames", type=int, default=48, help="of the animation")
    parser.add_argument(
        "--format",
        choices=["gif", "mp4"],
        default="gif",
        help="of the animation; mp4 needs cyclegan-style[video]",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write into a folder of pictures that another model, seed or truncation made",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    options = parser.parse_args(arguments)
    if options.count is None:
        options.count = USUAL_COUNT if options.interpolate is None else 0
    if not 0 <= options.truncation <= 1:
        raise UserError(f"--truncation must be 0 to 1, not {options.truncation}")
    if options.frames < 2:
        raise UserError(f"--frames must be at least 2, not {options.frames}")
    if options.interpolate is not None:
        first, last = options.interpolate
        if first == last:
            raise UserError(f"--interpolate: from {first} to {last} there is no way: choose two")
        if not options.truncation:
            raise UserError("--truncation must be above 0 with --interpolate: 0 makes one picture")
    if not options.count and options.interpolate is None:
        raise UserError("--count must be at least 1 without --interpolate")
    return options
