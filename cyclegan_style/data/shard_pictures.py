"""Pictures in tar shards, of which any is read by its number, here or over a network."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from cyclegan_style.data.images import IMAGE_ENDINGS, ImageError, Pixels, read_image, read_size
from cyclegan_style.data.storage import (
    StorageError,
    is_http,
    is_remote,
    listed_files,
    path_of,
    read_part,
)
from cyclegan_style.data.tar_index import Shard, TarIndex, build_index, find_index
from cyclegan_style.data.tar_members import name_before
from cyclegan_style.system.whole_files import remove_leftovers

Result = TypeVar("Result")

EXAMPLE = "photos-{000..099}.tar"

_THREADS = 16  # which wait for disks and networks most of the time
_HEAD = 1 << 16
"""Bytes in which most pictures tell their size."""
_SHARDS = re.compile(r"(?P<tars>.*\.tar(\?[^#]*)?)(#(?P<ending>[^#/]*))?", re.IGNORECASE)
_COMPRESSED = re.compile(
    r".*(\.tar\.(gz|bz2|xz|zst|lz4|lzma|z)|\.tgz|\.tbz2?|\.txz)(\?[^#]*)?(#[^#/]*)?", re.IGNORECASE
)
_BRACES = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_MOST_SHARDS = 1_000_000


def names_shards(spec: str) -> bool:
    """Whether a domain is written as one of tar shards."""
    if not _SHARDS.fullmatch(spec) and not _COMPRESSED.fullmatch(spec):
        return False
    return is_remote(spec) or not Path(spec).is_dir()


def find_shards(spec: str) -> list[Shard]:
    """The shards that braces such as ``{000..099}`` or a glob stand for, in that order."""
    parts = _SHARDS.fullmatch(spec)
    if parts is None:
        raise StorageError("no picture of a compressed tar is had by itself: name .tar files")
    ending = parts["ending"]
    if ending is not None and not ending.strip("."):
        raise StorageError("after the # stands what the pictures' names end in, such as a.jpg")
    addresses = [place for each in expanded(parts["tars"]) for place in _matching(each)]
    if len(set(addresses)) < len(addresses):
        raise StorageError("names a shard twice")
    return [Shard(address, ending and ending.lstrip(".")) for address in addresses]


def expanded(text: str) -> Iterator[str]:
    """All texts that number ranges in braces stand for: ``{08..11}`` for 08, 09, 10 and 11."""
    found = _BRACES.search(text)
    if found is None:
        yield text
        return
    first, last = found.groups()
    if not int(first) <= int(last) < int(first) + _MOST_SHARDS:
        raise StorageError(f"{found.group()} must count up, as in {EXAMPLE}")
    width = len(first) if first.startswith("0") else 0
    for number in range(int(first), int(last) + 1):
        for rest in expanded(text[found.end() :]):
            yield f"{text[: found.start()]}{number:0{width}}{rest}"


def _matching(address: str) -> list[str]:
    """The files that a glob stands for; an address without one is itself."""
    if is_http(address):
        return [address]
    is_glob = any(sign in address for sign in "*?[")
    if is_remote(address):
        found = sorted(listed_files(address)) if is_glob else [address]
    else:
        path = Path(address).expanduser()
        found = _files_matching(path) if is_glob and not path.is_file() else [str(path)]
    if not found:
        raise StorageError("no such shards")
    return found


def _files_matching(pattern: Path) -> list[str]:
    matches = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
    return sorted(str(match) for match in matches if not match.name.startswith("."))


class ShardPictures:
    """Pictures in shards, in the order of the shards and of the files in them."""

    def __init__(self, indexes: Sequence[TarIndex]) -> None:
        self._indexes = indexes
        self._ends = list(accumulate(index.pictures for index in indexes))
        self._shards = {_called(index.shard): place for place, index in enumerate(indexes)}
        self.is_remote = any(is_remote(index.shard.address) for index in indexes)

    @classmethod
    def open(cls, spec: str, label: str, progress: bool) -> "ShardPictures":
        """Find the shards and their indexes; what was not indexed yet, or has changed, is now."""
        try:
            shards = find_shards(spec)
        except (OSError, ValueError, RuntimeError) as error:  # the last for a home of nobody
            raise StorageError(f"cannot be searched: {error}") from None
        pictures = cls(_indexed(shards, label, progress))
        if not len(pictures):
            ending = shards[0].ending
            endings = sorted(IMAGE_ENDINGS) if ending is None else [f".{ending}"]
            raise StorageError(f"no picture there; files count that end in {' '.join(endings)}")
        return pictures

    def __len__(self) -> int:
        """Number of pictures in all shards."""
        return self._ends[-1]

    def name(self, number: int) -> Path:
        """The shard, and the picture's number in it."""
        index, row = self._place(number)
        shard = _called(index.shard)
        return shard / f"{shard.stem}-{row:07}"

    def find(self, name: Path) -> int | None:
        """Number of the picture of this name."""
        shard = self._shards.get(name.parent)
        row = name.name.rpartition("-")[2]
        if shard is None or not row.isdecimal():
            return None
        first = self._ends[shard] - self._indexes[shard].pictures
        found = first + int(row)
        return found if found < self._ends[shard] and self.name(found) == name else None

    def size(self, number: int) -> tuple[int, int]:
        """Height and width by the picture's header."""
        index, row = self._place(number)
        offset, length = index.row(row)
        if length > _HEAD:
            with suppress(ImageError):  # such as of a TIFF, whose header may come last
                head = read_part(index.shard.address, offset, _HEAD, index.stamp)
                return read_size(self.name(number), head)
        return self._decoded(number, read_size)

    def read(self, number: int, channels: int, enough: int | None = None) -> Pixels:
        """Pixels of a picture."""
        return self._decoded(
            number, lambda path, content: read_image(path, channels, content, enough)
        )

    def contents(self) -> list[tuple[str, int]]:
        """Name, checksum of its pictures' names and places, and size of each shard."""
        return [
            (f"{_called(index.shard).name} {index.sha256}", index.stamp.size)
            for index in self._indexes
        ]

    def _place(self, number: int) -> tuple[TarIndex, int]:
        """The index that has a picture, and its row there."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard = bisect_right(self._ends, number)
        index = self._indexes[shard]
        return index, number - (self._ends[shard] - index.pictures)

    def _decoded(self, number: int, decode: Callable[[Path, bytes], Result]) -> Result:
        """What is made of a picture's file; an error has the name that the file has in the tar."""
        index, row = self._place(number)
        offset, length = index.row(row)
        content = read_part(index.shard.address, offset, length, index.stamp)
        try:
            return decode(self.name(number), content)
        except ImageError as error:
            read = partial(read_part, index.shard.address, stamp=index.stamp)
            member = name_before(read, offset)
            raise ImageError(Path(f"{error.path} ({member})"), error.reason) from None


def _called(shard: Shard) -> Path:
    """A shard's path, and what its pictures' names end in."""
    path = path_of(shard.address)
    return path if shard.ending is None else path.with_name(f"{path.name}#{shard.ending}")


def _indexed(shards: Sequence[Shard], label: str, progress: bool) -> list[TarIndex]:
    hidden = None if progress else True  # None: hidden unless on a terminal
    with ThreadPool(_THREADS) as pool:
        found = pool.map(find_index, shards)
        missing = [shard for shard, index in zip(shards, found, strict=True) if index is None]
        for folder in {place.parent for shard in missing for place in shard.index_files}:
            remove_leftovers(folder)
        building = pool.imap(build_index, missing)
        built = iter(
            tqdm(building, label, total=len(missing), delay=1, disable=hidden, leave=False)
        )
        return [index or next(built) for index in found]
