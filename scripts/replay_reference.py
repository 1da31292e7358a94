"""Replay a recorded trajectory of the reference CycleGAN; ``--help`` says how."""

import sys

from cyclegan_style.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["replay", *sys.argv[1:]]))
