"""``python -m cyclegan_style``: the command line, where it is not installed or not on the path."""

from cyclegan_style.commands.main import main
from cyclegan_style.system.launch import leave, stop_with_launcher

if __name__ == "__main__":
    stop_with_launcher()
    leave(main())
