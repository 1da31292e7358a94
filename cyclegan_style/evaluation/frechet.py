"""Fréchet distance between Gaussians, in float64 and without the root of a large matrix.

    d² = ‖μ₁ − μ₂‖² + Tr Σ₁ + Tr Σ₂ − 2 Tr (Σ₁Σ₂)^½            (Heusel et al. 2017, eq. 6)

With factors Σ = FᵀF the last trace is the sum of the singular values of F₁F₂ᵀ. Of n images, fewer
than dimensions, the centred features are such a factor; otherwise it comes from an eigen-
decomposition of Σ. Neither squares the condition number, as the product Σ₁Σ₂ does.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cyclegan_style.errors import UserError

Matrix = NDArray[np.float64]
Features = NDArray[np.floating]


@dataclass(frozen=True)
class Moments:
    """Number, mean and co-moment Σ(x − mean)(x − mean)ᵀ of vectors seen so far."""

    count: int
    mean: Matrix
    comoment: Matrix

    @classmethod
    def of(cls, features: Features) -> "Moments":
        """Moments of the rows."""
        values = np.asarray(features, dtype=np.float64)
        mean = values.mean(0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets together, after Chan, Golub and LeVeque 1979, eq. 2.1."""
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        correction = np.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, mean, self.comoment + other.comoment + correction)


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution as mean and factor F of its covariance FᵀF."""

    mean: Matrix
    factor: Matrix

    @property
    def trace(self) -> float:
        """Trace of the covariance."""
        return float(np.square(self.factor).sum())


def merged(first: Moments | None, second: Moments | None) -> Moments | None:
    """Moments of both together; None is the empty set."""
    if first is None or second is None:
        return first or second
    return first.merge(second)


def gaussian_of_moments(moments: Moments) -> Gaussian:
    """The normal distribution fitted to vectors of which only moments are left."""
    return gaussian_of_statistics(moments.mean, moments.comoment / (moments.count - 1))


def gaussian_of_features(features: Features) -> Gaussian:
    """The normal distribution fitted to feature vectors, with the unbiased covariance."""
    if len(features) < 2:
        raise UserError("fewer than two images have no covariance")
    if not np.isfinite(features).all():
        raise UserError("features are not finite: the weights or images are damaged")
    if len(features) > features.shape[1]:
        return gaussian_of_moments(Moments.of(features))
    values = np.asarray(features, dtype=np.float64)
    mean = values.mean(0)
    return Gaussian(mean, (values - mean) / np.sqrt(len(values) - 1))


def gaussian_of_statistics(mean: Matrix, covariance: Matrix) -> Gaussian:
    """The normal distribution of known mean and covariance."""
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError("statistics are not finite")
    values, vectors = scipy.linalg.eigh((covariance + covariance.T) / 2)
    # What rounding leaves of the null space would count with the root of its size.
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return Gaussian(np.asarray(mean), (vectors[:, kept] * np.sqrt(values[kept])).T)


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Squared Fréchet distance, the number that is called FID."""
    if first.mean.shape != second.mean.shape:
        raise UserError(
            f"features of {len(first.mean)} and of {len(second.mean)} dimensions are of different"
            " networks"
        )
    shift = first.mean - second.mean
    product = first.factor @ second.factor.T
    root = scipy.linalg.svdvals(product).sum() if product.size else 0.0
    return max(0.0, float(shift @ shift + first.trace + second.trace - 2 * root))


def frechet_of_features(first: Features, second: Features) -> float:
    """Fréchet distance between normal distributions fitted to two sets of features."""
    return frechet_distance(gaussian_of_features(first), gaussian_of_features(second))
