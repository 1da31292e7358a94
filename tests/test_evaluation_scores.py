"""Distances against closed forms, and what must not change them."""

from functools import reduce

import numpy as np
import pytest
import scipy.linalg
import torch
from inception_weights import soft_picture

from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.comparison import frechet_at_infinity
from cyclegan_style.evaluation.frechet import (
    Moments,
    frechet_distance,
    frechet_of_features,
    gaussian_of_features,
    gaussian_of_statistics,
    merged,
)
from cyclegan_style.evaluation.intervals import jackknife_interval, mean_interval, terms_of_ratio
from cyclegan_style.evaluation.kid import kernel_distance, squared_mmd
from cyclegan_style.evaluation.precision_recall import precision_recall
from cyclegan_style.evaluation.sliced_wasserstein import (
    Descriptors,
    descriptors_of_images,
    laplacian_pyramid,
    level_sizes,
    part_of,
    sliced_wasserstein,
)

pytestmark = pytest.mark.numeric


def normal(count: int, dimensions: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dimensions))


def naive_frechet(x: np.ndarray, y: np.ndarray) -> float:
    covariances = [np.cov(z, rowvar=False) for z in (x, y)]
    root = np.sqrt(scipy.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real
    traces = sum(np.trace(c) for c in covariances)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + traces - 2 * root.sum())


@pytest.mark.parametrize("counts", [(30, 25), (30, 200), (300, 200)])
def test_frechet_is_the_defined_distance(counts):
    x, y = normal(counts[0], 40, 1), 1.5 * normal(counts[1], 40, 2, 0.3)

    # The naive root makes 1e-7 of each eigenvalue that should be 0 and is 1e-14.
    assert frechet_of_features(x, y) == pytest.approx(naive_frechet(x, y), abs=4e-5)


def test_frechet_of_known_gaussians():
    scales = np.array([1.0, 4.0, 9.0])
    first = gaussian_of_statistics(np.zeros(3), np.diag(scales))
    second = gaussian_of_statistics(np.array([1.0, 2.0, 0.0]), np.diag(4 * scales))

    # Commuting covariances: the sum of (√λ₁ − √λ₂)².
    assert frechet_distance(first, second) == pytest.approx(5 + scales.sum(), abs=1e-12)


@pytest.mark.parametrize("count", [2, 40, 300])
def test_equal_sets_have_no_distance(count):
    x = 20 * normal(count, 64, 3, 5.0)

    rounding = 1e-13 * gaussian_of_features(x).trace  # which is added and subtracted
    assert frechet_of_features(x, x) < rounding
    assert frechet_of_features(x, x[::-1]) < rounding


def test_frechet_of_a_constant_set():
    x, y = np.ones((5, 4)), normal(50, 4, 0)

    expected = np.square(1 - y.mean(0)).sum() + np.trace(np.cov(y, rowvar=False))
    assert frechet_of_features(x, y) == pytest.approx(expected)
    assert frechet_of_features(x, x) == 0


def test_features_that_cannot_be_scored():
    with pytest.raises(UserError, match="fewer than two"):
        gaussian_of_features(np.ones((1, 4)))
    with pytest.raises(UserError, match="not finite"):
        gaussian_of_features(np.full((3, 4), np.nan))


def test_moments_of_shifted_and_badly_scaled_batches():
    values = normal(1000, 6, 4) * np.logspace(-4, 3, 6) + 1e6
    batches = np.split(values, [1, 3, 100, 640])

    moments = reduce(merged, [Moments.of(batch) for batch in batches])

    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-14)
    expected = np.cov(values, rowvar=False)
    error = np.abs(moments.comoment / 999 - expected)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # The mean's last place beside the smallest deviation.
    assert (error / scale).max() < np.spacing(1e6) / 1e-4


def test_statistics_give_the_distance_of_the_features():
    x, y = normal(30, 40, 1), normal(35, 40, 2, 0.5)
    moments = Moments.of(x)
    statistics = gaussian_of_statistics(moments.mean, moments.comoment / 29)

    distance = frechet_distance(statistics, gaussian_of_features(y))
    assert distance == pytest.approx(frechet_of_features(x, y), abs=1e-9)


def test_kernel_distance_is_unbiased():
    values = [squared_mmd(normal(20, 8, 2 * s), normal(20, 8, 2 * s + 1)) for s in range(400)]

    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert squared_mmd(normal(50, 8, 1), normal(50, 8, 2, 1.0)) > 0.5


def test_kernel_distance_by_hand():
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])

    # Kernel (ab + 1)³: 27 within x, 1 within y, mean of 1, 8, 1, 27 across.
    assert squared_mmd(x, y) == pytest.approx(27 + 1 - 2 * (1 + 8 + 1 + 27) / 4)


def test_subsets_of_the_kernel_distance_vary():
    distance = kernel_distance(normal(40, 8, 1), normal(30, 8, 2, 1.0), subset_size=20)

    assert distance.deviation > 0
    assert distance.mean == pytest.approx(
        squared_mmd(normal(40, 8, 1), normal(30, 8, 2, 1.0)), abs=4 * distance.deviation / 10
    )


def test_precision_and_recall():
    x, y = normal(60, 3, 1), normal(60, 3, 2)
    assert precision_recall(x, x).precision == precision_recall(x, x).recall == 1
    assert precision_recall(x, y + 100).precision == 0
    inside = precision_recall(x, 0.01 * y)
    assert inside.precision == 1
    assert inside.recall < 0.1


def test_precision_and_recall_of_torch_fidelity():
    metric = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = normal(70, 4, 1), normal(50, 4, 2, 0.7)

    precision, recall = metric.calculate_precision_recall_full(
        torch.from_numpy(fake), torch.from_numpy(real)
    )
    ours = precision_recall(real, fake)
    assert (ours.precision, ours.recall) == pytest.approx((precision, recall), abs=1e-6)


def descriptors(pictures: np.ndarray) -> Descriptors:
    return descriptors_of_images(pictures, range(len(level_sizes())))


def test_sliced_wasserstein():
    soft = np.stack([soft_picture(128, 128, number) for number in range(8)])
    x, y = descriptors(soft[:4]), descriptors(soft[4:])
    noise = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)

    assert sliced_wasserstein(x, x) == 0
    # Elsewhere in a float32 product, a row may be rounded in another way.
    rounding = 1e-5 * sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, part_of(x, np.arange(4)[::-1])) < rounding
    assert sliced_wasserstein(x, y) == pytest.approx(sliced_wasserstein(y, x), rel=1e-12)
    assert 0 < sliced_wasserstein(x, y) < sliced_wasserstein(x, descriptors(noise))
    assert sliced_wasserstein(part_of(x, np.arange(8) % 4), x) < rounding


def test_the_pyramid_adds_up():
    image = torch.from_numpy(soft_picture(128, 128, 0).transpose(2, 0, 1).astype(np.float32))
    levels = laplacian_pyramid(image)

    assert [level.shape[1] for level in levels] == level_sizes() == [128, 64, 32, 16]
    flat = laplacian_pyramid(torch.full((3, 128, 128), 7.0))
    assert max(level.abs().max().item() for level in flat[:-1]) < 1e-4
    assert flat[-1].mean().item() == pytest.approx(7)


def test_jackknife_of_a_mean_is_its_standard_error():
    x = normal(400, 1, 1)[:, 0]

    interval = jackknife_interval(x.mean(), lambda i, j: x[i].mean(), 400, 400)

    assert interval is not None
    half = (interval[1] - interval[0]) / 2
    assert half == pytest.approx(2.09 / 20, rel=0.5)
    assert mean_interval(x) == pytest.approx(interval, abs=0.06)
    assert jackknife_interval(0.0, lambda i, j: 0.0, 3, 3) is None


def test_a_ratio_of_sums_is_the_mean_of_its_terms_and_moves_as_they_do():
    generator = np.random.default_rng(0)
    below = generator.uniform(1, 3, (2000, 40))
    above = 2 * below + generator.normal(0, 0.5, below.shape)

    ratios = above.sum(1) / below.sum(1)
    terms = [terms_of_ratio(*pair) for pair in zip(above, below, strict=True)]
    assert [values.mean() for values in terms] == pytest.approx(ratios)
    intervals = [mean_interval(values) for values in terms]
    assert 0.93 < np.mean([low < 2 < high for low, high in intervals]) < 0.97
    widths = [high - low for low, high in intervals]
    plain = [high - low for low, high in (mean_interval(values) for values in above / 2)]
    assert np.mean(widths) < np.mean(plain) / 2  # what both have in common is no spread
    assert np.isnan(terms_of_ratio(np.zeros(2), np.zeros(2))).all()


def test_extrapolation_takes_the_bias_away():
    x, y = normal(4000, 16, 1), normal(300, 16, 2)

    biased = frechet_of_features(x, y)
    assert abs(frechet_at_infinity(x, y)) < biased / 2
