"""The strength of a grid against closed forms, and in what generators paint."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.evaluation.grid import grid_strength
from cyclegan_style.networks import build_generator

pytestmark = pytest.mark.numeric

SIDE = 128
DEVIATION = 0.2


def noise(count: int, height: int = SIDE, width: int = SIDE) -> Tensor:
    shape = (count, 3, height, width)
    return DEVIATION * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("period", [2, 4, 8])
def test_noise_and_flat_pictures_have_no_grid(period):
    strengths = grid_strength(noise(16, SIDE + 3, 2 * SIDE), period)

    assert strengths.shape == (16,)
    assert strengths.mean().item() == pytest.approx(1, abs=0.05)
    assert strengths.max() < 1.3
    assert torch.equal(grid_strength(torch.full((1, 1, SIDE, SIDE), 0.3), period), torch.ones(1))


def test_a_wave_of_the_period_has_the_strength_of_the_formula():
    amplitude = 0.1
    wave = amplitude * torch.cos(2 * math.pi * torch.arange(SIDE) / 4)
    of_noise = grid_strength(noise(8), 4)

    # One of four quotients has it: rows and columns, at a quarter and at a half.
    expected = SIDE * amplitude**2 / (6 * DEVIATION**2) / 4
    for pictures in (noise(8) + wave, noise(8) + wave[:, None]):
        added = grid_strength(pictures, 4) - of_noise
        assert added.mean().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("width", [1, 2])
def test_a_chequered_pattern_is_seen_however_faint_its_axes(width):
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    board = ((rows // width + columns // width) % 2).float() - 0.5

    assert grid_strength(noise(4) + 0.2 * board, 2 * width).min() > 3
    assert grid_strength(noise(4) + 0.2 * board, 2 * width + 1).max() < 1.3


def test_a_grid_below_the_rounding_of_8_bits_does_not_count():
    wave = torch.cos(math.pi * torch.arange(SIDE)).expand(1, 3, SIDE, SIDE)

    assert grid_strength(wave * 1e-5, 2) < 1.1
    assert grid_strength(wave * 0.02, 2) > 10


def test_a_picture_of_few_periods_is_refused():
    with pytest.raises(ValueError, match="side of 60 has too few periods of 4"):
        grid_strength(noise(1, 60), 4)


def smooth_pictures(count: int) -> Tensor:
    """Noise without anything near the frequencies of a grid."""
    coarse = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return torch.tanh(F.interpolate(coarse, size=SIDE, mode="bicubic", align_corners=False))


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_transposed_convolutions_paint_a_grid_and_enlarged_maps_none(architecture, seed):
    def strengths(upsampling: str, downsampling: str) -> Tensor:
        torch.manual_seed(seed)
        config = GeneratorConfig(
            architecture,
            channels=8,
            blocks=1,
            levels=5,
            upsampling=upsampling,
            downsampling=downsampling,
        )
        with torch.no_grad():
            return grid_strength(build_generator(config)(smooth_pictures(2)), 4)

    assert strengths("transposed", "strided").min() > 2
    assert strengths("nearest", "blurred").max() < 1.3
    assert strengths("bilinear", "blurred").max() < 1.3
