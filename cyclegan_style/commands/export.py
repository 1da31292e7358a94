"""``export``: a model as an ONNX file, a torch.export file, a folder, a page or on the Hub."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from cyclegan_style.commands.parser import (
    add_direction_option,
    add_style_option,
    command_parser,
    print_result,
)
from cyclegan_style.errors import UserError


def export_command(arguments: list[str]) -> int:
    """Write all that is asked for and tell where it is."""
    options = parse_export_options(arguments)

    from cyclegan_style.models.convert import write_model_folder
    from cyclegan_style.models.graph_files import write_onnx, write_torch_export
    from cyclegan_style.models.model_files import load_generator, load_generators
    from cyclegan_style.models.noise_files import (
        is_noise_model,
        load_noise_generator,
        write_noise_folder,
    )
    from cyclegan_style.models.publish import push
    from cyclegan_style.models.space import write_space
    from cyclegan_style.models.styles import with_strength, with_style

    written: dict[str, Any] = {}
    if options.onnx or options.torch_export:
        loaded = load_generator(options.model, options.direction)
        generator = with_strength(with_style(loaded, options.style), options.strength)
        if options.onnx:
            written["onnx"] = asdict(write_onnx(generator, options.onnx))
        if options.torch_export:
            written["torch_export"] = asdict(write_torch_export(generator, options.torch_export))
    if options.folder:
        if is_noise_model(options.model):
            paths = write_noise_folder(options.folder, load_noise_generator(options.model))
        else:
            generators = load_generators(options.model)
            paths = write_model_folder(options.model, options.folder, generators, {})
        written["folder"] = [str(path) for path in paths]
    if options.space:
        written["space"] = [str(path) for path in write_space(options.model, options.space)]
    if options.push:
        written["push"] = push(options.model, options.push, private=options.private)
    if options.json:
        print_result(written, as_json=True)
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
        " holds one direction and one style, takes any batch, height and width, and is compared"
        " with the model before it is written.",
    )
    parser.add_argument(
        "model",
        help="run folder, exported model folder, Hub repository (user/name), or a generator file of"
        " the reference implementation or a folder of two",
    )
    add_direction_option(parser)
    add_style_option(parser)
    parser.add_argument("--onnx", type=Path, help="ONNX file to write")
    parser.add_argument("--torch-export", type=Path, help="torch.export file (.pt2) to write")
    parser.add_argument("--folder", type=Path, help="model folder to write, with all generators")
    parser.add_argument(
        "--space",
        type=Path,
        help="folder to write for a Hugging Face Space: a page that serves the model",
    )
    parser.add_argument("--push", help="Hub repository (user/name) to make or to update")
    parser.add_argument("--private", action="store_true", help="make that repository a private one")
    options = parser.parse_args(arguments)
    written = ("onnx", "torch_export", "folder", "space", "push")
    if not any(getattr(options, name) for name in written):
        raise UserError(
            "export: name what to write: --onnx, --torch-export, --folder, --space or --push"
        )
    for option, path in (("--onnx", options.onnx), ("--torch-export", options.torch_export)):
        if path is not None and (path.is_dir() or not path.name):
            raise UserError(f"{option}: {path} is a folder; name the file to write")
    return options
