"""Networks have the reference's keys and compute what their description says."""

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
import record_trajectory as plain
import torch
import torch.nn.functional as F
from tiny import enlarge_weights
from torch import Tensor, nn

from cyclegan_style.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_style.networks import build_discriminator, build_generator, mixes_samples
from cyclegan_style.networks.layers import (
    DemodulatedConvolution,
    GeneratorNormName,
    build_norm,
    demodulated,
    kernels,
)
from cyclegan_style.networks.resampling import (
    EnlargingConvolution,
    FullSizeLevel,
    SubpixelDoubling,
    changed,
    halving,
)
from cyclegan_style.networks.residual_unet import PreactivatedBlock

pytestmark = pytest.mark.numeric

Shapes = dict[str, tuple[int, ...]]


def with_biases(weights: Shapes, transposed: tuple[str, ...] = ()) -> Shapes:
    """The weights' shapes, and for each layer the shape of its bias."""
    biases = {
        f"{name}.bias": (shape[1] if name in transposed else shape[0],)
        for name, shape in weights.items()
    }
    return {f"{name}.weight": shape for name, shape in weights.items()} | biases


def resnet_shapes(blocks: int, dropout: bool) -> Shapes:
    second = 6 if dropout else 5
    weights = {"model.1": (64, 3, 7, 7), "model.4": (128, 64, 3, 3), "model.7": (256, 128, 3, 3)}
    for block in range(10, 10 + blocks):
        weights[f"model.{block}.conv_block.1"] = (256, 256, 3, 3)
        weights[f"model.{block}.conv_block.{second}"] = (256, 256, 3, 3)
    up = (f"model.{10 + blocks}", f"model.{13 + blocks}")
    weights |= {up[0]: (256, 128, 3, 3), up[1]: (128, 64, 3, 3)}
    weights[f"model.{17 + blocks}"] = (3, 64, 7, 7)
    return with_biases(weights, transposed=up)


def unet_shapes(levels: int, channels: int) -> Shapes:
    widths = [channels * min(2**depth, 8) for depth in range(levels)]
    place = "model.model"
    weights = {f"{place}.0": (widths[0], 3, 4, 4), f"{place}.3": (2 * widths[0], 3, 4, 4)}
    up = [f"{place}.3"]
    place += ".1.model"
    for outer, inner in pairwise(widths[:-1]):
        weights |= {f"{place}.1": (inner, outer, 4, 4), f"{place}.5": (2 * inner, outer, 4, 4)}
        up.append(f"{place}.5")
        place += ".3.model"
    deepest = widths[-1]
    weights |= {f"{place}.1": (deepest, deepest, 4, 4), f"{place}.3": (deepest, deepest, 4, 4)}
    return with_biases(weights, transposed=(*up, f"{place}.3"))


PATCH_WEIGHTS = {
    1: {"model.2": (128, 64, 4, 4), "model.5": (1, 128, 4, 4)},
    2: {"model.2": (128, 64, 4, 4), "model.5": (256, 128, 4, 4), "model.8": (1, 256, 4, 4)},
    3: {
        "model.2": (128, 64, 4, 4),
        "model.5": (256, 128, 4, 4),
        "model.8": (512, 256, 4, 4),
        "model.11": (1, 512, 4, 4),
    },
    4: {
        "model.2": (128, 64, 4, 4),
        "model.5": (256, 128, 4, 4),
        "model.8": (512, 256, 4, 4),
        "model.11": (512, 512, 4, 4),
        "model.14": (1, 512, 4, 4),
    },
}
PIXEL_WEIGHTS = {"net.0": (64, 3, 1, 1), "net.2": (128, 64, 1, 1), "net.5": (1, 128, 1, 1)}


def shapes(network: nn.Module) -> Shapes:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("blocks", [6, 9])
@pytest.mark.parametrize("dropout", [False, True])
def test_resnet_has_the_reference_keys(blocks, dropout):
    generator = build_generator(GeneratorConfig(blocks=blocks, dropout=dropout))

    assert shapes(generator) == resnet_shapes(blocks, dropout)


@pytest.mark.parametrize("levels", [5, 7, 8])
def test_unet_has_the_reference_keys(levels):
    unet = build_generator(GeneratorConfig("unet", channels=4, levels=levels))

    assert shapes(unet) == unet_shapes(levels, channels=4)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_patch_discriminator_has_the_reference_keys(layers):
    discriminator = build_discriminator(DiscriminatorConfig(layers=layers))

    expected = with_biases({"model.0": (64, 3, 4, 4)} | PATCH_WEIGHTS[layers])
    assert shapes(discriminator) == expected


def test_pixel_discriminator_has_the_reference_keys():
    assert shapes(build_discriminator(DiscriminatorConfig("pixel"))) == with_biases(PIXEL_WEIGHTS)


def pairs(norm: str, dropout: bool = False, channels: int = 3) -> dict[str, tuple[nn.Module, ...]]:
    """Each network of the package beside the one of the plain implementation."""
    generator = {"channels": 2, "norm": norm, "dropout": dropout}
    discriminator = {"channels": 2, "norm": norm}
    built = {
        "resnet": (
            build_generator(GeneratorConfig(blocks=2, **generator), channels, channels),
            plain.Resnet(channels, channels, 2, norm, dropout, 2),
        ),
        "unet": (
            build_generator(GeneratorConfig("unet", levels=6, **generator), channels, channels),
            plain.Unet(channels, channels, 6, 2, norm, dropout),
        ),
        "patch": (
            build_discriminator(DiscriminatorConfig(layers=3, **discriminator), channels),
            plain.NLayerDiscriminator(channels, 2, 3, norm),
        ),
        "pixel": (
            build_discriminator(DiscriminatorConfig("pixel", **discriminator), channels),
            plain.PixelDiscriminator(channels, 2, norm),
        ),
    }
    for ours, reference in built.values():
        ours.double()
        reference.double()
        enlarge_weights(reference)
    return built


@pytest.mark.parametrize("name", ["resnet", "unet", "patch", "pixel"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_outputs_and_gradients_are_those_of_the_plain_networks(name, norm):
    check_equal_computation(*pairs(norm)[name], channels=3)


@pytest.mark.parametrize("name", ["resnet", "unet"])
def test_dropout_falls_in_the_places_of_the_plain_networks(name):
    check_equal_computation(*pairs("instance", dropout=True)[name], channels=3)


@pytest.mark.parametrize("name", ["resnet", "unet", "patch", "pixel"])
@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_pass(name, channels):
    check_equal_computation(*pairs("instance", channels=channels)[name], channels=channels)


def check_equal_computation(ours: nn.Module, reference: nn.Module, channels: int) -> None:
    """Load the plain network's weights and compare outputs and all gradients."""
    assert shapes(ours) == shapes(reference)
    ours.load_state_dict(reference.state_dict())
    outputs, gradients = zip(
        *(output_and_gradients(network, channels) for network in (ours, reference)), strict=True
    )
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)
    assert outputs[0].std() > 1e-3


def output_and_gradients(network: nn.Module, channels: int) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(3)
    images = torch.rand(2, channels, 64, 64, dtype=torch.float64, requires_grad=True)
    output = network(images)
    (output * torch.rand_like(output)).sum().backward()
    return output.detach(), [images.grad, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("name", ["resnet", "unet", "patch", "pixel"])
@pytest.mark.parametrize("count", [1, 2])
def test_maps_and_gradients_keep_their_channels_last(name, count):
    network, _ = pairs("instance")[name]
    network.to(torch.float32, memory_format=torch.channels_last)
    maps, gradients = [], []

    def watch(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        maps.append(output)
        output.register_hook(gradients.append)

    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(watch)
    images = torch.rand(count, 3, 64, 64, requires_grad=True)
    output = network(images.contiguous(memory_format=torch.channels_last))
    (output * torch.rand_like(output)).sum().backward()

    assert len(maps) == len(gradients) >= 6
    assert all(each.stride(1) == 1 or each.shape[1] == 1 for each in maps + gradients)


@pytest.mark.parametrize("count", [1, 3])
def test_instance_norm_is_the_same_in_either_order(count):
    layer, maps = build_norm("instance", 4), random_maps(count)
    results = []
    for order in (torch.contiguous_format, torch.channels_last):
        x = maps.contiguous(memory_format=order).requires_grad_(True)
        y = layer(x)
        (first,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append((y, first, second))

    torch.testing.assert_close(results[0][0], normalised(maps), rtol=0, atol=1e-12)
    for contiguous, channels_last in zip(*results, strict=True):
        torch.testing.assert_close(channels_last, contiguous, rtol=1e-9, atol=1e-9)


def random_maps(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, 5, 7, generator=generator, dtype=torch.float64) + 1


def normalised(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=(2, 3), keepdim=True)
    return centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize(
    ("options", "mode", "mode_of_halvings"),
    [
        ({}, "reflect", "constant"),
        ({"padding": "reflect", "first_kernel": 3}, "reflect", "reflect"),
        ({"padding": "zero", "last_kernel": 5}, "constant", "constant"),
        ({"padding": "replicate", "first_kernel": 15, "last_kernel": 1}, "replicate", "replicate"),
    ],
)
def test_resnet_is_the_formula_of_its_layers(options, mode, mode_of_halvings):
    config = GeneratorConfig(channels=3, blocks=2, **options)
    generator = build_generator(config).double()
    enlarge_weights(generator)
    weights = generator.state_dict()

    def convolve(x: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def halve(x: Tensor, name: str) -> Tensor:
        return convolve(F.pad(x, (1, 1, 1, 1), mode=mode_of_halvings), name, stride=2)

    def double(x: Tensor, name: str) -> Tensor:
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1, output_padding=1)

    def pad(x: Tensor, width: int) -> Tensor:
        return F.pad(x, (width,) * 4, mode=mode)

    first, last = config.first_kernel or 7, config.last_kernel or 7
    images = torch.rand(2, 3, 20, 28, dtype=torch.float64) * 2 - 1
    x = F.relu(normalised(convolve(pad(images, first // 2), "model.1")))
    x = F.relu(normalised(halve(x, "model.4")))
    x = F.relu(normalised(halve(x, "model.7")))
    for block in ("model.10.conv_block", "model.11.conv_block"):
        inner = F.relu(normalised(convolve(pad(x, 1), f"{block}.1")))
        x = x + normalised(convolve(pad(inner, 1), f"{block}.5"))
    x = F.relu(normalised(double(x, "model.12")))
    x = F.relu(normalised(double(x, "model.15")))
    expected = torch.tanh(convolve(pad(x, last // 2), "model.19"))

    torch.testing.assert_close(generator(images), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_verdict_sees_a_patch_of_the_paper_s_size(layers, field):
    discriminator = build_discriminator(DiscriminatorConfig(channels=1, layers=layers, norm="none"))
    enlarge_weights(discriminator)
    image = torch.rand(1, 3, 128, 128, requires_grad=True)

    verdicts = discriminator(image)
    middle = verdicts.shape[-1] // 2
    verdicts[0, 0, middle, middle].backward()

    seen = image.grad[0].abs().sum(0) > 0
    for side in (seen.any(0), seen.any(1)):
        places = side.nonzero().flatten()
        assert places[-1] - places[0] + 1 == field


def test_sizes_of_verdicts():
    image = torch.rand(1, 3, 256, 256)
    patch = build_discriminator(DiscriminatorConfig(channels=1))
    pixel = build_discriminator(DiscriminatorConfig("pixel", channels=1))

    assert patch(image).shape == (1, 1, 30, 30)
    assert pixel(image).shape == (1, 1, 256, 256)


def test_translations_keep_any_size_that_is_divisible():
    resnet = build_generator(GeneratorConfig(channels=1, blocks=1), 3, 1)
    unet = build_generator(GeneratorConfig("unet", channels=1, levels=5), 1, 4)

    assert resnet(torch.rand(2, 3, 20, 44)).shape == (2, 1, 20, 44)
    assert unet(torch.rand(2, 1, 32, 96)).shape == (2, 4, 32, 96)


RESAMPLINGS = [
    {"upsampling": upsampling, "downsampling": downsampling, "skip": skip}
    for upsampling in ("transposed", "nearest", "bilinear")
    for downsampling in ("strided", "blurred")
    for skip in (False, True)
] + [{"norm": "group"}, {"norm": "demodulated"}]
FULL_SIZE = [
    {"full_size_channels": 3, "upsampling": upsampling, "skip": skip}
    for upsampling in ("transposed", "nearest", "bilinear")
    for skip in (False, True)
]
ARCHITECTURES = {
    "resnet": GeneratorConfig(channels=4, blocks=1),
    "unet": GeneratorConfig("unet", 4, levels=5),
    "residual_unet": GeneratorConfig("residual_unet", 4, levels=5),
}


@pytest.mark.parametrize(
    ("config", "options"),
    [(config, options) for config in ARCHITECTURES.values() for options in RESAMPLINGS]
    + [(ARCHITECTURES["unet"], options) for options in FULL_SIZE]
    + [(ARCHITECTURES["residual_unet"], options) for options in FULL_SIZE],
)
def test_every_halving_and_doubling_keeps_sizes_and_passes_gradients_on(config, options):
    torch.manual_seed(0)
    network = build_generator(replace(config, **options))
    images = (torch.rand(2, 3, 64, 32) * 2 - 1).requires_grad_(True)

    output = network(images)
    (output * torch.rand_like(output)).sum().backward()

    assert output.shape == images.shape
    assert output.abs().max() <= 1
    # What an instance norm subtracts, biases before it among others, gets what rounding leaves.
    weights = [value for key, value in network.named_parameters() if key.endswith("weight")]
    assert all(each.grad.abs().max() > 1e-9 for each in (images, *weights))


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_blur_and_skip_leave_keys_and_first_weights_as_they_are_but_the_last(config):
    states = []
    for options in ({}, {"downsampling": "blurred", "skip": True}):
        torch.manual_seed(0)
        states.append(build_generator(replace(config, **options)).state_dict())

    plain, other = states
    assert plain.keys() == other.keys()
    differing = {key for key in plain if not torch.equal(plain[key], other[key])}
    last = {"resnet": "model.18", "unet": "model.model.3", "residual_unet": "model.4"}
    last = f"{last[config.architecture]}.weight"
    assert differing == {last}
    torch.testing.assert_close(other[last], 0.05 * plain[last])


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES)
@pytest.mark.parametrize(
    ("upsampling", "norm"),
    [
        ("transposed", "instance"),
        ("nearest", "instance"),
        ("bilinear", "instance"),
        ("transposed", "group"),
        ("transposed", "demodulated"),
    ],
)
def test_with_a_skip_training_begins_near_the_identity(config, upsampling, norm):
    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    images[:, :, :8] = images[:, :, :8].sign()  # black and white
    distances = []
    for skip in (False, True):
        network = build_generator(
            replace(config, channels=32, upsampling=upsampling, norm=norm, skip=skip), 3, 3
        )
        with torch.no_grad():
            distances.append((network(images) - images).abs().mean().item())

    assert distances[0] > 0.4
    assert distances[1] < 0.06


def test_a_changed_picture_is_the_formula():
    config = GeneratorConfig(channels=3, blocks=1)
    changing = build_generator(replace(config, skip=True)).double()
    enlarge_weights(changing)
    plain_network = build_generator(config).double()
    plain_network.load_state_dict(changing.state_dict())
    images = torch.rand(2, 3, 20, 28, dtype=torch.float64) * 2 - 1

    change = torch.atanh(plain_network(images))
    expected = torch.tanh(torch.atanh(0.96 * images) + change)

    torch.testing.assert_close(changing(images), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES)
@pytest.mark.parametrize("downsampling", ["strided", "blurred"])
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_demodulated_layers_compute_the_same_whatever_the_scale_of_their_weights(
    config, downsampling, upsampling
):
    config = replace(config, norm="demodulated", downsampling=downsampling, upsampling=upsampling)
    network = build_generator(config).double()
    enlarge_weights(network)
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64) * 2 - 1
    before = network(images)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    for layer in layers[:-1]:
        layer.weight.data *= 7
        found = kernels(layer).transpose(0, int(isinstance(layer, nn.ConvTranspose2d)))
        norms = torch.linalg.vector_norm(found, dim=(1, 2, 3))
        torch.testing.assert_close(norms, norms[:1].expand_as(norms), rtol=1e-6, atol=0)

    assert kernels(layers[-1]) is layers[-1].weight
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-6)
    assert before.std() > 0.01


@pytest.mark.parametrize("blocks", [2, 9])
def test_demodulated_maps_keep_their_scale(blocks):
    torch.manual_seed(0)
    network = build_generator(GeneratorConfig(channels=16, blocks=blocks, norm="demodulated"))
    x, squares = torch.rand(1, 3, 64, 64) * 2 - 1, []
    with torch.no_grad():
        for layer in network.model[:-3]:
            x = layer(x)
            squares += [x.square().mean().item()] if isinstance(layer, nn.ReLU) else []

    assert len(squares) == 5
    assert 0.1 < min(squares) < max(squares) < 3


@pytest.mark.parametrize("norm", get_args(GeneratorNormName))
@pytest.mark.parametrize("upsampling", ["transposed", "subpixel"])
@pytest.mark.parametrize("downsampling", ["strided", "unshuffled"])
def test_unshuffled_and_subpixel_layers_keep_sizes_and_pass_gradients_on(
    norm, upsampling, downsampling
):
    torch.manual_seed(0)
    config = GeneratorConfig(
        channels=4, blocks=1, norm=norm, upsampling=upsampling, downsampling=downsampling
    )
    network = build_generator(config)
    enlarge_weights(network)
    images = (torch.rand(2, 3, 20, 36) * 2 - 1).requires_grad_(True)

    output = network(images)
    (output * torch.rand_like(output)).sum().backward()

    assert output.shape == images.shape
    weights = [value for key, value in network.named_parameters() if key.endswith("weight")]
    assert all(each.grad.abs().max() > 1e-9 for each in (images, *weights))


def test_subpixel_layers_begin_without_a_grid():
    layers = build_generator(GeneratorConfig(channels=4, blocks=0, upsampling="subpixel"))
    doublings = [layer for layer in layers.modules() if isinstance(layer, SubpixelDoubling)]
    assert len(doublings) == 2
    for layer in doublings:
        maps = layer(torch.rand(1, layer[1].in_channels, 8, 6))
        torch.testing.assert_close(
            maps, maps[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
        )
        assert maps.std() > 1e-3


@pytest.mark.parametrize("options", [{"upsampling": "subpixel"}, {"downsampling": "unshuffled"}])
def test_unshuffled_and_subpixel_layers_are_for_the_resnet(options):
    with pytest.raises(ValueError, match="are for the resnet"):
        build_generator(replace(ARCHITECTURES["unet"], **options))


@pytest.mark.parametrize("levels", [5, 8])
def test_demodulated_maps_of_a_residual_unet_keep_their_scale(levels):
    torch.manual_seed(0)
    config = GeneratorConfig("residual_unet", 8, levels=levels, norm="demodulated")
    network, squares = build_generator(config), []
    for layer in network.modules():
        if isinstance(layer, PreactivatedBlock):
            layer.register_forward_hook(lambda _, __, y: squares.append(y.square().mean().item()))
    with torch.no_grad():
        network(torch.rand(1, 3, 256, 256) * 2 - 1)

    assert len(squares) == 2 * (levels - 1)
    assert 0.1 < min(squares) < max(squares) < 5


def test_demodulation_and_group_norm_are_their_formulas():
    weights = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    norms = torch.linalg.vector_norm(demodulated(weights, 0, 1.5), dim=(1, 2, 3))
    torch.testing.assert_close(norms, torch.full_like(norms, 1.5), rtol=1e-6, atol=0)
    outputs = nn.Conv2d(8, 6, 3, padding=1).double()
    layer = DemodulatedConvolution(8, 6, 3, padding=1).double()
    layer.load_state_dict(outputs.state_dict())
    images = torch.rand(2, 8, 9, 7, dtype=torch.float64)
    scale = 2**0.5 / torch.linalg.vector_norm(outputs.weight, dim=(1, 2, 3)).view(1, -1, 1, 1)
    bias = outputs.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(layer(images), (outputs(images) - bias) * scale + bias)

    maps = torch.randn(2, 48, 5, 7, dtype=torch.float64) + 1
    groups = maps.view(2, 3, -1)
    expected = (groups - groups.mean(2, keepdim=True)) / groups.std(2, keepdim=True, correction=0)
    norm = build_norm("group", 48).double()
    torch.testing.assert_close(norm(maps), expected.view_as(maps), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (24, 1), (32, 2), (40, 2), (96, 6)])
def test_groups_have_16_channels_or_more(channels, groups):
    assert build_norm("group", channels).num_groups == groups


@pytest.mark.parametrize(
    "field",
    ["architecture", "norm", "upsampling", "downsampling", "padding"],
)
def test_layers_that_there_are_not_are_refused(field):
    with pytest.raises(ValueError, match=f"generator.{field} is 'other'"):
        build_generator(replace(GeneratorConfig(), **{field: "other"}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_white_stays_a_number_in_16_bits(dtype):
    images = torch.tensor([-1.01, -1, 0, 1, 1.01], dtype=dtype).view(1, 1, 1, 5)

    output = changed(images, torch.zeros_like(images))

    expected = 0.96 * torch.tensor([-1.0, -1, 0, 1, 1])
    assert output.dtype == torch.float32
    torch.testing.assert_close(output.flatten(), expected, rtol=0, atol=1e-6)


def test_a_change_needs_as_many_channels():
    with pytest.raises(ValueError, match="adds the 1 channels of the input to the 3"):
        build_generator(GeneratorConfig(channels=2, skip=True), 1, 3)


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 15])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (7, 4)])
def test_an_enlarging_convolution_is_a_convolution_of_the_enlarged_map(
    upsampling, kernel, height, width
):
    layer = EnlargingConvolution(3, 2, kernel, upsampling).double()
    images = torch.rand(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    enlarged = F.interpolate(images, scale_factor=2, mode=upsampling)
    padded = F.pad(enlarged, (kernel // 2,) * 4, "replicate")
    expected = F.conv2d(padded, layer.weight, layer.bias)
    found = layer(images)
    direction = torch.rand_like(expected)

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad((found * direction).sum(), [images, layer.weight]),
        torch.autograd.grad((expected * direction).sum(), [images, layer.weight]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("architecture", ["unet", "residual_unet"])
def test_maps_at_full_size_tell_single_pixels_apart(architecture):
    """What comes from half the resolution changes pixels in blocks; a look at them does not."""
    config = replace(ARCHITECTURES[architecture], upsampling="nearest", full_size_channels=16)
    torch.manual_seed(0)
    network = build_generator(config).double()
    level = next(m for m in network.modules() if isinstance(m, FullSizeLevel))
    nn.init.zeros_(level.below[-1].weight)
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    other = images.clone()
    other[..., 10, 13] += 0.1

    differing = (network(images) != network(other)).any(1)[0].nonzero()

    assert differing.min(0).values.tolist() == [8, 11]  # two kernels of 3 × 3 around the pixel
    assert differing.max(0).values.tolist() == [12, 15]


def test_a_blurred_halving_is_a_convolution_of_a_binomial_blur():
    layer = halving(3, 2, 3, GeneratorConfig(downsampling="blurred")).double()
    plain_layer = halving(3, 2, 3, GeneratorConfig()).double()
    plain_layer.load_state_dict(layer.state_dict())
    images = torch.rand(2, 3, 8, 6, dtype=torch.float64)
    taps = torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4
    kernel = taps.outer(taps).expand(3, 1, 3, 3)
    smooth = F.conv2d(F.pad(images, (1, 1, 1, 1), "reflect"), kernel, groups=3)

    torch.testing.assert_close(layer(images), plain_layer(smooth), rtol=0, atol=1e-12)
    # Stripes of one pixel, which a stride would take for flat, are grey to it.
    stripes = torch.tensor([1.0, -1], dtype=torch.float64).repeat(4).expand(1, 3, 8, 8)
    inner = (layer(stripes) - layer(torch.zeros_like(stripes)))[..., 1:-1, 1:-1]
    assert inner.abs().max() < 1e-12


def test_weights_begin_as_in_the_paper():
    torch.manual_seed(0)
    networks = [
        build_generator(GeneratorConfig(channels=32, blocks=2, norm="batch")),
        build_generator(GeneratorConfig("unet", channels=16, levels=5)),
        build_discriminator(DiscriminatorConfig(channels=32)),
        build_discriminator(DiscriminatorConfig("pixel")),
    ]
    for network in networks:
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4:
                spread = 0.02 * (1 + 5 / (2 * parameter.numel()) ** 0.5)
                assert parameter.std() < spread, name
                assert parameter.std() > 0.04 - spread, name
                assert abs(parameter.mean()) < 5 * 0.02 / parameter.numel() ** 0.5, name
            elif name.endswith("bias"):
                assert not parameter.any(), name
            else:
                assert 0.9 < parameter.mean() < 1.1, name
                assert 0.01 < parameter.std() < 0.03, name


def test_spectral_norm_bounds_every_layer():
    torch.manual_seed(0)
    config = DiscriminatorConfig(channels=4, layers=2, spectral_norm=True)
    discriminator = build_discriminator(config)
    enlarge_weights(discriminator)
    for _ in range(50):
        discriminator(torch.rand(1, 3, 32, 32))

    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 4
    for layer in convolutions:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert largest.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["resnet", "unet", "patch", "pixel"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_mixes_samples_tells_whether_images_of_a_batch_touch(name, norm):
    network, _ = pairs(norm)[name]
    enlarge_weights(network)
    batch = torch.rand(3, 3, 64, 64, dtype=torch.float64)

    difference = (network(batch)[:1] - network(batch[:1])).abs().max()

    assert mixes_samples(network) == (norm == "batch")
    assert (difference > 1e-6) == mixes_samples(network)


def test_a_discriminator_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"discriminator\.architecture is 'round'"):
        build_discriminator(DiscriminatorConfig(architecture="round"))
