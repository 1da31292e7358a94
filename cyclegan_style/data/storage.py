"""Parts of files wherever they lie: on disk, behind HTTP, or in a store that fsspec knows.

Files are told apart by their addresses: a path, ``https://host/file`` or ``s3://bucket/file``. What
is open stays open for the next part, in each process by itself.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from cyclegan_style.errors import UserError, printable

Result = TypeVar("Result")

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to reach a store."""

_TIMEOUT = 20.0  # seconds without a byte
_OPEN_FILES = 128
_LONGEST_VERSION = 100
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class StorageError(UserError):
    """Why a file gives no bytes; what is read from it would not be told from damage otherwise."""


class AbsentError(StorageError):
    """There is no such file."""


@dataclass(frozen=True)
class Stamp:
    """By what a file is known to be still the same."""

    size: int
    version: str


def is_remote(address: str) -> bool:
    """Whether an address is one of a store, not of a file of this machine."""
    return "://" in address


def is_http(address: str) -> bool:
    """Whether a web server has the file."""
    return address.startswith(("http://", "https://"))


def path_of(address: str) -> Path:
    """An address as the path that a picture there is called by."""
    place = shown(address)
    return Path(place.rpartition("://")[2] if is_remote(place) else place)


def split_query(address: str) -> tuple[str, str]:
    """An address and what a web server is told beside it, from the question mark on."""
    place, mark, query = address.partition("?") if is_http(address) else (address, "", "")
    return place, mark + query


def shown(address: str) -> str:
    """An address as errors and caches call it: without a name, a password or a signature."""
    if not is_http(address):
        return address
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def stamp_of(address: str) -> Stamp:
    """Size and version of a file."""
    if not is_remote(address):
        return _stamp_of_local(Path(address))
    if is_http(address):
        return _patiently(address, lambda: _stamp_by_http(address))
    store, path = opened_store(address)

    def ask() -> Stamp:
        store.invalidate_cache()
        size = store.info(path)["size"]
        if not isinstance(size, int):
            raise StorageError(f"{address}: this store does not tell its size")
        return Stamp(size, str(store.ukey(path))[:_LONGEST_VERSION])

    return _patiently(address, ask)


def read_part(address: str, offset: int, length: int, stamp: Stamp) -> bytes:
    """So many bytes of a file that is still the one with this stamp."""
    if not 0 <= offset <= offset + length <= stamp.size:
        raise StorageError(f"{shown(address)}: has no bytes {offset:,} to {offset + length:,}")
    if not length:
        return b""
    if not is_remote(address):
        content = _read_local(address, offset, length, stamp)
    elif is_http(address):
        content = _patiently(address, lambda: _read_by_http(address, offset, length, stamp))
    else:
        store, path = opened_store(address)
        last = offset + length

        def ask() -> bytes:  # by names, since stores have these in different orders
            return _whole(store.cat_file(path, start=offset, end=last), length)

        content = _patiently(address, ask)
    if len(content) != length:
        raise StorageError(f"{shown(address)}: is another size than it was")
    return content


def opened_store(address: str) -> tuple[Any, str]:
    """The file system of fsspec that an address belongs to, and the path there."""
    try:
        from fsspec.core import url_to_fs

        store, path = url_to_fs(address)
    except ImportError as error:
        advice = "install what reads it: pip install 'cyclegan-style[remote]'"
        raise StorageError(f"{address}: {advice} ({_told(error)})") from None
    except Exception as error:  # the libraries' own
        raise StorageError(f"{address}: {_told(error)}") from None
    return store, path


def listed_files(spec: str) -> dict[str, int]:
    """Addresses and sizes of all files in a folder of a store, or of those that a glob matches."""
    store, path = opened_store(spec)

    def ask() -> dict[str, int]:
        store.invalidate_cache()
        is_glob = any(sign in path for sign in "*?[")
        found = store.glob(path, detail=True) if is_glob else store.find(path, detail=True)
        return {
            str(store.unstrip_protocol(name)): int(told.get("size") or 0)
            for name, told in found.items()
            if told.get("type") == "file"
        }

    return _patiently(spec, ask)


def _patiently(address: str, attempt: Callable[[], Result]) -> Result:
    """What a store answers, asked again after pauses while it or the network fails."""
    for pause in (*PAUSES, None):
        try:
            return attempt()
        except StorageError:
            raise
        except FileNotFoundError:
            raise AbsentError(f"{shown(address)}: no such file there") from None
        except PermissionError as error:
            raise StorageError(f"{shown(address)}: not permitted ({_told(error)})") from None
        except Exception as error:  # fsspec's stores raise whatever their libraries do
            if pause is None:
                reason = f"out of reach, asked {len(PAUSES) + 1} times ({_told(error)})"
                raise StorageError(f"{shown(address)}: {reason}") from None
            time.sleep(pause)
    raise AssertionError  # the last pause is None


def _told(error: BaseException) -> str:
    """What went wrong in a few words, those of the system rather than those of the libraries."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines()
    return printable(lines[0][:200] if lines else type(error).__name__)


def _whole(content: bytes, length: int) -> bytes:
    if len(content) < length:
        raise OSError("the connection broke off")
    return content


# Files of this machine


class _OpenFile:
    """A file that is closed when nobody holds it any more, whichever thread that is."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def read(self, offset: int, length: int) -> bytes:
        """Some bytes; the file stays open meanwhile, whoever drops it."""
        return os.pread(self.descriptor, length, offset)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # not if there is no such file
            os.close(self.descriptor)


def _stamp_of_local(path: Path) -> Stamp:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise AbsentError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # the latter for a name with a zero byte
        raise StorageError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    return Stamp(status.st_size, str(status.st_mtime_ns))


def _read_local(address: str, offset: int, length: int, stamp: Stamp) -> bytes:
    try:
        if sys.platform == "win32":  # which has no pread, and where an open file stays locked
            with Path(address).open("rb") as stream:
                stream.seek(offset)
                return stream.read(length)
        return _opened(address, stamp).read(offset, length)
    except OSError as error:
        raise StorageError(f"{address}: {error.strerror}") from None


@lru_cache(maxsize=_OPEN_FILES)
def _opened(address: str, stamp: Stamp) -> _OpenFile:
    """The file as it was; opened by one name, a new file may lie there."""
    opened = _OpenFile(address)
    status = os.fstat(opened.descriptor)
    if (status.st_size, str(status.st_mtime_ns)) != (stamp.size, stamp.version):
        raise StorageError(f"{address}: has changed since it was opened first; start again")
    return opened


# HTTP


@lru_cache(maxsize=1)
def _session(process: int) -> requests.Session:
    """Connections that stay open, which processes cannot share."""
    return requests.Session()


def _answer(address: str, first: int, last: int) -> requests.Response:
    """What a server answers that is asked for some bytes, its content not yet read."""
    headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
    answer = _session(os.getpid()).get(address, headers=headers, timeout=_TIMEOUT, stream=True)
    if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
        return answer
    answer.close()
    match answer.status_code:
        case HTTPStatus.OK:
            reason = "this server sends whole files only, no parts (Range); copy the file here"
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            raise AbsentError(f"{shown(address)}: no such file there")
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            reason = "is empty" if not first else "has become shorter than it was"
        case status if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise OSError(f"the server answers {status}")
        case status:
            reason = f"the server answers {status} {answer.reason}"
    raise StorageError(f"{shown(address)}: {reason}")


def _stamp_by_http(address: str) -> Stamp:
    with _answer(address, 0, 0) as answer:
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        return Stamp(_size_told(address, answer), version[:_LONGEST_VERSION])


def _read_by_http(address: str, offset: int, length: int, stamp: Stamp) -> bytes:
    with _answer(address, offset, offset + length - 1) as answer:
        if _size_told(address, answer) != stamp.size:
            raise StorageError(f"{shown(address)}: has changed since it was opened first")
        told = answer.headers["Content-Range"].removeprefix("bytes ").partition("/")[0]
        if told != f"{offset}-{offset + length - 1}":
            raise StorageError(f"{shown(address)}: the server sends another part than asked for")
        content = b""
        for block in answer.iter_content(max(length, 1)):
            content += block
            if len(content) > length:
                raise StorageError(f"{shown(address)}: the server sends more than asked for")
        return _whole(content, length)


def _size_told(address: str, answer: requests.Response) -> int:
    """Bytes of the whole file, of which a part was sent."""
    size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if not size.isdecimal():
        raise StorageError(f"{shown(address)}: the server does not tell the file's size")
    return int(size)
