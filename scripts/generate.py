"""Make pictures out of noise with a trained model; ``--help`` lists the options.

``accelerate launch scripts/generate.py`` shares the pictures out over processes and machines.
"""

import sys

from cyclegan_style.commands.main import main
from cyclegan_style.system.launch import launched_as_asked, leave

if __name__ == "__main__" and launched_as_asked(__file__, sys.argv[1:]):
    leave(main(["generate", *sys.argv[1:]]))
