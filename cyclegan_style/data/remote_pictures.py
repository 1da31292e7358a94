"""Pictures that lie as files in a store, such as s3://bucket/folder."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from cyclegan_style.data.images import IMAGE_ENDINGS, ImageError, Pixels, read_image, read_size
from cyclegan_style.data.pictures import place_of
from cyclegan_style.data.storage import (
    AbsentError,
    Stamp,
    StorageError,
    is_http,
    listed_files,
    path_of,
    read_part,
)


class RemotePictures:
    """Files of a store, sorted, each of which is read whole whenever it is needed."""

    is_remote = True

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._addresses = sorted(sizes, key=path_of)
        self._names = [path_of(address) for address in self._addresses]
        self._sizes = [sizes[address] for address in self._addresses]

    @classmethod
    def open(cls, spec: str) -> "RemotePictures":
        """List a folder and all below it, or what a glob matches, once in a process."""
        if is_http(spec):
            raise StorageError("web servers list no files: name tar shards, https://host/x.tar")
        return _opened(spec)

    def __len__(self) -> int:
        """Number of files."""
        return len(self._addresses)

    def name(self, number: int) -> Path:
        """Path of a file in its store."""
        return self._names[number]

    def find(self, name: Path) -> int | None:
        """Number of the file of this path."""
        return place_of(name, self._names)

    def size(self, number: int) -> tuple[int, int]:
        """Height and width by the file's header."""
        return read_size(self.name(number), self._content(number))

    def read(self, number: int, channels: int, enough: int | None = None) -> Pixels:
        """Pixels of a file."""
        return read_image(self.name(number), channels, self._content(number), enough)

    def contents(self) -> list[tuple[str, int]]:
        """Name below the deepest folder that holds all of them, and size, of each file."""
        folder = os.path.commonpath([self._names[0].parent, self._names[-1].parent])  # sorted
        names = [path.relative_to(folder).as_posix() for path in self._names]
        return list(zip(names, self._sizes, strict=True))

    def _content(self, number: int) -> bytes:
        size = self._sizes[number]
        try:
            return read_part(self._addresses[number], 0, size, Stamp(size, ""))
        except AbsentError:
            raise ImageError(self.name(number), "no such file any more") from None


@lru_cache(maxsize=8)
def _opened(spec: str) -> RemotePictures:
    root = path_of(spec)
    found = {
        address: size for address, size in listed_files(spec).items() if _is_picture(address, root)
    }
    if not found:
        known = " ".join(sorted(IMAGE_ENDINGS))
        raise StorageError(f"no image there; files count that end in {known}, shards in .tar")
    return RemotePictures(found)


def _is_picture(address: str, root: Path) -> bool:
    """Whether a file counts, as in a folder of this machine: no hidden one."""
    path = path_of(address)
    hidden = any(part.startswith(".") for part in set(path.parts) - set(root.parts))
    return path.suffix.lower() in IMAGE_ENDINGS and not hidden
