"""Decoded pictures in memory, which all workers of a process share."""

from collections.abc import Sequence

import numpy as np
import torch

from cyclegan_style.data.images import Pixels


class PixelCache:
    """Pictures of any sizes, end to end in one flat tensor.

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
        """Store a picture in the space that was reserved for it."""
        self._shapes[index] = torch.tensor(pixels.shape)
        np.copyto(self.get(index), pixels)

    def get(self, index: int) -> Pixels:
        """Return the picture itself, not a copy."""
        flat: Pixels = self._store[self._starts[index] : self._ends[index]].numpy()
        return flat.reshape(self._shapes[index].tolist())

    def keep(self, indices: Sequence[int]) -> None:
        """Renumber so that only these pictures are left."""
        self._starts, self._ends = self._starts[indices], self._ends[indices]
        self._shapes = self._shapes[indices]
