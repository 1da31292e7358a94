"""Kernel distance between sets of features: the unbiased MMD² of Bińkowski et al. 2018.

The kernel is (xᵀy / d + 1)³.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]

_ROWS = 2048
SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020
"""torch-fidelity's; clean-fid draws from NumPy's global generator, which nobody seeds."""


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over subsets."""

    mean: float
    deviation: float


def kernel_distance(
    first: Features,
    second: Features,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = SEED,
) -> KernelDistance:
    """Mean over random subsets of both sets, drawn as torch-fidelity does: first, then second.

    clean-fid draws alike, with its second folder first.
    """
    size = min(subset_size, len(first), len(second))
    # The old generator: its draws are part of the definition.
    chance = np.random.RandomState(seed)
    first, second = first.astype(np.float64), second.astype(np.float64)
    distances = np.zeros(subsets)
    for index in range(subsets):
        x = first[chance.choice(len(first), size, replace=False)]
        y = second[chance.choice(len(second), size, replace=False)]
        distances[index] = squared_mmd(x, y)
        if size == len(first) == len(second):  # every subset is the whole
            distances[:] = distances[0]
            break
    return KernelDistance(float(distances.mean()), float(distances.std()))


def squared_mmd(x: Features, y: Features) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3)."""
    between = _sum_of_kernel(x, y) / (len(x) * len(y))
    return _mean_off_diagonal(x) + _mean_off_diagonal(y) - 2 * between


def _sum_of_kernel(x: Features, y: Features) -> float:
    """Over all pairs, some rows at a time: the whole matrix of many images fits no memory."""
    parts = (x[row : row + _ROWS] for row in range(0, len(x), _ROWS))
    return float(sum(((part @ y.T / x.shape[1] + 1) ** 3).sum() for part in parts))


def _mean_off_diagonal(x: Features) -> float:
    diagonal = ((x * x).sum(1) / x.shape[1] + 1) ** 3
    return float((_sum_of_kernel(x, x) - diagonal.sum()) / (len(x) * (len(x) - 1)))
