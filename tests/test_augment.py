"""Augmentations do to each image what they say, differently to each, and let gradients through."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cyclegan_style.training.augment import augment, change_colors, cut_out, move

NAMES = ("color", "translation", "cutout")


def random_images(count: int = 8, height: int = 16, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand((count, 3, height, width), generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("names", [(), *[(name,) for name in NAMES], NAMES])
def test_shapes_stay_and_only_what_is_named_is_done(names):
    torch.manual_seed(0)
    images = random_images()

    augmented = augment(images, names)

    assert augmented.shape == images.shape
    assert torch.equal(augmented, images) == (names == ())


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_the_same_for_a_seed_and_different_for_each_image(name):
    images = random_images(1).expand(6, -1, -1, -1)
    torch.manual_seed(5)
    first = augment(images, (name,))
    torch.manual_seed(5)

    assert torch.equal(augment(images, (name,)), first)
    assert len({tuple(image.flatten().tolist()) for image in first}) > 3


@given(seed=st.integers(0, 2**32))
def test_colours_change_within_the_bounds_of_the_paper(seed):
    torch.manual_seed(seed)
    images = random_images()

    changed = change_colors(images)

    # Saturation and contrast turn about a mean, so that brightness alone moves it.
    shift = changed.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert shift.abs().max() <= 0.5 + 1e-9
    grey, changed_grey = images.mean(1), changed.mean(1)
    contrast = changed_grey.std((1, 2)) / grey.std((1, 2))
    assert contrast.min() >= 0.5 - 1e-9
    assert contrast.max() <= 1.5 + 1e-9
    colour = (changed - changed_grey[:, None]).std((1, 2, 3)) / contrast
    saturation = colour / (images - grey[:, None]).std((1, 2, 3))
    assert saturation.max() <= 2 + 1e-9


def test_colours_change_over_the_whole_range_and_evenly():
    torch.manual_seed(0)
    images = random_images(1).expand(2000, -1, -1, -1)

    changed = change_colors(images)

    shift = (changed - images).mean((1, 2, 3))
    contrast = changed.mean(1).std((1, 2)) / images.mean(1).std((1, 2))
    assert abs(shift.mean()) < 0.04
    assert shift.min() < -0.48
    assert shift.max() > 0.48
    assert abs(contrast.mean() - 1) < 0.04


def test_translation_is_a_shift_by_up_to_an_eighth_with_zeros_behind():
    torch.manual_seed(0)
    images = random_images(200)

    moved = move(images)

    shifts = [find_shift(image, result) for image, result in zip(images, moved, strict=True)]
    assert {down for down, _ in shifts} == set(range(-2, 3))
    assert {right for _, right in shifts} == set(range(-3, 4))


def find_shift(image: Tensor, moved: Tensor) -> tuple[int, int]:
    _, height, width = image.shape
    padded = torch.zeros(3, height + 8, width + 8, dtype=image.dtype)
    padded[:, 4:-4, 4:-4] = image
    matches = [
        (4 - top, 4 - left)
        for top in range(9)
        for left in range(9)
        if torch.equal(padded[:, top : top + height, left : left + width], moved)
    ]
    assert len(matches) == 1
    return matches[0]


def test_cutout_blanks_one_rectangle_of_half_the_sides():
    torch.manual_seed(0)
    height, width = 16, 24
    cut = cut_out(torch.ones(300, 3, height, width))

    inside = 0
    for image in cut:
        blank = image == 0
        assert torch.equal(blank[0], blank[2])
        rows, columns = blank[0].any(1).nonzero().flatten(), blank[0].any(0).nonzero().flatten()
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        assert blank[0, top:bottom, left:right].all()
        assert blank[0].sum() == (bottom - top) * (right - left)
        touches = top == 0 or left == 0 or bottom == height or right == width
        assert touches or blank[0].sum() == height * width // 4
        assert height // 4 <= bottom - top <= height // 2
        assert width // 4 <= right - left <= width // 2
        inside += not touches
    assert inside > 50


@pytest.mark.parametrize("name", NAMES)
def test_gradients_pass_through(name):
    images = random_images(2, 4, 4).requires_grad_(True)

    def seeded(x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return augment(x, (name,))

    assert torch.autograd.gradcheck(seeded, images)
    seeded(images).square().sum().backward()
    assert images.grad.flatten(1).any(1).all()
