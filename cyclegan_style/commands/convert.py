"""``convert``: between our models and the reference's generator files."""

from pathlib import Path

from cyclegan_style.commands.parser import command_parser, print_result


def convert_command(arguments: list[str]) -> int:
    """Write the files and list them."""
    parser = command_parser(
        "convert",
        "Write a model as latest_net_G_A.pth and latest_net_G_B.pth, which the"
        " reference implementation loads; a folder with those two becomes a model folder. The"
        " discriminators of a run come along as latest_net_D_A.pth and latest_net_D_B.pth. A model"
        " that translates A to B only has the first of each.",
    )
    parser.add_argument("model", help="run folder, model folder, Hub repository, or such a folder")
    parser.add_argument("output", type=Path, help="folder to write to")
    options = parser.parse_args(arguments)

    from cyclegan_style.models.convert import convert
    from cyclegan_style.runs.discriminators import load_discriminators

    discriminators = load_discriminators(options.model)
    written = [str(path) for path in convert(options.model, options.output, discriminators)]
    if options.json:
        print_result({"written": written}, as_json=True)
    else:
        print("\n".join(written))
    return 0
