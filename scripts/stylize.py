"""Paint pictures in the style of others, without training; ``--help`` lists the options.

``accelerate launch scripts/stylize.py`` shares the contents out over processes and machines.
"""

import sys

from cyclegan_style.commands.main import main
from cyclegan_style.system.launch import launched_as_asked, leave

if __name__ == "__main__" and launched_as_asked(__file__, sys.argv[1:]):
    leave(main(["stylize", *sys.argv[1:]]))
