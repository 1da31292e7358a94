"""Domains of pictures: checked, brought to size, and kept in memory as far as they fit."""

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
from cyclegan_style.data.images import ImageError, Pixels, resize, to_tensor
from cyclegan_style.data.levels import Range
from cyclegan_style.data.listing import DomainError
from cyclegan_style.data.pictures import PictureNames, Pictures
from cyclegan_style.data.pixel_cache import PixelCache, lengths_within
from cyclegan_style.data.shapes import covering, nearest_shape
from cyclegan_style.system.processes import say

ResizeMode = Literal["square", "shortest", "none"]
Argument = TypeVar("Argument")
Result = TypeVar("Result")

FULLY_CHECKED = 20_000
"""A domain too large for memory is decoded once to check it if it has no more pictures than this;
beyond that, which would take hours, only the headers are read of those that are not kept."""

MOST_OPENED = 1_000_000
"""Of more pictures than this, or of those in a store, only some are looked at before training."""

LOOKED_AT = 256

_MOST_REMEMBERED = 1 << 20
_THREADS = min(8, max(2, os.cpu_count() or 2))

logger = logging.getLogger(__name__)


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
        self._readable: Sequence[int] = range(len(pictures))
        self.channels = channels
        self.resize = resize
        self.sizes = tuple(sizes)
        self._enough = 2 * max(map(max, sizes)) if fast_jpeg else None
        self._stored: dict[int, Size] = {}
        self._cache: PixelCache | None = None
        self._skipped = 0
        self._went_bad = _none_of(len(pictures))

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
        if found.is_remote or len(found) > MOST_OPENED:
            return self._looked_at(min_readable, progress)
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
    def paths(self) -> Sequence[Path]:
        """What the readable pictures are called."""
        return PictureNames(self.pictures, self._readable)

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
            place = index % len(self._went_bad)
            if not self._went_bad[place]:
                logger.warning("%s: using another image for %s", self.field, error)
                self._went_bad[place] = True
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
        number = self.pictures.find(name)
        if number is None:
            raise KeyError(name)
        return self._fitted(number)

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
        self._went_bad = _none_of(len(self))

    def _looked_at(self, min_readable: float, progress: bool) -> "ImageDomain":
        """Decode a few pictures, spread over all, which tell whether the domain is usable at all.

        The unreadable are left in, as are others that nobody has met.
        """
        if len(self.sizes) > 1:
            reason = "the shapes of so many pictures, or of those in a store, are not looked at"
            raise DomainError.about(self.field, self.spec, f"{reason}; data.buckets must be false")
        count = min(LOOKED_AT, len(self))
        places = [number * len(self) // count for number in range(count)]
        label = f"{self.field}: checking {count} of {len(self):,} images"
        outcomes = _try_each(self._fitted, places, label, progress)
        errors = [outcome for outcome in outcomes if isinstance(outcome, ImageError)]
        if progress:
            say(
                f"{self.field}: {count} of {len(self):,} images were looked at; training uses"
                " another image for each that it cannot read"
            )
        self._account_for(errors, count, min_readable)
        self._skipped = 0
        return self

    def _account_for(self, errors: list[ImageError], looked_at: int, min_readable: float) -> None:
        self._skipped = len(errors)
        if errors:
            told = (self.field, len(errors), looked_at, "".join(f"\n  {error}" for error in errors))
            logger.warning("%s: skipping %d of %d images:%s", *told)
        readable = looked_at - len(errors)
        if not readable or readable < min_readable * looked_at:
            reason = f"only {readable} of {looked_at} images are readable (such as {errors[0]})"
            advice = f"mend or remove the others, or lower data.min_readable ({min_readable:g})"
            raise DomainError.about(self.field, self.spec, f"{reason}; {advice}")


def _none_of(count: int) -> torch.Tensor:
    """A note for each picture, for several of very many, that it did not go bad.

    In shared memory, so that the warnings and the count are one for all workers.
    """
    notes = torch.zeros(min(count, _MOST_REMEMBERED), dtype=torch.bool)
    notes.share_memory_()
    return notes


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
