"""The few shapes in which pictures of any shape are trained on, each batch in one of them.

With ``data.buckets`` a picture belongs to the shape that is nearest to its own. All have about the
area of a square of ``data.crop_size``, so that a step costs about the same in each.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cyclegan_style.config import DataConfig, Size

ASPECTS = tuple((4 / 3) ** power for power in range(-3, 4))
"""Width over height: the square, 4:3, 16:9, 64:27 and the same upright. A picture between two of
them loses a seventh of a side at most."""


class Bucket(NamedTuple):
    """Pictures of like shape."""

    size: Size
    """To which they are resized."""
    members: tuple[NDArray[np.int64], ...]
    """Which they are, of each domain."""


def crop_sizes(data: DataConfig, divisor: int) -> tuple[Size, ...]:
    """Sizes of the samples: that of the configuration, or of every shape that there may be."""
    if not data.buckets:
        return (data.crop,)
    side = data.crop[0]

    def fitting(length: float) -> int:
        return max(1, (round(length) + divisor // 2) // divisor) * divisor

    roots = [math.sqrt(aspect) for aspect in ASPECTS]
    return tuple(dict.fromkeys((fitting(side / root), fitting(side * root)) for root in roots))


def load_sizes(data: DataConfig, divisor: int) -> dict[Size, Size]:
    """To which size a picture is resized before the crop of each size is cut, by the former."""
    if not data.buckets:
        return {data.load: data.crop}
    load, crop = data.load[0], data.crop[0]
    return {
        (-(-height * load // crop), -(-width * load // crop)): (height, width)
        for height, width in crop_sizes(data, divisor)
    }


def nearest_shape(size: Size, among: Iterable[Size]) -> Size:
    """That of several sizes whose sides stand in the most similar proportion."""

    def distance(other: Size) -> float:
        return abs(math.log(size[1] * other[0] / (size[0] * other[1])))

    return min(among, key=distance)


def buckets_of(domains: Sequence[Sequence[Size]]) -> list[Bucket]:
    """Pictures by shape, of domains that are given as the shape of each of their pictures.

    There is a bucket for every shape of the first domain. Where the second has no picture of it,
    it takes part with those of the nearest that it has.
    """
    numbers = [
        {size: np.flatnonzero([each == size for each in shapes]) for size in sorted(set(shapes))}
        for shapes in domains
    ]
    return [
        Bucket(size, tuple(known[nearest_shape(size, known)] for known in numbers))
        for size in numbers[0]
    ]


def covering(size: Size, height: int, width: int) -> Size:
    """The least size of the same shape that is nowhere smaller than this one."""
    # Rounded down, as torchvision's Resize does.
    if size[0] * width >= size[1] * height:
        return size[0], int(size[0] * width / height)
    return int(size[1] * height / width), size[1]
