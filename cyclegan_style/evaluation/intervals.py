"""95 % intervals by the jackknife: how far a score would move with other images of its kind."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

GROUPS = 20

Kept = NDArray[np.intp]
Interval = tuple[float, float]


def jackknife_interval(
    value: float,
    score: Callable[[Kept, Kept], float],
    real_count: int,
    fake_count: int,
    groups: int = GROUPS,
) -> Interval | None:
    """Interval around the value of a score of two sets, from leaving out one group at a time.

    ``score`` gets the indices that are kept of both sets. None where too few images are left.
    """
    groups = min(groups, real_count // 2, fake_count // 2)
    if groups < 2:
        return None
    left_out = np.array(
        [
            score(_without(group, groups, real_count), _without(group, groups, fake_count))
            for group in range(groups)
        ]
    )
    # Efron and Stein 1981: the variance of the score from its pseudo-values.
    variance = (groups - 1) / groups * np.square(left_out - left_out.mean()).sum()
    half = float(stdtrit(groups - 1, 0.975) * np.sqrt(variance))
    return value - half, value + half


def mean_interval(values: NDArray[np.float64]) -> Interval | None:
    """Student's interval around the mean of independent values."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, 0.975) * error)
    mean = float(values.mean())
    return mean - half, mean + half


def terms_of_ratio(
    numerators: NDArray[np.float64], denominators: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Numbers whose mean is the ratio of two sums, and whose spread is that ratio's.

    The ratio is linearised around the means, as in Cochran 1977, section 6.4.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = denominators.mean()
        ratio = numerators.mean() / mean
        terms: NDArray[np.float64] = ratio + (numerators - ratio * denominators) / mean
    return terms


def _without(group: int, groups: int, count: int) -> Kept:
    indices = np.arange(count)
    kept: Kept = indices[indices % groups != group]
    return kept
