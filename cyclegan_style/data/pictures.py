"""The pictures of a domain by number, wherever they are kept."""

import os
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Protocol

from cyclegan_style.data.deep_files import picture_size, read_picture
from cyclegan_style.data.images import Pixels
from cyclegan_style.data.levels import Range


class Pictures(Protocol):
    """Pictures in an order that stays, each of which is read by itself, in any thread or process.

    What cannot be read is an ImageError.
    """

    def __len__(self) -> int:
        """Number of pictures, those that cannot be read included."""
        ...

    def name(self, number: int) -> Path:
        """What errors call a picture; no other has the name, and the same picture always has it."""
        ...

    def size(self, number: int) -> tuple[int, int]:
        """Height and width of the upright picture, by what is said before its pixels."""
        ...

    def read(self, number: int, channels: int, enough: int | None = None) -> Pixels:
        """Its pixels, upright and of so many channels; a large JPEG reduced if that is enough."""
        ...

    def contents(self) -> list[tuple[str, int]]:
        """A label and the bytes of each, by which they are known again when they have moved."""
        ...


class PictureFiles:
    """Pictures in files, which are called by their paths.

    With a range their pixels are levels with fractions, and otherwise 8 bits.
    """

    def __init__(self, paths: Sequence[Path], values_range: Range | None = None) -> None:
        self.paths = paths
        self.values_range = values_range

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def name(self, number: int) -> Path:
        """Path of a file."""
        return self.paths[number]

    def size(self, number: int) -> tuple[int, int]:
        """Height and width by the file's header."""
        return picture_size(self.paths[number])

    def read(self, number: int, channels: int, enough: int | None = None) -> Pixels:
        """Pixels of a file."""
        return read_picture(self.paths[number], channels, self.values_range, enough)

    def contents(self) -> list[tuple[str, int]]:
        """Name below the deepest folder that holds all of them, and size, of each file."""
        folder = os.path.commonpath([self.paths[0].parent, self.paths[-1].parent])  # sorted
        with ThreadPool(8) as pool:  # disks on the network take their time
            sizes = pool.map(file_size, self.paths, chunksize=64)
        names = [path.relative_to(folder).as_posix() for path in self.paths]
        return list(zip(names, sizes, strict=True))


def file_size(path: Path) -> int:
    """Bytes of a file; -1 of none."""
    try:
        return path.stat().st_size
    except OSError:  # a link to nothing
        return -1
