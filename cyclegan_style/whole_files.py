"""Files that appear under their names whole or not at all."""

import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

_MOMENT = 2.0  # seconds
_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.part")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a hidden file beside the path that takes its name when the block ends without error."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with temporary.open("x+b") as stream:
            with suppress(OSError):  # a file system without locks
                _lock(stream)
            yield stream
            stream.flush()
            if sys.platform != "win32":  # which renames no open file
                temporary.replace(path)  # before the lock ends
        if sys.platform == "win32":
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written; the living hold a lock on theirs.

    What is younger than a moment is left: its writer may not have locked it yet.
    """
    now = time.time()
    with suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY_NAME.fullmatch(path.name) and now - path.stat().st_mtime > _MOMENT:
                with suppress(OSError), path.open("r+b") as stream:
                    _lock(stream)
                    path.unlink()


def _lock(stream: BinaryIO) -> None:
    """Lock the file for as long as it is open; an OSError if another process has."""
    if sys.platform != "win32":
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
