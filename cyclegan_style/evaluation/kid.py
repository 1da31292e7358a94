"""Kernel distance between sets of features: the unbiased MMD² of Bińkowski et al. 2018.

The kernel is (xᵀy / d + 1)³.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]

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
    within = _mean_off_diagonal(_kernel(x, x)) + _mean_off_diagonal(_kernel(y, y))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: Features, y: Features) -> Features:
    matrix: Features = (x @ y.T / x.shape[1] + 1) ** 3
    return matrix


def _mean_off_diagonal(matrix: Features) -> float:
    count = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))
