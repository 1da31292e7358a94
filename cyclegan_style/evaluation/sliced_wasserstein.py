"""Sliced Wasserstein distance between patches of Laplacian pyramids (Karras et al. 2018, sec. 5).

It needs no trained network. Each level of the pyramid tells about details of one size.
"""

import zlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor

from cyclegan_style.data.images import EightBits, Pixels, eight_bits, resize

SIZE = 128
"""Side in pixels to which every image is brought, which is the finest level."""
COARSEST = 16
PATCH = 7
PATCHES = 128
"""Patches of each image and level."""
PROJECTIONS = 512

Thumbnails = NDArray[np.uint8]
"""Images × 128 × 128 × channels."""
Descriptors = dict[int, NDArray[np.float32]]
"""By the level, 0 being the finest: images × patches × (channels · 7 · 7)."""


def level_sizes(size: int = SIZE) -> list[int]:
    """Sides of the pyramid's levels, finest first."""
    return [size >> level for level in range(size.bit_length()) if size >> level >= COARSEST]


def thumbnail(pixels: Pixels) -> EightBits:
    """All that is looked at of an image; its descriptors are six times as large."""
    fits = pixels.shape[:2] == (SIZE, SIZE)
    return eight_bits(pixels if fits else resize(pixels, (SIZE, SIZE)))


def descriptors_of_images(thumbnails: Thumbnails, levels: Collection[int]) -> Descriptors:
    """Random patches of these levels of every image's pyramid."""
    shape = (len(thumbnails), PATCHES, 3 * PATCH * PATCH)
    descriptors = {level: np.empty(shape, np.float32) for level in levels}

    def describe(index: int) -> None:
        patches = descriptors_of_image(thumbnails[index])
        for level, all_images in descriptors.items():
            all_images[index] = patches[level]

    with ThreadPoolExecutor() as pool:
        list(pool.map(describe, range(len(thumbnails)) if descriptors else ()))
    return descriptors


def descriptors_of_image(pixels: Pixels) -> NDArray[np.float32]:
    """Random patches of every level of a thumbnail's pyramid: levels × patches × values.

    Their places follow from the pixels, so neither order nor number of processes changes them.
    """
    chance = np.random.default_rng(zlib.crc32(np.ascontiguousarray(pixels).tobytes()))
    image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
    return np.stack([_patches(level, PATCHES, chance) for level in laplacian_pyramid(image)])


def laplacian_pyramid(image: Tensor, size: int = SIZE) -> list[Tensor]:
    """Differences between successive blurred halvings of a C×H×W image, and the last of these."""
    levels = []
    for _ in level_sizes(size)[1:]:
        smaller = _blur(image)[:, ::2, ::2]
        levels.append(image - _enlarge(smaller))
        image = smaller
    return [*levels, image]


def sliced_wasserstein(
    first: Descriptors, second: Descriptors, projections: int = PROJECTIONS
) -> float:
    """Mean over levels of the distance × 1000, as it is usually given.

    Every process compares the levels that it has, and all get the mean of all of them.
    """
    own = [
        (
            level,
            _distance(_normalised(first[level]), _normalised(second[level]), level, projections),
        )
        for level in first
    ]
    distances: list[tuple[int, float]] = gather_object(own)
    return 1e3 * float(np.mean([distance for _, distance in sorted(distances)]))


def part_of(descriptors: Descriptors, kept: NDArray[np.intp]) -> Descriptors:
    """Those of some of the images."""
    return {level: all_images[kept] for level, all_images in descriptors.items()}


def _distance(x: Tensor, y: Tensor, seed: int, projections: int) -> float:
    """Mean distance of the sorted projections on random directions."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(x.shape[1], projections, generator=generator)
    total = 0.0
    for part in F.normalize(directions, dim=0).split(64, dim=1):  # bounds the memory
        on_x, on_y = (_sorted(values, part) for values in (x, y))
        count = max(on_x.shape[1], on_y.shape[1])
        difference = np.abs(_quantiles(on_x, count) - _quantiles(on_y, count))
        total += difference.mean(1, dtype=np.float64).sum()
    return total / projections


def _sorted(values: Tensor, directions: Tensor) -> NDArray[np.float32]:
    """Projections on each direction as a row, sorted: by numpy in a tenth of torch's time."""
    projected: NDArray[np.float32] = (directions.T @ values.T).numpy()
    projected.sort(axis=1)
    return projected


def _quantiles(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The sorted rows' quantile function in the middle of each of ``count`` equal steps."""
    length = rows.shape[1]
    places = ((np.arange(count) + 0.5) * (length / count)).astype(np.intp)
    return rows if length == count else rows[:, places]


def _normalised(descriptors: NDArray[np.float32]) -> Tensor:
    """Patches of all images as rows, every colour channel with mean 0 and deviation 1."""
    values = torch.from_numpy(np.ascontiguousarray(descriptors))
    values = values.reshape(-1, 3, PATCH * PATCH).double()
    values = values - values.mean((0, 2), keepdim=True)
    deviation = values.std((0, 2), keepdim=True, correction=0)
    # A channel without variation stays 0.
    values = values / torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    return values.reshape(len(values), -1).float()


def _patches(level: Tensor, count: int, chance: np.random.Generator) -> NDArray[np.float32]:
    places = level.unfold(1, PATCH, 1).unfold(2, PATCH, 1)  # channels × y × x × 7 × 7
    y, x = (torch.from_numpy(chance.integers(0, n, count)) for n in places.shape[1:3])
    patches: NDArray[np.float32] = places[:, y, x].transpose(0, 1).reshape(count, -1).numpy()
    return patches


_TAPS = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def _blur(image: Tensor) -> Tensor:
    padded = F.pad(image[:, None], (2, 2, 2, 2), mode="reflect")
    rows = F.conv2d(padded, _TAPS.view(1, 1, 1, 5))
    return F.conv2d(rows, _TAPS.view(1, 1, 5, 1))[:, 0]


def _enlarge(image: Tensor) -> Tensor:
    spread = image.new_zeros(image.shape[0], 2 * image.shape[1], 2 * image.shape[2])
    spread[:, ::2, ::2] = image
    return _blur(spread) * 4
