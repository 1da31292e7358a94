"""Train a CycleGAN: ``accelerate launch train.py [options]``; ``--help`` lists them."""

import sys

from cyclegan_style.commands.main import main
from cyclegan_style.system.launch import launched_as_asked, leave

if __name__ == "__main__" and launched_as_asked(__file__, sys.argv[1:]):
    leave(main(["train", *sys.argv[1:]]))
