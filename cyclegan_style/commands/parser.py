"""One kind of parser for every command but ``train``."""

from argparse import OPTIONAL, SUPPRESS, Action

from jsonargparse import ArgumentParser, DefaultHelpFormatter


class CommandHelpFormatter(DefaultHelpFormatter):
    """Shows the defaults that say something, and no types: the help itself says what is meant."""

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if not action.option_strings and action.nargs != OPTIONAL:
            return text
        silent = action.default in (None, False, SUPPRESS)
        return text if silent else f"{text} (default: %(default)s)".lstrip()


def command_parser(command: str, description: str) -> ArgumentParser:
    """A parser that raises errors, and takes no option by half of its name."""
    return ArgumentParser(
        prog=f"cyclegan-style {command}",
        description=description,
        formatter_class=CommandHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
