"""The faster layers against torch's in float64, alone and inside networks."""

from copy import deepcopy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from runs_in_tests import remember_speed
from tiny import enlarge_weights, stray
from torch import Tensor, nn

from cyclegan_style.applying.cpu_layers import (
    ExactGroupNorm,
    ExactInstanceNorm,
    FewOutputsConvolution,
    GroupedInstanceNorm,
    WinogradConvolution,
    quicken,
    quicken_16_bits,
)
from cyclegan_style.applying.tiling import StripedGenerator
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.resnet import ResnetGenerator
from cyclegan_style.networks.unet import UnetGenerator

pytestmark = pytest.mark.numeric


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(faster: nn.Module, convolution: nn.Conv2d, x: Tensor) -> float:
    """Largest error, in units of what rounding once makes of the largest sum without its signs.

    In whatever order a processor adds n products, it is off by n/2 of these at most, and by fewer
    than √n as a rule.
    """
    output = faster(x)
    exact = deepcopy(convolution).double()
    expected = exact(x.double())
    assert (output.shape, output.dtype) == (expected.shape, torch.float32)
    for parameter in exact.parameters():
        parameter.copy_(parameter.abs())
    unit = torch.finfo(torch.float32).eps * exact(x.double().abs()).max()
    return ((output - expected).abs().max() / unit).item()


@settings(max_examples=60)
@example(1, 1, 1, 1, 1, True)
@example(2, 130, 129, 6, 1000, False)  # several chunks, the last of them cut off
@given(
    st.integers(1, 3),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
)
def test_winograd_is_the_convolution(count, inputs, outputs, height, width, bias):
    convolution = nn.Conv2d(inputs, outputs, 3, bias=bias)
    x = noise(count, inputs, height + 2, width + 2)
    with torch.inference_mode():
        # Its transforms enlarge errors about tenfold.
        assert error(WinogradConvolution(convolution), convolution, x) < 100


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(1, 3, 4), (2, 37, 70)], ids=str)
def test_winograd_in_16_bits_errs_about_as_a_convolution_does(dtype, size):
    count, height, width = size
    direct = nn.Conv2d(96, 100, 3)
    x = noise(count, 96, height, width)
    with torch.inference_mode():
        exact = deepcopy(direct).double()(x.double())
        direct, x = direct.to(dtype), x.to(dtype)
        error, usual = (
            (layer(x).double() - exact).square().mean().sqrt()
            for layer in (WinogradConvolution(direct), direct)
        )
    assert error < 3 * usual


@pytest.mark.parametrize("faster", [True, False])
def test_in_16_bits_winograd_is_taken_where_it_is_faster(faster, measuring):
    network = ResnetGenerator(3, 3, GeneratorConfig(channels=32, blocks=1)).to(torch.bfloat16)
    quicken_16_bits(deepcopy(network))
    remember_speed("convolutions in translation", "winograd", 2.0 if faster else 0.5)
    quicken_16_bits(network)
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(WinogradConvolution) == (2 if faster else 0)
    assert kinds.count(FewOutputsConvolution) == 1


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("outputs", [1, 3, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_few_outputs_are_those_of_the_convolution(kernel, outputs, bias):
    convolution = nn.Conv2d(5, outputs, kernel, bias=bias)
    with torch.inference_mode():
        assert error(FewOutputsConvolution(convolution), convolution, noise(2, 5, 11, 13)) < 10


@pytest.mark.parametrize("size", [(1, 2), (7, 5), (700, 900)])
def test_instance_norm_is_exact_at_every_size(size):
    x = (noise(2, 3, *size) * 0.5 + 1).contiguous(memory_format=torch.channels_last)
    expected = nn.InstanceNorm2d(3)(x.double())
    # Rounding x costs 4e-7; a sum of all of the largest in float32 would cost 1e-3.
    assert (ExactInstanceNorm(3)(x) - expected).abs().max() < 2e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("side", [100, 2048])
def test_instance_norm_in_16_bits_is_off_by_their_rounding_only(dtype, side):
    x = (noise(1, 1, side, side) + 10).to(dtype).contiguous(memory_format=torch.channels_last)
    expected = nn.InstanceNorm2d(1)(x.double())
    difference = GroupedInstanceNorm(1)(x).double() - expected
    # The rounding of the result alone is up to half of it.
    assert (difference.abs() / (1 + expected.abs())).max() < torch.finfo(dtype).eps


def generators() -> tuple[ResnetGenerator, ResnetGenerator]:
    """A plain one, and its quickened copy."""
    plain, quick = (
        ResnetGenerator(3, 3, GeneratorConfig(channels=32, blocks=3)).eval() for _ in range(2)
    )
    enlarge_weights(plain)
    with torch.no_grad():
        plain.model[-2].weight /= 8  # or nearly every output were 1 or -1
    quick.load_state_dict(plain.state_dict())
    quicken(quick)
    return plain, quick


PLAIN, QUICK = generators()
EXACT = deepcopy(PLAIN).double()


def test_a_quickened_generator_computes_the_same():
    kinds = [type(module) for module in QUICK.modules()]
    assert kinds.count(WinogradConvolution) == 6
    assert kinds.count(FewOutputsConvolution) == 1
    image = noise(2, 3, 60, 76).clamp(-1, 1)
    with torch.inference_mode():
        exact = EXACT(image.double())
        assert stray(QUICK(image), exact) < 5 * stray(PLAIN(image), exact)


@settings(max_examples=15)
@given(st.integers(3, 20), st.integers(3, 12), st.integers(4, 90))
def test_in_stripes_too(height, width, stripe_height):
    image = noise(1, 3, 4 * height, 4 * width).clamp(-1, 1)
    with torch.inference_mode():
        exact, striped = EXACT(image.double()), StripedGenerator(QUICK, stripe_height)(image)
        assert stray(striped, exact) < 3 * stray(QUICK(image), exact)


def test_enlarged_maps_are_convolved_by_the_faster_layers():
    config = GeneratorConfig(channels=48, blocks=0, upsampling="nearest")
    network = ResnetGenerator(3, 3, config).eval()
    enlarge_weights(network)
    quick = deepcopy(network)
    quicken(quick)
    kinds = [type(module) for module in quick.modules()]
    assert kinds.count(WinogradConvolution) == 1
    image = noise(1, 3, 28, 36).clamp(-1, 1)
    with torch.inference_mode():
        exact = deepcopy(network).double()(image.double())
        assert stray(quick(image), exact) < 5 * stray(network(image), exact)


@pytest.mark.parametrize("norm", ["group", "demodulated"])
def test_generators_of_other_norms_are_quickened_too(norm):
    network = ResnetGenerator(3, 3, GeneratorConfig(channels=32, blocks=1, norm=norm)).eval()
    enlarge_weights(network)
    with torch.no_grad():
        network.model[-2].weight /= 8
    quick = deepcopy(network)
    quicken(quick)
    assert [type(module) for module in quick.modules()].count(WinogradConvolution) == 2
    image = noise(1, 3, 60, 76).clamp(-1, 1)
    with torch.inference_mode():
        exact = deepcopy(network).double()(image.double())
        for output in (quick(image), StripedGenerator(quick, 16)(image)):
            assert stray(output, exact) < 5 * stray(network(image), exact)


@pytest.mark.parametrize("size", [(7, 5), (200, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_is_exact_at_every_size(size, dtype):
    x = (noise(1, 32, *size) * 0.5 + 1).to(dtype).contiguous(memory_format=torch.channels_last)
    norm = nn.GroupNorm(2, 32, dtype=dtype)
    enlarge_weights(norm)
    expected = deepcopy(norm).double()(x.double())
    largest = 1e-5 if dtype == torch.float32 else 2**-8
    assert (ExactGroupNorm(norm)(x) - expected).abs().max() < largest * expected.abs().max()


def test_strided_padded_and_narrow_convolutions_stay():
    network = UnetGenerator(3, 3, GeneratorConfig("unet", channels=4, levels=5))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    quicken(network)
    assert convolutions == [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def flat_pictures() -> dict[str, Tensor]:
    """Pictures whose first maps hardly vary, so that a norm enlarges every error."""
    half, disc, dot = (torch.ones(1, 3, 64, 64) for _ in range(3))
    half[:, :, 32:] = 0.2
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc[:, :, (rows - 30) ** 2 + (columns - 25) ** 2 < 200] = -0.9
    dot[:, :, 20:24, 40:44] = 0.5
    return {"half": half, "disc": disc, "dot": dot}


@pytest.mark.parametrize("name", flat_pictures())
def test_flat_pictures_are_as_exact(name):
    image = flat_pictures()[name]
    torch.manual_seed(0)
    plain = build_generator(GeneratorConfig(channels=32, blocks=3)).eval()
    quick = deepcopy(plain)
    quicken(quick)
    with torch.inference_mode():
        usual, exact = plain(image), deepcopy(plain).double()(image.double())
        for output in (quick(image), StripedGenerator(quick, 16)(image)):
            assert stray(output, exact) < 5 * stray(usual, exact)
