"""Decoded pictures in memory, which all workers of a process share."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch

from cyclegan_style.data.images import Pixels


class PixelCache:
    """Pictures of any sizes, end to end in one flat tensor; those of no length are not held.

    One tensor, because workers then share it: forked ones inherit its pages and never write to
    them, and for spawned ones torch moves it into shared memory. A list of arrays would be copied.
    """

    def __init__(
        self, lengths: Sequence[int], channels: int, dtype: torch.dtype = torch.uint8
    ) -> None:
        self._ends = torch.tensor(lengths, dtype=torch.int64).cumsum(0)
        self._starts = self._ends - torch.tensor(lengths, dtype=torch.int64)
        self._shapes = torch.full((len(lengths), 3), channels)
        self._store = torch.empty(sum(lengths), dtype=dtype)

    def put(self, index: int, pixels: Pixels) -> None:
        """Store a picture in the space that was reserved for it, if any was."""
        self._shapes[index] = torch.tensor(pixels.shape)
        reserved = self.get(index)
        if reserved is not None:
            np.copyto(reserved, pixels)

    def get(self, index: int) -> Pixels | None:
        """Return the picture itself, not a copy, if it is held."""
        start, end = int(self._starts[index]), int(self._ends[index])
        if start == end:
            return None
        flat: Pixels = self._store[start:end].numpy()
        return flat.reshape(self._shapes[index].tolist())

    @property
    def held(self) -> list[int]:
        """Which pictures are held."""
        return (self._ends > self._starts).nonzero().flatten().tolist()

    def keep(self, indices: Sequence[int]) -> None:
        """Renumber so that only these pictures are left."""
        self._starts, self._ends = self._starts[indices], self._ends[indices]
        self._shapes = self._shapes[indices]


def lengths_within(budget: int, lengths: Sequence[int]) -> list[int]:
    """The lengths of as many pictures as fit together, the shortest, and 0 for all others."""
    shortest = sorted(range(len(lengths)), key=lengths.__getitem__)
    sums = accumulate(lengths[place] for place in shortest)
    held = {place for place, total in zip(shortest, sums, strict=True) if total <= budget}
    return [length if place in held else 0 for place, length in enumerate(lengths)]
