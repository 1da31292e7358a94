"""Where the pictures in a shard lie: an index that is built once and read row by row.

It is a file of one header of ``HEADER`` bytes and, for each picture in the order of the tar, its
offset and length. It lies beside the shard, or where that cannot be written in the cache.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cyclegan_style.data.images import IMAGE_ENDINGS
from cyclegan_style.data.storage import (
    Stamp,
    StorageError,
    is_remote,
    read_part,
    shown,
    split_query,
    stamp_of,
)
from cyclegan_style.data.tar_members import Member, TarError, regular_files
from cyclegan_style.system.user_cache import cache_folder
from cyclegan_style.system.whole_files import whole_file

INDEX_ENDING = ".index"
INDEX_FOLDER = "shard-indexes"
HEADER = 512

_FORMAT = "cyclegan-style tar index 1"
_ROW = struct.Struct("<QQ")
_READ_AHEAD_LOCAL, _READ_AHEAD_REMOTE = 1 << 14, 1 << 20
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Shard:
    """A tar of which some files are pictures."""

    address: str
    ending: str | None = None
    """What the names of its pictures end in, such as ``a.jpg``; one of an image by default."""

    @property
    def index_address(self) -> str:
        """Where its index lies beside it."""
        place, query = split_query(self.address)
        chosen = "" if self.ending is None else f".{self.ending}"
        return f"{place}{chosen}{INDEX_ENDING}{query}"

    @property
    def cached_index(self) -> Path:
        """Where its index lies in the cache."""
        place = self.address if is_remote(self.address) else str(Path(self.address).absolute())
        key = f"{shown(place)}\0{self.ending or ''}"
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        return cache_folder() / INDEX_FOLDER / f"{name[:40]}{INDEX_ENDING}"

    @property
    def index_files(self) -> list[Path]:
        """Where its index may lie on this machine."""
        beside = [] if is_remote(self.address) else [Path(self.index_address)]
        return [*beside, self.cached_index]

    def counts(self, name: str) -> bool:
        """Whether a file in the tar is one of the pictures, hidden ones never."""
        if any(part.startswith(".") and part not in (".", "..") for part in name.split("/")):
            return False
        if self.ending is not None:
            return name.lower().endswith(f".{self.ending.lower()}")
        return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS  # noqa: PTH122  # a path is slow


@dataclass(frozen=True)
class TarIndex:
    """The pictures of one shard."""

    shard: Shard
    stamp: Stamp
    """Of the shard as it was when the index was built."""
    file: str
    file_stamp: Stamp
    pictures: int
    sha256: str
    """Of the pictures' names, places and lengths."""

    def row(self, number: int) -> tuple[int, int]:
        """Offset and length of a picture."""
        row = read_part(self.file, HEADER + number * _ROW.size, _ROW.size, self.file_stamp)
        offset, length = _ROW.unpack(row)
        return offset, length


def find_index(shard: Shard) -> TarIndex | None:
    """The index of a shard as it is now, if there is one on this machine."""
    stamp = stamp_of(shard.address)
    for file in shard.index_files:
        found = _opened(shard, str(file))
        if found is not None and found.stamp == stamp:
            return found
    return None


def build_index(shard: Shard) -> TarIndex:
    """Index a shard, by its headers or with an index that lies beside it in a store."""
    stamp = stamp_of(shard.address)
    if not is_remote(shard.address):
        with suppress(OSError):  # nothing may be written there
            return _built(shard, stamp, Path(shard.index_address))
    try:
        shard.cached_index.parent.mkdir(parents=True, exist_ok=True)
        if is_remote(shard.address):
            with suppress(ValueError):
                return _copied(shard, stamp)
        return _built(shard, stamp, shard.cached_index)
    except OSError as error:
        raise StorageError(f"{shard.cached_index}: cannot be written: {error.strerror}") from None


def _built(shard: Shard, stamp: Stamp, file: Path) -> TarIndex:
    read = ReadAhead(shard.address, stamp)
    digest, pictures = hashlib.sha256(), 0
    try:
        with whole_file(file) as stream:
            stream.write(bytes(HEADER))
            for member in _pictures_of(shard, read, stamp.size):
                told = f"{member.name}\0{member.offset}\0{member.size}\n"
                digest.update(told.encode("utf-8", "surrogateescape"))
                stream.write(_ROW.pack(member.offset, member.size))
                pictures += 1
            stream.seek(0)
            stream.write(_header(stamp, pictures, digest.hexdigest()))
    except TarError as error:
        raise StorageError(f"{shown(shard.address)}: {error}") from None
    built = _opened(shard, str(file))
    if built is None:
        raise StorageError(f"{file}: was changed by somebody else while it was written")
    return built


def _pictures_of(shard: Shard, read: "ReadAhead", size: int) -> Iterator[Member]:
    if not size:
        raise TarError("is empty")
    return (member for member in regular_files(read, size) if shard.counts(member.name))


class ReadAhead:
    """Headers of a tar, which lie one after the other, by as few reads as is worth it."""

    def __init__(self, address: str, stamp: Stamp) -> None:
        self.address = address
        self.stamp = stamp
        self._most = _READ_AHEAD_REMOTE if is_remote(address) else _READ_AHEAD_LOCAL
        self._start = 0
        self._held = b""

    def __call__(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, so many."""
        place = offset - self._start
        if not 0 <= place <= len(self._held) - length:
            wanted = min(max(length, self._most), self.stamp.size - offset)
            self._held = read_part(self.address, offset, max(length, wanted), self.stamp)
            self._start, place = offset, 0
        return self._held[place : place + length]


def _header(stamp: Stamp, pictures: int, sha256: str) -> bytes:
    values = {
        "format": _FORMAT,
        "size": stamp.size,
        "version": stamp.version,
        "pictures": pictures,
        "sha256": sha256,
    }
    return json.dumps(values).encode().ljust(HEADER - 1) + b"\n"


def _opened(shard: Shard, place: str) -> TarIndex | None:
    """An index if it is whole, of whatever version of the shard."""
    try:
        stamp = stamp_of(place)
        values = json.loads(read_part(place, 0, HEADER, stamp))
        index = TarIndex(
            shard,
            Stamp(values["size"], values["version"]),
            place,
            stamp,
            int(values["pictures"]),
            bytes.fromhex(values["sha256"]).hex(),
        )
        whole = stamp.size == HEADER + index.pictures * _ROW.size
        return index if values["format"] == _FORMAT and whole else None
    except (StorageError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _copied(shard: Shard, stamp: Stamp) -> TarIndex:
    """The index beside a shard in a store; a ValueError if it is not of this shard."""
    source = _opened(shard, shard.index_address)
    if source is None or source.stamp.size != stamp.size:
        raise ValueError
    with whole_file(shard.cached_index) as stream:
        stream.write(_header(stamp, source.pictures, source.sha256))
        _copy_rows(source, stream)
    copied = _opened(shard, str(shard.cached_index))
    assert copied is not None
    return copied


def _copy_rows(source: TarIndex, stream: BinaryIO) -> None:
    for first in range(0, source.pictures, _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, source.pictures - first)
        place = HEADER + first * _ROW.size
        rows = read_part(source.file, place, count * _ROW.size, source.file_stamp)
        offsets, lengths = np.frombuffer(rows, "<u8").reshape(-1, 2).T
        if (offsets > source.stamp.size).any() or (lengths > source.stamp.size - offsets).any():
            raise ValueError
        stream.write(rows)
