"""Losses of style transfer against their equations, written out with NumPy."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from cyclegan_style.stylizing.losses import (
    GramLoss,
    MomentsLoss,
    SlicedWassersteinLoss,
    gram,
    squared_difference,
    structural_difference,
    total_variation,
)

pytestmark = pytest.mark.numeric

LOSSES = {
    "gram": GramLoss,
    "moments": MomentsLoss,
    "wasserstein": lambda style: SlicedWassersteinLoss(style, torch.Generator().manual_seed(0)),
}


def activations(channels: int, height: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64)


def points(values: Tensor) -> np.ndarray:
    return values[0].flatten(1).numpy()


def test_gram_loss_is_that_of_gatys():
    """Eq. 3: Gᵢⱼ = Σₖ Fᵢₖ Fⱼₖ; eq. 4: E = Σᵢⱼ (Gᵢⱼ − Aᵢⱼ)² / (4 N² M²)."""
    x, s = activations(4, 5, 6, 1), activations(4, 5, 6, 2)
    n, m = 4, 5 * 6
    g, a = (points(each) @ points(each).T for each in (x, s))
    expected = ((g - a) ** 2).sum() / (4 * n**2 * m**2)

    assert GramLoss(s)(x).item() == pytest.approx(expected, rel=1e-12)


def test_moments_loss_is_that_of_huang_and_belongie():
    x, s = activations(4, 5, 6, 1), activations(4, 9, 7, 2)
    means, deviations = ([part(points(each), 1) for each in (x, s)] for part in (np.mean, np.std))
    expected = ((means[0] - means[1]) ** 2).mean() + ((deviations[0] - deviations[1]) ** 2).mean()

    assert MomentsLoss(s)(x).item() == pytest.approx(expected, rel=1e-6)


def test_wasserstein_loss_is_that_of_heitz():
    """Eq. 7 to 8: the mean of squared differences of sorted projections."""
    x, s = activations(4, 5, 6, 1), activations(4, 6, 5, 2)
    loss = SlicedWassersteinLoss(s, torch.Generator().manual_seed(7))
    expected = [
        ((np.sort(v @ points(x)) - np.sort(v @ points(s))) ** 2).mean()
        for v in loss.directions.numpy()
    ]

    assert np.linalg.norm(loss.directions.numpy(), axis=1) == pytest.approx(np.ones(4))
    assert loss(x).item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_wasserstein_distance_of_a_shift_is_the_mean_square_of_its_projections():
    x = activations(3, 8, 8, 1)
    shift = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64).view(1, 3, 1, 1)
    loss = SlicedWassersteinLoss(x, torch.Generator().manual_seed(0))
    expected = (loss.directions @ shift.flatten()).square().mean()

    assert loss(x + shift).item() == pytest.approx(expected.item(), rel=1e-12)


def test_wasserstein_distance_of_normal_distributions_is_the_known_one():
    """W₂² of N(0, 1) and N(μ, σ²) is μ² + (σ − 1)², whatever the numbers of places."""
    generator = torch.Generator().manual_seed(3)
    style = torch.randn(1, 1, 200, 200, generator=generator)
    other = torch.randn(1, 1, 150, 180, generator=generator) * 1.5 + 0.7
    loss = SlicedWassersteinLoss(style, generator)

    assert loss(other).item() == pytest.approx(0.7**2 + 0.5**2, rel=0.05)


@pytest.mark.parametrize("name", LOSSES)
def test_a_style_is_at_no_distance_from_itself_whatever_its_size(name):
    style = activations(5, 6, 8, 1)
    tiled = style.tile(1, 1, 2, 2)  # each statistic is a mean over the places
    loss = LOSSES[name](style)

    assert loss(style).item() < 1e-12
    tolerance = 0.01 if name == "wasserstein" else 1e-12  # whose quantiles lie between others
    assert loss(tiled).item() < tolerance * loss(activations(5, 6, 8, 2) + 0.3).item()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_knows_nothing_of_places(name):
    style, x = activations(5, 6, 8, 1), activations(5, 6, 8, 2)
    shuffled = x.flatten(2)[:, :, torch.randperm(48)].view_as(x)
    loss = LOSSES[name](style)

    assert loss(shuffled).item() == pytest.approx(loss(x).item(), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_a_region_counts_alone(name):
    style, x = activations(5, 6, 8, 1), activations(5, 6, 8, 2)
    region = torch.zeros(6, 8, dtype=torch.float64)
    region[1:4, 2:7] = 1
    loss = LOSSES[name](style)

    assert loss(x, region).item() == pytest.approx(loss(x[:, :, 1:4, 2:7]).item(), rel=1e-6)
    changed = x.clone()
    changed[:, :, 4:] = 9
    assert loss(changed, region).item() == pytest.approx(loss(x, region).item(), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_small_steps(name):
    style, x = activations(3, 4, 5, 1), activations(3, 4, 5, 2).requires_grad_()
    loss = LOSSES[name](style)

    assert torch.autograd.gradcheck(loss, x, eps=1e-7, atol=1e-6)


def test_half_a_region_weighs_half():
    x = activations(2, 1, 2, 1)
    region = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    first, second = points(x).T
    expected = (np.outer(first, first) + 0.5 * np.outer(second, second)) / 1.5

    assert np.allclose(gram(x, region).numpy(), expected, rtol=1e-12)


def test_squared_difference():
    x, c = activations(3, 4, 5, 1), activations(3, 4, 5, 2)

    assert squared_difference(x, c).item() == pytest.approx(((x - c) ** 2).mean().item())


def test_structural_difference_is_one_minus_ssim():
    x, c = activations(3, 12, 15, 1), activations(3, 12, 15, 2)
    x = 0.6 * x + 0.4 * c
    expected = structural_similarity(
        x[0].numpy(),
        c[0].numpy(),
        win_size=7,
        channel_axis=0,
        data_range=c.std().item(),
        use_sample_covariance=False,
    )

    assert structural_difference(x, c).item() == pytest.approx(1 - expected, rel=1e-6)
    assert structural_difference(c, c).item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(structural_difference(x[:, :, :2, :1], c[:, :, :2, :1]))


def test_total_variation():
    ramp = torch.arange(5.0).expand(1, 2, 4, 5)

    assert total_variation(ramp).item() == 1
    assert total_variation(ramp.transpose(2, 3) * 2).item() == 4
    assert total_variation(torch.ones(1, 3, 4, 4)).item() == 0
