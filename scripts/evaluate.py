"""Score pictures, or what a model makes of them; ``--help`` says how."""

import sys

from cyclegan_style.commands.main import main
from cyclegan_style.system.launch import launched_as_asked, leave

if __name__ == "__main__" and launched_as_asked(__file__, sys.argv[1:]):
    leave(main(["evaluate", *sys.argv[1:]]))
