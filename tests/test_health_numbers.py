"""Numbers of a training's health against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from cyclegan_style.evaluation import health

pytestmark = pytest.mark.numeric

SIDE = 64


def flat(*levels: float, channels: int = 3) -> Tensor:
    """Pictures of one level each."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, channels, SIDE, SIDE)


def noise(count: int = 2, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(count, channels, SIDE, SIDE, generator=generator)


def bump(height: float, at: tuple[int, int]) -> Tensor:
    """A flat picture with a square that is larger than what spots are averaged over."""
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[:, 1, at[0] : at[0] + 4, at[1] : at[1] + 4] = height
    return picture


def test_change_is_a_share_of_what_lies_between_unrelated_pictures():
    inputs, targets = flat(0.0, 0.2), flat(0.5, 1.0, 1.5)

    assert health.change(inputs, inputs, targets) == 0
    assert health.change(inputs, inputs + 0.45, targets) == pytest.approx(0.45 / 0.9)
    assert health.change(inputs[:, :1], inputs - 0.18, targets) == pytest.approx(0.18 / 0.9)


def test_variety_is_a_share_of_the_less_varied_domain():
    inputs, targets = flat(0.0, 0.1, 0.5), flat(0.0, 1.0)

    # Distances of 0.1, 0.5 and 0.4 have a mean of 1/3.
    assert health.variety(inputs, flat(0.2, 0.3, 0.2), targets) == pytest.approx(0.2)
    assert health.variety(targets, flat(0.2, 0.3), inputs) == pytest.approx(0.3)
    assert math.isnan(health.variety(inputs[:1], inputs[:1], targets))
    assert math.isnan(health.variety(flat(0.3, 0.3), inputs, targets))


def test_brightness_keeps_its_order_whatever_its_level_and_contrast():
    inputs = noise()

    assert health.brightness_order(inputs, 0.3 * inputs + 0.4) == pytest.approx(1)
    assert health.brightness_order(inputs, -0.3 * inputs + 0.4) == pytest.approx(-1)
    assert health.brightness_order(inputs, noise(seed=1)) == pytest.approx(0, abs=0.05)
    assert math.isnan(health.brightness_order(inputs, flat(0.1, 0.2)))


def test_a_grid_counts_against_that_of_real_pictures():
    pictures, wave = noise(8), 0.1 * torch.cos(math.pi / 2 * torch.arange(SIDE))

    assert health.grid(pictures, pictures) == 1
    plain = health.grid(pictures, noise(8, seed=1))
    assert plain == pytest.approx(1, abs=0.3)
    # One of four quotients has n a² / 6 s² more, with about 1 in all of them before.
    grown = health.grid(pictures + wave, noise(8, seed=1)) - plain
    assert grown == pytest.approx(SIDE * 0.1**2 / (6 * 0.2**2) / 4, rel=0.3)
    assert math.isnan(health.grid(pictures[..., :60], pictures))


def test_new_spots_count_by_their_height_and_edges_and_lines_do_not():
    flat_picture, target = flat(0.0), bump(0.8, (10, 10))
    edge, line = flat_picture.clone(), flat_picture.clone()
    edge[..., 31:] = 1.0
    line[..., 30:33, :] = 1.0

    assert health.spots(flat_picture, bump(0.4, (40, 20)), target) == pytest.approx(0.5)
    assert health.spots(flat_picture, bump(-0.4, (40, 20)), target) == pytest.approx(0.5)
    for harmless in (edge, line, flat_picture):
        assert health.spots(flat_picture, harmless, target) == 0
    before = bump(0.4, (40, 21))
    assert health.spots(before, bump(0.4, (40, 20)), target) == 0
    assert health.spots(before, bump(0.6, (40, 20)), target) == pytest.approx(0.25)


def test_noise_that_is_passed_on_hides_nothing():
    inputs, grain = noise(), 0.1 * noise(seed=1)
    clean = inputs + 0.05

    assert health.hidden(inputs, inputs, inputs + grain, grain) == pytest.approx(1)
    assert health.hidden(inputs, clean, clean, grain) < 1
    error, size = 8 * grain.abs().mean(), grain.abs().mean()
    expected = error / (0.05 + size)
    assert health.hidden(inputs, clean, inputs + 8 * grain, grain) == pytest.approx(expected.item())


def test_preference_counts_pairs():
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 6, (3, 7), generator=generator).float()
    second = torch.randint(0, 4, (5, 4), generator=generator).float()

    difference = first.flatten()[:, None] - second.flatten()
    expected = ((difference > 0).double() + 0.5 * (difference == 0).double()).mean()
    assert health.preference(first, second) == pytest.approx(expected.item())
    assert health.preference(first, first) == 0.5
    assert health.preference(first + 9, second) == 1
    assert health.preference(first - 9, second) == 0


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_of_other_channels_count_by_their_colours(channels):
    pictures = noise(channels=channels)
    colours = health.in_colours(pictures)

    assert colours.shape == (2, 3, SIDE, SIDE)
    assert torch.equal(colours[:, 2], pictures[:, 2 if channels == 4 else 0])
