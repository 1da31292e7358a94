"""``replay``: a recorded trajectory of the reference through our own step."""

from dataclasses import asdict
from pathlib import Path

from cyclegan_style.commands.parser import command_parser, print_result


def replay_command(arguments: list[str]) -> int:
    """Print how far our own step strays from the trajectory."""
    parser = command_parser(
        "replay",
        "Run a recorded trajectory of the reference implementation through the"
        " trainer's own step in float64 and print the largest differences as one JSON object.",
    )
    parser.add_argument("trajectory", type=Path, help="safetensors file; its .json lies beside it")
    options = parser.parse_args(arguments)

    from cyclegan_style.training.replay import replay

    # Three numbers are as readable in this form as in any other.
    print_result(asdict(replay(options.trajectory)), as_json=True)
    return 0
