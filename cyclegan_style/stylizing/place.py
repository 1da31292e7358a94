"""Where a network's grid lies over a picture that is mirrored beyond its borders."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 8
"""Mirrored pixels around the picture, so that its border is seen like the rest of it."""
GRID = 8
"""Pixels between neighbours in the deeper layers, at whose period they would leave a pattern."""


@dataclass(frozen=True)
class Place:
    """One of the places that differ, as offsets in pixels."""

    top: int
    left: int

    @classmethod
    def anywhere(cls, chance: torch.Generator) -> "Place":
        """A place at random."""
        top, left = torch.randint(GRID, (2,), generator=chance).tolist()
        return cls(top, left)

    def around(self, picture: Tensor) -> Tensor:
        """The picture with its mirrored surroundings."""
        sides = (self.left, GRID - self.left, self.top, GRID - self.top)
        return F.pad(picture, [MARGIN + side for side in sides], mode="reflect")

    def inside(self, activations: Tensor, size: Sequence[int]) -> Tensor:
        """The part of a layer's activations that lies over the picture, of this height and width.

        The surroundings are looked at, but do not count: twice seen, borders would be painted more
        strongly than the rest.
        """
        (top, bottom), (left, right) = (
            span(MARGIN + offset, side, side + 2 * MARGIN + GRID, length)
            for offset, side, length in zip(
                (self.top, self.left), size, activations.shape[2:], strict=True
            )
        )
        return activations[:, :, top:bottom, left:right]


def span(begin: int, side: int, surrounded: int, length: int) -> tuple[int, int]:
    """First and last place of a layer of some length over a side that begins at a pixel."""
    scale = length / surrounded
    first = min(round(begin * scale), length - 1)
    return first, max(first + 1, round((begin + side) * scale))
