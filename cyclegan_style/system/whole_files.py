"""Files that appear under their names whole or not at all."""

import hashlib
import os
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.part")


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a hidden file beside the path that takes its name when the block ends without error.

    What is ``durable`` is on disk by then, so that a power cut leaves the old or the new content.
    """
    temporary, opened = _opened_and_locked(path)
    try:
        with opened as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            if sys.platform != "win32":  # which renames no open file
                temporary.replace(path)  # before the lock ends
        if sys.platform == "win32":
            temporary.replace(path)
        if durable:
            flush_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written; the living hold a lock on theirs."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY_NAME.fullmatch(path.name):
                with suppress(OSError), path.open("r+b") as stream:
                    _lock(stream)
                    path.unlink()


def _opened_and_locked(path: Path) -> tuple[Path, BinaryIO]:
    while True:
        temporary = path.with_name(f".{uuid.uuid4().hex}.part")
        stream = temporary.open("x+b")
        try:
            _lock(stream)
        except BlockingIOError:  # another process takes it for a leftover
            stream.close()
            continue
        except OSError:  # a file system without locks
            pass
        if temporary.exists():
            return temporary, stream
        stream.close()  # as above, a moment earlier


def _lock(stream: BinaryIO) -> None:
    """Lock the file for as long as it is open; an OSError if another process has."""
    if sys.platform != "win32":
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file in one move, so that it holds the old or the new content whatever happens."""
    with whole_file(path, durable=True) as stream:
        stream.write(content)


def flush_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut; Windows has no such call."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def checksum(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
