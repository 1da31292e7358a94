"""How much of one set of features lies in the reach of the other (Kynkäänniemi et al. 2019)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 3
_ROWS = 2048

Features = NDArray[np.floating]


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares between 0 and 1."""

    precision: float
    """Fakes that are as near to a real image as that one's neighbours are."""
    recall: float
    """Real images that are as near to a fake as that one's neighbours are."""


def precision_recall(
    real: Features, fake: Features, neighbours: int = NEIGHBOURS
) -> PrecisionRecall:
    """Precision and recall of the fakes, eq. 1 and 2, with balls that reach the k-th neighbour."""
    x, y = (torch.from_numpy(features.astype(np.float64)) for features in (real, fake))
    return PrecisionRecall(_covered(y, x, neighbours), _covered(x, y, neighbours))


def _covered(points: Tensor, centres: Tensor, neighbours: int) -> float:
    """Share of the points that lie in the ball of at least one centre."""
    reach = torch.cat(
        [
            # A centre is its own nearest neighbour.
            _distances(rows, centres).kthvalue(min(neighbours + 1, len(centres))).values
            for rows in centres.split(_ROWS)
        ]
    )
    inside = [(_distances(rows, centres) <= reach).any(1) for rows in points.split(_ROWS)]
    return torch.cat(inside).double().mean().item()


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # By differences, not by products, which leave a distance of 1e-7 between equal points.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
