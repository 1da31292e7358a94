"""What a set of pictures is to the scores: what was found in its files, or statistics of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from accelerate import PartialState
from numpy.typing import NDArray

from cyclegan_style.data.images import ImageError
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.collect import Collected
from cyclegan_style.evaluation.frechet import Gaussian, gaussian_of_features, gaussian_of_moments
from cyclegan_style.evaluation.sliced_wasserstein import (
    Descriptors,
    descriptors_of_images,
    level_sizes,
)
from cyclegan_style.evaluation.statistics import Statistics


@dataclass(frozen=True)
class ImageSet:
    """A set of pictures, or the statistics that are left of one."""

    spec: str
    collected: Collected | None
    statistics: Statistics | None = None
    nearness: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Of translations: structure and lpips of each with the picture that it was made from."""

    @property
    def count(self) -> int | None:
        """Number of pictures, if it is known."""
        if self.collected is not None:
            return len(self.collected)
        return None if self.statistics is None else self.statistics.count

    @property
    def size(self) -> str | None:
        """Width and height in pixels, of mixed sizes the smallest and the largest."""
        if self.collected is None:
            return None
        sizes = self.collected.sizes
        ends = {f"{width}x{height}": None for width, height in (sizes.min(0), sizes.max(0))}
        return " to ".join(ends)

    @cached_property
    def descriptors(self) -> Descriptors:
        """Patches of the pyramid's levels; under accelerate every process has its share of these.

        They are six times as large as what they follow from, and a level's distance needs all.
        """
        state = PartialState()
        own = range(state.process_index, len(level_sizes()), state.num_processes)
        return descriptors_of_images(self.pictures().thumbnails, own)

    def gaussian(self) -> Gaussian:
        """The normal distribution that the features are taken for."""
        if self.statistics is not None:
            return self.statistics.gaussian()
        pictures = self.pictures()
        if pictures.moments is not None:
            return gaussian_of_moments(pictures.moments)
        return gaussian_of_features(pictures.features)

    def pictures(self) -> Collected:
        """What was found in the pictures; statistics know nothing of single ones."""
        if self.collected is None:
            raise UserError(f"{self.spec}: a file of statistics is enough for fid only")
        return self.collected


def errors_of(*sets: ImageSet) -> list[ImageError]:
    """What could not be read of these sets."""
    return [error for part in sets if part.collected for error in part.collected.errors]
