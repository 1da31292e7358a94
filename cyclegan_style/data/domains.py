"""Domains of pictures: found, checked, and kept in memory as far as they fit."""

import logging
import os
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from math import prod
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal, TypeVar

import torch
from tqdm import tqdm

from cyclegan_style.config import Size
from cyclegan_style.data.deep_files import ARRAY_ENDING
from cyclegan_style.data.hub_pictures import SCHEME, HubError, HubPictures
from cyclegan_style.data.images import (
    IMAGE_ENDINGS,
    ImageError,
    Pixels,
    resize,
    to_tensor,
)
from cyclegan_style.data.levels import Range
from cyclegan_style.data.pictures import PictureFiles, Pictures
from cyclegan_style.data.pixel_cache import PixelCache, lengths_within
from cyclegan_style.data.shapes import covering, nearest_shape
from cyclegan_style.errors import UserError, printable
from cyclegan_style.synthetic import DEMO_SPECS, demo_folder

Split = Literal["train", "test"]
ResizeMode = Literal["square", "shortest", "none"]
Argument = TypeVar("Argument")
Result = TypeVar("Result")

FULLY_CHECKED = 20_000
"""A domain too large for memory is decoded once to check it if it has no more pictures than this;
beyond that, which would take hours, only the headers are read of those that are not kept."""

LIST_ENDING = ".txt"

_SHOWN_OF_A_LINE = 200
_REFERENCE_FOLDERS = {"a": "trainA", "b": "trainB", "test_a": "testA", "test_b": "testB"}
_THREADS = min(8, max(2, os.cpu_count() or 2))

logger = logging.getLogger(__name__)


class DomainError(UserError):
    """A domain that cannot be used; names the option, what it was set to and what to do."""

    @classmethod
    def about(cls, field: str, spec: str | Path, reason: str) -> "DomainError":
        """An error about what ``field`` was set to; workers need a constructor of one text."""
        return cls(printable(f"{field}: {spec}: {reason}"))


def list_images(
    spec: str,
    split: Split = "train",
    field: str = "data.a",
    progress: bool = True,
    endings: frozenset[str] = IMAGE_ENDINGS,
    *,
    closed_folders: bool = False,
) -> list[Path]:
    """Files of a domain, sorted: a folder searched recursively, a glob, a list, a file or a demo.

    A list is a text file that ends in .txt, of one path a line, relative to the list's folder.
    ``split`` chooses a part of a demo such as ``demo:photo``, whose pictures are made on first use,
    with a progress bar if wanted; ``field`` is the option that errors name; ``endings`` are
    those of the files that count, where there are none .npy. A folder inside that may not be
    entered is an error, or, with ``closed_folders``, listed in place of its files.
    """
    try:
        images = _find_images(spec, split, field, progress, endings, closed_folders)
        if not images:
            arrays = frozenset({ARRAY_ENDING})
            images = _find_images(spec, split, field, progress, arrays, closed_folders)
    except (OSError, ValueError, RuntimeError) as error:  # the last for a home of nobody
        reason = getattr(error, "strerror", None) or str(error)
        raise DomainError.about(field, spec, f"cannot be searched: {reason}") from error
    if not images:
        known = " ".join(sorted(endings))
        raise DomainError.about(field, spec, f"no image there; files count that end in {known}")
    return images


def open_pictures(
    spec: str,
    split: Split = "train",
    field: str = "data.a",
    progress: bool = True,
    values_range: Range | None = None,
) -> Pictures:
    """A domain's pictures by number: of a data set as ``hf://datasets/user/name``, or in files.

    Those in files may have values of a range, for more than 8 bits.
    """
    if not spec.startswith(SCHEME):
        return PictureFiles(list_images(spec, split, field, progress), values_range)
    if values_range is not None:
        raise DomainError.about(field, spec, "data.range is for pictures in files")
    try:
        return HubPictures.open(spec)
    except HubError as error:
        raise DomainError.about(field, spec, str(error)) from None


def reference_layout(root: str | Path) -> dict[str, Path]:
    """Domains of a folder laid out for the reference: a, b and, where present, test_a, test_b."""
    root = Path(root).expanduser()
    folders = {name: root / folder for name, folder in _REFERENCE_FOLDERS.items()}
    missing = [folders[name].name for name in ("a", "b") if not folders[name].is_dir()]
    if missing:
        reason = f"no folder {' and no folder '.join(missing)} in it"
        if not root.is_dir():
            reason = "no such folder"
        raise DomainError.about("data.root", root, f"{reason}; it must hold trainA and trainB")
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def _find_images(
    spec: str,
    split: Split,
    field: str,
    progress: bool,
    endings: frozenset[str],
    closed_folders: bool,
) -> list[Path]:
    if spec.startswith("demo:"):
        if spec not in DEMO_SPECS:
            raise DomainError.about(field, spec, f"there are {', '.join(DEMO_SPECS)}")
        return _images_below(demo_folder(DEMO_SPECS[spec], split, progress=progress), endings)
    if spec.startswith(SCHEME):
        raise DomainError.about(field, spec, "a data set for training; name files or a folder here")
    path = Path(spec).expanduser()
    if spec and path.is_dir():
        return _images_below(path, endings, closed_folders)
    if is_list(spec):
        return _images_listed(path, spec, field)
    if path.is_file() or path.is_symlink():  # a link to nothing fails when it is read
        return [path]
    if any(sign in spec for sign in "*?["):
        return _images_matching(path, endings)
    raise DomainError.about(field, spec, "no such file or folder")


def is_list(spec: str) -> bool:
    """Whether a domain is named by a list of its files."""
    path = Path(spec).expanduser()
    return path.suffix.lower() == LIST_ENDING and path.is_file()


def _images_listed(path: Path, spec: str, field: str) -> list[Path]:
    """The files that a list names, each once and by its absolute path, whatever their endings."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    images: set[Path] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        image = Path(os.path.normpath(path.parent.absolute() / line.removesuffix("\r")))
        if reason := _why_no_file(image):
            shown = line.strip() if len(line) <= _SHOWN_OF_A_LINE else f"{line[:_SHOWN_OF_A_LINE]}…"
            raise DomainError.about(field, spec, f"line {number}: {shown}: {reason}")
        images.add(image)
    return sorted(images)


def _why_no_file(path: Path) -> str:
    """What is wrong with a path that a list names, nothing if it is a file."""
    try:
        if path.is_file():
            return ""
        return "is a folder" if path.is_dir() else "no such file"
    except OSError:  # such as a name too long
        return "no such file"


def _images_below(
    folder: Path, endings: frozenset[str], closed_folders: bool = False
) -> list[Path]:
    """Images in a folder and all below it; links are followed, hidden names skipped."""
    images: list[Path] = []

    def refuse(error: OSError) -> None:  # os.walk would otherwise pass over the folder in silence
        if not closed_folders or Path(error.filename) == folder:
            raise error
        images.append(Path(error.filename))

    entered = set()
    for name, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(name).stat()
        if (status.st_dev, status.st_ino) in entered:  # a link back up, or a second way here
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        shown = sorted(inner for inner in folders if not inner.startswith("."))
        # Links last, so that a folder is known by its own name.
        linked = [inner for inner in shown if Path(name, inner).is_symlink()]
        folders[:] = [inner for inner in shown if inner not in linked] + linked
        images += [Path(name, file) for file in files if _is_image(Path(file), endings)]
    return sorted(images)


def _images_matching(pattern: Path, endings: frozenset[str]) -> list[Path]:
    matches = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
    return sorted(
        path
        for path in matches
        if _is_image(path, endings)
        and not path.is_dir()
        and not any(part.startswith(".") for part in set(path.parts) - set(pattern.parts))
    )


def _is_image(path: Path, endings: frozenset[str]) -> bool:
    return path.suffix.lower() in endings and not path.name.startswith(".")


class ImageDomain:
    """The readable pictures of one domain, brought to size as far as chance has no part in it.

    ``resize`` is square (to exactly a size), shortest (enlarged or reduced until it just covers
    it) or none. Of several ``sizes`` a picture is brought to that of the nearest shape. Training
    crops from pictures at ``load_size``; tests show them at ``crop_size``, as the reference does.
    With ``fast_jpeg`` large JPEGs are decoded at reduced size, but at least twice every size.
    """

    def __init__(
        self,
        spec: str,
        field: str,
        pictures: Pictures,
        channels: int,
        resize: ResizeMode,
        sizes: Sequence[Size],
        fast_jpeg: bool = False,
    ) -> None:
        self.spec = spec
        self.field = field
        self.pictures = pictures
        """All that were found, the unreadable included."""
        self._readable = list(range(len(pictures)))
        self.channels = channels
        self.resize = resize
        self.sizes = tuple(sizes)
        self._enough = 2 * max(map(max, sizes)) if fast_jpeg else None
        self._stored: dict[int, Size] = {}
        self._cache: PixelCache | None = None
        self._skipped = 0
        self._went_bad = torch.zeros(len(pictures), dtype=torch.bool)

    def checked(
        self,
        min_readable: float,
        memory_budget: int,
        progress: bool,
        values_range: Range | None = None,
    ) -> "ImageDomain":
        """Leave out the unreadable and keep as many others in memory as fit into the budget.

        The rest is decoded on access. Less than the share ``min_readable`` of readable files, or
        none, is a DomainError.
        """
        found = self.pictures
        label = f"{self.field}: finding images"
        headers = _try_each(found.size, range(len(found)), label, progress)
        stored = {
            number: header
            for number, header in enumerate(headers)
            if not isinstance(header, ImageError)
        }
        errors = [header for header in headers if isinstance(header, ImageError)]
        self._readable = list(stored)
        self._stored = stored if len(self.sizes) > 1 else {}
        lengths = [self.channels * prod(self._fitted_size(*size)) for size in stored.values()]
        dtype = torch.uint8 if values_range is None else torch.float32
        kept = lengths_within(memory_budget // dtype.itemsize, lengths)
        self._cache = PixelCache(kept, self.channels, dtype)
        decoded = range(len(self)) if len(stored) <= FULLY_CHECKED else self._cache.held
        errors += self._keep_readable(decoded, progress)
        self._account_for(errors, len(found), min_readable)
        return self

    def __len__(self) -> int:
        """Number of readable pictures."""
        return len(self._readable)

    @property
    def paths(self) -> list[Path]:
        """What the readable pictures are called."""
        return [self.pictures.name(number) for number in self._readable]

    def like(self, pictures: Pictures) -> "ImageDomain":
        """Other pictures, brought to size as these."""
        return ImageDomain(self.spec, self.field, pictures, self.channels, self.resize, self.sizes)

    @cached_property
    def shapes(self) -> list[Size]:
        """Which of the sizes each readable picture is brought to."""
        if len(self.sizes) == 1:
            return [self.sizes[0]] * len(self)
        return [nearest_shape(self._stored[number], self.sizes) for number in self._readable]

    @property
    def held_count(self) -> int:
        """How many pictures are held decoded."""
        return 0 if self._cache is None else len(self._cache.held)

    @property
    def unreadable_count(self) -> int:
        """Files that could not be read, when the domain was opened or since, in any worker."""
        return self._skipped + int(self._went_bad.sum())

    def pixels(self, index: int) -> Pixels:
        """Return the resized picture; if its file went bad, that of the next file that is readable.

        What comes from memory is not a copy: leave it as it is.
        """
        for offset in range(len(self)):
            pixels = self.pixels_if_readable((index + offset) % len(self))
            if pixels is not None:
                return pixels
        raise DomainError.about(self.field, self.spec, "none of its images can be read any more")

    def pixels_if_readable(self, index: int) -> Pixels | None:
        """Return the resized picture, if its file did not go bad, of which it warns once."""
        held = None if self._cache is None else self._cache.get(index)
        if held is not None:
            return held
        try:
            return self._fitted(self._readable[index])
        except ImageError as error:
            if not self._went_bad[index]:
                logger.warning("%s: using another image for %s", self.field, error)
                self._went_bad[index] = True
            return None

    @property
    def numbers(self) -> list[int]:
        """Of the readable among all pictures."""
        return list(self._readable)

    def keep(self, numbers: Collection[int]) -> None:
        """Leave out all other pictures."""
        self._keep_at([i for i, number in enumerate(self._readable) if number in numbers])

    def test_tensor(self, index: int, divisor: int) -> torch.Tensor:
        """Return the resized picture, its centre cut to sides divisible by ``divisor``, as tensor.

        Nothing is cut from a picture of divisible sides. One with a side shorter than ``divisor``
        is enlarged first.
        """
        pixels = enlarged(self.pixels(index), (divisor, divisor))
        top, left = (side % divisor // 2 for side in pixels.shape[:2])
        height, width = (side - side % divisor for side in pixels.shape[:2])
        return to_tensor(pixels[top : top + height, left : left + width])

    def read(self, name: Path) -> Pixels:
        """Decode the picture of this name and resize it."""
        return self._fitted(self._numbers[name])

    @cached_property
    def _numbers(self) -> dict[Path, int]:
        return {self.pictures.name(number): number for number in range(len(self.pictures))}

    def _fitted(self, number: int) -> Pixels:
        pixels = self.pictures.read(number, self.channels, self._enough)
        height, width = pixels.shape[:2]
        size = self._fitted_size(height, width)
        return pixels if size == (height, width) else resize(pixels, size)

    def _fitted_size(self, height: int, width: int) -> Size:
        if self.resize == "none":
            return height, width
        size = nearest_shape((height, width), self.sizes)
        return size if self.resize == "square" else covering(size, height, width)

    def _decode_into_cache(self, index: int) -> None:
        number = self._readable[index]
        pixels = self._fitted(number)
        assert self._cache is not None
        try:
            self._cache.put(index, pixels)
        except ValueError as error:
            reason = "larger or smaller than its header said"
            raise ImageError(self.pictures.name(number), reason) from error

    def _keep_readable(self, indices: Sequence[int], progress: bool) -> list[ImageError]:
        """Decode these pictures, where there is room for them into memory; drop those that fail."""
        label = f"{self.field}: {'loading' if self.held_count else 'checking'} images"
        outcomes = _try_each(self._decode_into_cache, indices, label, progress)
        failed = {
            index: outcome
            for index, outcome in zip(indices, outcomes, strict=True)
            if outcome is not None
        }
        self._keep_at([index for index in range(len(self)) if index not in failed])
        return list(failed.values())

    def _keep_at(self, indices: Sequence[int]) -> None:
        self._readable = [self._readable[index] for index in indices]
        if self._cache is not None:
            self._cache.keep(indices)
        # In shared memory, so that the warnings and the count are one for all workers.
        self._went_bad = torch.zeros(len(self), dtype=torch.bool).share_memory_()

    def _account_for(self, errors: list[ImageError], found: int, min_readable: float) -> None:
        self._skipped = len(errors)
        if errors:
            lines = "".join(f"\n  {error}" for error in errors)
            logger.warning("%s: skipping %d of %d images:%s", self.field, len(errors), found, lines)
        if not len(self) or len(self) < min_readable * found:
            reason = f"only {len(self)} of {found} images are readable (such as {errors[0]})"
            advice = f"mend or remove the others, or lower data.min_readable ({min_readable:g})"
            raise DomainError.about(self.field, self.spec, f"{reason}; {advice}")


def _try_each(
    function: Callable[[Argument], Result],
    arguments: Sequence[Argument],
    label: str,
    progress: bool,
) -> list[Result | ImageError]:
    """Result or ImageError for each argument, by threads: Pillow decodes without Python's lock."""

    def attempt(argument: Argument) -> Result | ImageError:
        try:
            return function(argument)
        except ImageError as error:
            return error

    hidden = None if progress else True  # None: hidden unless on a terminal
    with ThreadPool(_THREADS) as pool:
        outcomes = pool.imap(attempt, arguments, chunksize=4)
        return list(
            tqdm(outcomes, label, total=len(arguments), delay=1, disable=hidden, leave=False)
        )


def enlarged(pixels: Pixels, least: Size) -> Pixels:
    """Enlarge a picture that is lower or narrower than ``least`` until it covers it (bicubic)."""
    height, width = pixels.shape[:2]
    if height >= least[0] and width >= least[1]:
        return pixels
    return resize(pixels, covering(least, height, width))
