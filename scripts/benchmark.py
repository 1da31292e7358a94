"""Time the product against the obvious way; ``--help`` says how."""

import sys

from cyclegan_style.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
