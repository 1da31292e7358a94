"""Train a CycleGAN: ``accelerate launch train.py [options]``; ``--help`` lists them."""

import sys

from cyclegan_style.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
