"""A picture in stripes is the picture in one pass."""

from copy import deepcopy
from typing import get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import enlarge_weights, stray
from torch import Tensor, nn

from cyclegan_style.applying.tiling import (
    Statistics,
    StripedGenerator,
    default_stripe_height,
    peak_bytes,
)
from cyclegan_style.benchmarks.large import measure_large_picture
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.layers import GeneratorNormName
from cyclegan_style.networks.residual_unet import ResidualUnetGenerator
from cyclegan_style.networks.resnet import ResnetGenerator
from cyclegan_style.networks.unet import UnetGenerator


def network(**options) -> ResnetGenerator:
    generator = ResnetGenerator(
        3, 3, GeneratorConfig(**({"channels": 4, "blocks": 2} | options))
    ).eval()
    enlarge_weights(generator)
    return generator.requires_grad_(False)


def unet(levels: int, **options) -> UnetGenerator:
    generator = UnetGenerator(3, 3, GeneratorConfig("unet", 4, levels=levels, **options)).eval()
    enlarge_weights(generator)
    return generator.requires_grad_(False)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


NETWORK, UNET = network().double(), unet(5).double()
CHANGING = network(upsampling="bilinear", downsampling="blurred", skip=True).double()
GROUPED = network(channels=16, norm="group").double()


@torch.inference_mode()
def assert_equal_to_one_pass(generator: nn.Module, image: Tensor, stripe_height: int) -> None:
    """In float64, whose rounding stays below 1e-12 even where no norm keeps values small."""
    striped, whole = StripedGenerator(generator, stripe_height)(image), generator(image)
    torch.testing.assert_close(striped, whole, rtol=0, atol=1e-10)


@pytest.mark.numeric
@settings(max_examples=30)
@example(2, 2, 1)
@example(17, 3, 4)
@example(16, 2, 63)
@given(st.integers(2, 20), st.integers(2, 12), st.integers(1, 100))
def test_equal_to_one_pass_at_any_size_and_stripe_height(height, width, stripe_height):
    assert_equal_to_one_pass(NETWORK, picture(4 * height, 4 * width).double(), stripe_height)


@pytest.mark.numeric
@pytest.mark.parametrize("norm", get_args(GeneratorNormName))
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("blocks", [0, 3])
def test_every_residual_generator(norm, dropout, blocks):
    generator = network(norm=norm, dropout=dropout, blocks=blocks).double()
    assert_equal_to_one_pass(generator, picture(52, 36).double(), 9)


@pytest.mark.numeric
def test_groups_of_some_of_the_channels():
    generator = network(channels=16, norm="group").double()
    groups = {layer.num_groups for layer in generator.modules() if isinstance(layer, nn.GroupNorm)}
    assert groups == {1, 2, 4}
    assert_equal_to_one_pass(generator, picture(52, 36).double(), 9)


@pytest.mark.numeric
@settings(max_examples=20)
@example(1, 1, 1)
@example(1, 2, 5)
@example(4, 1, 127)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 170))
def test_the_unet_is_equal_to_one_pass(height, width, stripe_height):
    assert_equal_to_one_pass(UNET, picture(32 * height, 32 * width).double(), stripe_height)


@pytest.mark.numeric
@pytest.mark.parametrize("norm", get_args(GeneratorNormName))
def test_every_unet(norm):
    generator = unet(7, norm=norm, dropout=True).double()
    assert_equal_to_one_pass(generator, picture(256, 128).double(), 24)


@pytest.mark.numeric
@pytest.mark.parametrize("norm", ["instance", "demodulated"])
@pytest.mark.parametrize("stripe_height", [1, 7, 26])
@pytest.mark.parametrize(
    "options",
    [{"upsampling": "subpixel"}, {"upsampling": "subpixel", "downsampling": "unshuffled"}],
)
def test_pixels_that_are_channels(norm, stripe_height, options):
    generator = network(norm=norm, skip=True, **options).double()
    assert_equal_to_one_pass(generator, picture(64, 32).double(), stripe_height)


@pytest.mark.numeric
@pytest.mark.parametrize("norm", get_args(GeneratorNormName))
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_every_residual_unet(norm, upsampling):
    options = {"norm": norm, "upsampling": upsampling, "dropout": True, "full_size_channels": 2}
    config = GeneratorConfig("residual_unet", channels=4, levels=6, **options)
    generator = ResidualUnetGenerator(3, 3, config).eval()
    enlarge_weights(generator)
    for size, stripe_height in (((64, 64), 1), ((192, 128), 24)):
        assert_equal_to_one_pass(generator.double(), picture(*size).double(), stripe_height)


@pytest.mark.numeric
@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "bilinear"])
@pytest.mark.parametrize("downsampling", ["strided", "blurred"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    "stripe_height",
    [pytest.param(1, marks=pytest.mark.slow), 7, pytest.param(26, marks=pytest.mark.slow)],
)
def test_every_halving_and_doubling(upsampling, downsampling, skip, stripe_height):
    options = {"upsampling": upsampling, "downsampling": downsampling, "skip": skip}
    image = picture(64, 32).double()
    for generator in (network(**options), unet(5, **options)):
        assert_equal_to_one_pass(generator.double(), image, stripe_height)


@pytest.mark.numeric
@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "bilinear"])
@pytest.mark.parametrize("stripe_height", [1, 7])
def test_unets_with_maps_at_full_size(upsampling, stripe_height):
    generator = unet(5, upsampling=upsampling, skip=True, full_size_channels=3).double()
    assert_equal_to_one_pass(generator, picture(64, 32).double(), stripe_height)


@pytest.mark.numeric
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_demodulated_halvings_and_doublings(upsampling):
    options = {"upsampling": upsampling, "downsampling": "blurred", "norm": "demodulated"}
    image = picture(64, 32).double()
    for generator in (network(**options), unet(5, **options)):
        assert_equal_to_one_pass(generator.double(), image, 7)


@pytest.mark.numeric
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("exact", "size"),
    [(NETWORK, (64, 48)), (UNET, (64, 96)), (CHANGING, (64, 48)), (GROUPED, (64, 48))],
)
def test_in_fewer_digits_it_strays_no_further_than_one_pass(dtype, exact, size):
    image = picture(*size)
    rounded = deepcopy(exact).to(dtype)
    with torch.inference_mode():
        striped, whole = StripedGenerator(rounded, 12)(image), rounded(image.to(dtype))
        expected = exact(image.double())
    assert striped.dtype == torch.float32
    assert 0 < stray(striped, expected) < 3 * stray(whole, expected)


@pytest.mark.numeric
def test_statistics_of_parts_are_those_of_the_whole():
    values = torch.randn(1, 3, 50, 7, generator=torch.Generator().manual_seed(1)) * 0.1 + 100
    statistics = Statistics()
    for start, stop in ((0, 1), (1, 30), (30, 49), (49, 50)):
        statistics.add(values[:, :, start:stop])
    exact = values.double()
    normalised = statistics.normaliser(0.0, torch.device("cpu"))(values)
    expected = (exact - exact.mean((2, 3), keepdim=True)) / exact.std(
        (2, 3), keepdim=True, correction=0
    )
    # At a mean of a thousand deviations, the rounding of float32 is 6e-5 deviations.
    assert (normalised - expected).abs().max() < 1e-3


def test_the_estimate_grows_with_the_picture_and_holds_no_full_map():
    size = (4000, 6000)
    estimate = peak_bytes(*size, 64, torch.bfloat16)
    assert 0.75 * 64 * 24e6 * 2 < estimate < 4.5e9
    assert peak_bytes(8000, 6000, 64, torch.bfloat16) > 1.5 * estimate
    assert default_stripe_height(6000, 64, torch.bfloat16) >= 8


@pytest.mark.slow
def test_the_benchmark_measures_a_process_of_its_own():
    network = GeneratorConfig(channels=4, blocks=1)
    of_this_process = torch.ones(2**28)  # 1 GB
    figures = measure_large_picture(64, network, "fp32", stripes_only=True)
    del of_this_process
    assert 0.1 < figures.stripes_peak_gigabytes < 1
    assert (figures.one_pass_seconds_per_megapixel, figures.stripe_height) == (None, 64)
    assert figures.stripes_seconds_per_megapixel > 0
