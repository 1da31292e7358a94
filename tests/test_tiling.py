"""A picture in stripes is the picture in one pass."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import enlarge_weights

from cyclegan_style.applying.tiling import (
    Statistics,
    StripedGenerator,
    default_stripe_height,
    peak_bytes,
)
from cyclegan_style.benchmarks.large import measure_large_picture
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.resnet import ResnetGenerator
from cyclegan_style.networks.unet import UnetGenerator


def network(**options) -> ResnetGenerator:
    generator = ResnetGenerator(3, 3, channels=4, **({"blocks": 2} | options)).eval()
    enlarge_weights(generator)
    return generator.requires_grad_(False)


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


NETWORK = network()


@settings(max_examples=60, deadline=None)
@example(2, 2, 1)
@example(17, 3, 4)
@example(16, 2, 63)
@given(st.integers(2, 20), st.integers(2, 12), st.integers(1, 100))
def test_equal_to_one_pass_at_any_size_and_stripe_height(height, width, stripe_height):
    image = picture(4 * height, 4 * width)
    with torch.inference_mode():
        difference = StripedGenerator(NETWORK, stripe_height)(image) - NETWORK(image)
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("blocks", [0, 3])
def test_every_residual_generator(norm, dropout, blocks):
    generator = network(norm=norm, dropout=dropout, blocks=blocks)
    image = picture(52, 36)
    with torch.inference_mode():
        difference = StripedGenerator(generator, 9)(image) - generator(image)
    assert difference.abs().max() < 1e-4


def unet(levels: int, **options) -> UnetGenerator:
    generator = UnetGenerator(3, 3, channels=4, levels=levels, **options).eval()
    enlarge_weights(generator)
    return generator.requires_grad_(False)


UNET = unet(5)


@settings(max_examples=40, deadline=None)
@example(1, 1, 1)
@example(1, 2, 5)
@example(4, 1, 127)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 170))
def test_the_unet_is_equal_to_one_pass(height, width, stripe_height):
    image = picture(32 * height, 32 * width)
    with torch.inference_mode():
        difference = StripedGenerator(UNET, stripe_height)(image) - UNET(image)
    assert difference.abs().max() < 1e-4


# Without a norm, seven levels of such weights leave too little of float32.
@pytest.mark.parametrize(("norm", "levels"), [("instance", 7), ("batch", 7), ("none", 5)])
def test_every_unet(norm, levels):
    generator = unet(levels, norm=norm, dropout=True)
    image = picture(256, 128)
    with torch.inference_mode():
        difference = StripedGenerator(generator, 24)(image) - generator(image)
    assert difference.abs().max() < 1e-4


def test_in_16_bits_it_strays_no_further_than_one_pass():
    image = picture(64, 48)
    exact = NETWORK(image)
    rounded = network().bfloat16()
    with torch.inference_mode():
        striped = (StripedGenerator(rounded, 12)(image) - exact).abs().mean()
        whole = (rounded(image.bfloat16()).float() - exact).abs().mean()
    assert striped < 1.5 * whole + 1e-3


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
    assert (normalised - expected).abs().max() < 1e-3


def test_the_estimate_grows_with_the_picture_and_holds_no_full_map():
    size = (4000, 6000)
    estimate = peak_bytes(*size, 64, torch.bfloat16)
    assert 0.75 * 64 * 24e6 * 2 < estimate < 4.5e9
    assert peak_bytes(8000, 6000, 64, torch.bfloat16) > 1.5 * estimate
    assert default_stripe_height(6000, 64, torch.bfloat16) >= 8


def test_the_benchmark_measures_a_process_of_its_own():
    network = GeneratorConfig(channels=4, blocks=1)
    of_this_process = torch.ones(2**28)  # 1 GB
    figures = measure_large_picture(64, network, "fp32", stripes_only=True)
    del of_this_process
    assert 0.1 < figures.stripes_peak_gigabytes < 1
    assert (figures.one_pass_seconds_per_megapixel, figures.stripe_height) == (None, 64)
    assert figures.stripes_seconds_per_megapixel > 0
