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
    real: Features, fake: Features, neighbours: int = NEIGHBOURS, exact: bool = True
) -> PrecisionRecall:
    """Precision and recall of the fakes, eq. 1 and 2, with balls that reach the k-th neighbour.

    If not exact, equal points are at a distance of about 1e-7, and it takes a fraction of the time.
    """
    x, y = (torch.from_numpy(features.astype(np.float64)) for features in (real, fake))
    return PrecisionRecall(_covered(y, x, neighbours, exact), _covered(x, y, neighbours, exact))


def _covered(points: Tensor, centres: Tensor, neighbours: int, exact: bool) -> float:
    """Share of the points that lie in the ball of at least one centre."""
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    reach = torch.cat(
        [
            # A centre is its own nearest neighbour.
            torch.cdist(rows, centres, compute_mode=mode)
            .kthvalue(min(neighbours + 1, len(centres)))
            .values
            for rows in centres.split(_ROWS)
        ]
    )
    inside = [
        (torch.cdist(rows, centres, compute_mode=mode) <= reach).any(1)
        for rows in points.split(_ROWS)
    ]
    return torch.cat(inside).double().mean().item()
