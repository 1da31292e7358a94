"""Downloads that go on where an earlier attempt broke off."""

import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError

from tqdm import tqdm

from cyclegan_style.system.processes import say

if sys.platform != "win32":
    import fcntl

_BLOCK = 1 << 20
_TIMEOUT = 20.0  # seconds without a byte

DownloadErrors = (OSError, HTTPException)
"""What ``fetch`` raises if the file does not come."""


def reason_of_download(error: BaseException) -> str:
    """Why a file did not come, in a few words."""
    return str(getattr(error, "reason", None) or error or type(error).__name__)


@contextmanager
def held_alone(part: Path, what: str) -> Iterator[None]:
    """Let one process at a time append to the file, where there are locks."""
    if sys.platform == "win32":  # which renames no open file
        yield
        return
    while True:
        with part.open("ab") as stream:
            _wait_for(stream, what)
            if not _is_there(stream, part):  # whoever had it has finished or removed it
                continue
            try:
                yield
            finally:
                if _is_there(stream, part) and not part.stat().st_size:
                    part.unlink()
            return


def fetch(url: str, part: Path, what: str, *, size: int | None = None) -> None:
    """Add to ``part`` what is missing of a file; whether it is the right one is left to a checksum.

    A file that is known to be of another ``size`` is not begun.
    """
    present = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={present}-"} if present else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return  # nothing is missing
    with response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            present = 0  # this server sends everything again
        elif _first_byte(response) not in (None, present):
            part.unlink()
            raise OSError("the server sent another part than was asked for; try again")
        _write(response, part, present, what, size)


def _first_byte(response: HTTPResponse) -> int | None:
    """Where a part of a file begins, if the server tells."""
    told = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(told[1]) if told else None


def _write(response: HTTPResponse, part: Path, present: int, what: str, size: int | None) -> None:
    total = None if response.length is None else present + response.length
    if None not in (size, total) and size != total:
        part.unlink(missing_ok=True)
        raise OSError(f"the server offers {total:,} bytes instead of {size:,}")
    most = size if total is None else total
    bar = tqdm(
        desc=what,
        total=total,
        initial=present,
        unit="B",
        unit_scale=True,
        file=sys.stderr,
    )
    with part.open("ab" if present else "wb") as stream, bar:
        while block := response.read1(_BLOCK):
            present += len(block)
            if most is not None and present > most:
                part.unlink()
                raise OSError(f"the server sends more than {most:,} bytes")
            stream.write(block)
            bar.update(len(block))
    if most is not None and present < most:
        raise OSError("the connection broke off; the next attempt goes on from there")


def _wait_for(stream: BinaryIO, what: str) -> None:
    """Lock the file for as long as it is open."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another process that downloads the {what}")
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass


def _is_there(stream: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False
