"""The pictures of a domain by number, wherever they are kept."""

import os
from bisect import bisect_left
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Protocol, TypeVar, overload

from cyclegan_style.data.deep_files import picture_size, read_picture
from cyclegan_style.data.images import Pixels
from cyclegan_style.data.levels import Range

Item = TypeVar("Item", Path, int)


class Pictures(Protocol):
    """Pictures in an order that stays, each of which is read by itself, in any thread or process.

    What cannot be read is an ImageError; a store that cannot be reached is another UserError.
    """

    is_remote: bool
    """Whether each read crosses a network, so that none is made in vain."""

    def __len__(self) -> int:
        """Number of pictures, those that cannot be read included."""
        ...

    def name(self, number: int) -> Path:
        """What errors call a picture; no other has the name, and the same picture always has it."""
        ...

    def find(self, name: Path) -> int | None:
        """The number of the picture that has the name."""
        ...

    def size(self, number: int) -> tuple[int, int]:
        """Height and width of the upright picture, by what is said before its pixels."""
        ...

    def read(self, number: int, channels: int, enough: int | None = None) -> Pixels:
        """Its pixels, upright and of so many channels; a large JPEG reduced if that is enough."""
        ...

    def contents(self) -> list[tuple[str, int]]:
        """Labels and bytes, by which they are known again when they have moved.

        Of each picture, or of larger parts whose labels tell what is in them.
        """
        ...


class PictureNames(Sequence[Path]):
    """What some pictures are called, each made up when it is asked for."""

    def __init__(self, pictures: Pictures, numbers: Sequence[int]) -> None:
        self._pictures = pictures
        self._numbers = numbers

    def __len__(self) -> int:
        """How many there are."""
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> "PictureNames": ...

    def __getitem__(self, place: int | slice) -> "Path | PictureNames":
        """The name at a place, or those of a slice."""
        if isinstance(place, slice):
            return PictureNames(self._pictures, self._numbers[place])
        return self._pictures.name(self._numbers[place])

    def __contains__(self, name: object) -> bool:
        """Whether one of them is called so."""
        number = self._pictures.find(name) if isinstance(name, Path) else None
        return number is not None and place_of(number, self._numbers) is not None


class PictureFiles:
    """Pictures in files, sorted, which are called by their paths.

    With a range their pixels are levels with fractions, and otherwise 8 bits.
    """

    is_remote = False

    def __init__(self, paths: Sequence[Path], values_range: Range | None = None) -> None:
        self.paths = paths
        self.values_range = values_range

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def name(self, number: int) -> Path:
        """Path of a file."""
        return self.paths[number]

    def find(self, name: Path) -> int | None:
        """Number of the file of this path."""
        return place_of(name, self.paths)

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


def place_of(item: Item, items: Sequence[Item]) -> int | None:
    """Where an item stands among others in ascending order."""
    place = bisect_left(items, item)
    return place if place < len(items) and items[place] == item else None


def file_size(path: Path) -> int:
    """Bytes of a file; -1 of none."""
    try:
        return path.stat().st_size
    except OSError:  # a link to nothing
        return -1
