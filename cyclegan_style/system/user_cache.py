"""Where this user keeps what can be made anew."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$CYCLEGAN_STYLE_CACHE, or our folder in the user's cache."""
    if own := os.environ.get("CYCLEGAN_STYLE_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "cyclegan_style"
