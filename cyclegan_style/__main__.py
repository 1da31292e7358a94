"""The command line as a process of its own: ``cyclegan-style`` and ``python -m cyclegan_style``."""

from typing import NoReturn

from cyclegan_style.commands.main import main
from cyclegan_style.system.launch import leave, stop_with_launcher


def run() -> NoReturn:
    """Run the command and end with its status."""
    stop_with_launcher()
    leave(main())


if __name__ == "__main__":
    run()
