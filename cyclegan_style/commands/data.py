"""``data`` and its parts."""

from cyclegan_style.commands.data_check import check_command
from cyclegan_style.commands.parser import Command, run_named


def data_command(arguments: list[str]) -> int:
    """Run one part."""
    parts: dict[str, tuple[Command, str]] = {
        "check": (check_command, "find what is wrong with the pictures of two domains"),
    }
    return run_named("cyclegan-style data", "part", parts, arguments)
