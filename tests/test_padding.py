"""What layers see beyond a map's border, and kernels at a generator's ends."""

from copy import deepcopy
from dataclasses import asdict, replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from tiny import enlarge_weights, equal_tensors, stray
from torch import Tensor, nn

from cyclegan_style.applying.cpu_layers import FewOutputsConvolution, quicken
from cyclegan_style.applying.tiling import StripedGenerator
from cyclegan_style.benchmarks.several_runs import field_changes
from cyclegan_style.config import Config, GeneratorConfig, model_yaml, to_yaml
from cyclegan_style.errors import UserError
from cyclegan_style.models.configurations import beyond_the_reference, differing_fields
from cyclegan_style.models.export import export_model
from cyclegan_style.models.model_files import load_generator
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.layers import Border, Padding
from cyclegan_style.networks.resampling import EnlargingConvolution, halving, last_layer
from cyclegan_style.networks.sizes import LARGEST_KERNEL, SMALLEST_SIDE
from cyclegan_style.runs.run_folder import refuse_differences
from cyclegan_style.runs.tracking import flatten

pytestmark = pytest.mark.numeric

PADDINGS = get_args(Padding)
MODES = {"reflect": "reflect", "zero": "constant", "replicate": "replicate"}
OTHER_LAYERS = {"upsampling": "bilinear", "downsampling": "blurred"}
GENERATORS = {
    "resnet": GeneratorConfig(channels=4, blocks=2),
    "resnet, resampled": GeneratorConfig(channels=4, blocks=1, **OTHER_LAYERS),
    "resnet, pixels as channels": GeneratorConfig(
        channels=4, blocks=1, upsampling="subpixel", downsampling="unshuffled"
    ),
    "unet": GeneratorConfig("unet", 4, levels=5),
    "unet, resampled": GeneratorConfig("unet", 4, levels=5, **OTHER_LAYERS),
    "unet, full size": GeneratorConfig(
        "unet", 4, levels=5, upsampling="nearest", full_size_channels=2
    ),
    "residual_unet": GeneratorConfig("residual_unet", 4, levels=5),
    "residual_unet, resampled": GeneratorConfig("residual_unet", 4, levels=5, **OTHER_LAYERS),
}
OTHER_KERNELS = {
    "unet": {"first_kernel": 2, "last_kernel": 16},
    "unet, resampled": {"first_kernel": 2, "last_kernel": 7},
    "unet, full size": {"first_kernel": 6, "last_kernel": 9},
    "residual_unet": {"first_kernel": 16, "last_kernel": 2},
    "residual_unet, resampled": {"first_kernel": 10, "last_kernel": 15},
}


def with_other_kernels(name: str) -> GeneratorConfig:
    return replace(GENERATORS[name], **OTHER_KERNELS[name])


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64) * 2 - 1


def network(config: GeneratorConfig) -> nn.Module:
    generator = build_generator(config).double().eval()
    enlarge_weights(generator)
    return generator.requires_grad_(False)


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_border_keeps_the_number_format(padding):
    torch.manual_seed(0)
    x = torch.randn(1, 3, 5, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        bordered = Border(2, padding)(x)
    assert bordered.dtype == torch.bfloat16
    assert bordered.float().equal(F.pad(x.float(), (2, 2, 2, 2), MODES[padding]))


@pytest.mark.parametrize("downsampling", ["strided", "blurred"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_halvings_keep_maps_of_the_number_format(padding, downsampling):
    layer = halving(3, 2, 4, GeneratorConfig(padding=padding, downsampling=downsampling))
    x = torch.randn(1, 3, 8, 6).bfloat16().requires_grad_()
    kept: list[torch.dtype] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.dtype)
        return tensor

    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        layer(x)

    assert set(kept) == {torch.bfloat16}


@pytest.mark.parametrize("name", GENERATORS)
def test_keys_and_first_weights_are_the_same_but_not_the_border(name):
    states, outputs = [], []
    for padding in (None, *PADDINGS):
        config = replace(GENERATORS[name], padding=padding)
        torch.manual_seed(0)
        states.append(build_generator(config).state_dict())
        outputs.append(network(config)(picture(64, 32)))

    assert all(list(state) == list(states[0]) for state in states)
    assert all(equal_tensors(state, states[0]) for state in states)
    reflect, zero, replicate = outputs[1:]
    for one, other in ((reflect, zero), (reflect, replicate), (zero, replicate)):
        assert (one - other)[..., 0, :].abs().max() > 1e-6


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("kernel", "norm"),
    [(3, "instance"), (4, "demodulated"), (2, "instance"), (8, "demodulated")],
)
def test_halvings_are_of_padded_maps(padding, kernel, norm):
    config = GeneratorConfig(norm=norm, padding=padding)
    plain = halving(3, 2, kernel, config).double()
    blurring = halving(3, 2, kernel, replace(config, downsampling="blurred")).double()
    blurring.load_state_dict(plain.state_dict())
    weight = plain.kernels() if norm == "demodulated" else plain.weight
    images = picture(8, 6)
    taps = torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4
    smooth = F.conv2d(
        F.pad(images, (1, 1, 1, 1), MODES[padding]), taps.outer(taps).expand(3, 1, 3, 3), groups=3
    )

    for layer, seen in ((plain, images), (blurring, smooth)):
        padded = F.pad(seen, ((kernel - 1) // 2,) * 4, MODES[padding])
        expected = F.conv2d(padded, weight, layer.bias, stride=2)
        assert expected.shape == (1, 2, 4, 3)
        torch.testing.assert_close(layer(images), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("kernel", [1, 3, 7, 15])
def test_an_enlarging_convolution_enlarges_a_padded_map(padding, upsampling, kernel):
    layer = EnlargingConvolution(3, 2, kernel, upsampling, padding).double()
    images = picture(6, 5)
    padded = F.pad(images, (4, 4, 4, 4), MODES[padding])
    enlarged = F.interpolate(padded, scale_factor=2, mode=upsampling)
    cut = 8 - kernel // 2

    expected = F.conv2d(enlarged[..., cut:-cut, cut:-cut], layer.weight, layer.bias)

    torch.testing.assert_close(layer(images), expected, rtol=0, atol=1e-12)


@torch.inference_mode()
def assert_equal_in_stripes(generator: nn.Module, image: Tensor, stripe_height: int) -> None:
    striped, whole = StripedGenerator(generator, stripe_height)(image), generator(image)
    torch.testing.assert_close(striped, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_stripes_are_one_pass(name, padding):
    generator = network(replace(GENERATORS[name], padding=padding))
    for stripe_height in (1, 7, 26):
        assert_equal_in_stripes(generator, picture(64, 32), stripe_height)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("first", "last"), [(1, 15), (15, 1), (3, 5)])
def test_stripes_are_one_pass_with_other_kernels(padding, first, last):
    config = GeneratorConfig(channels=4, blocks=1, first_kernel=first, last_kernel=last)
    generator = network(replace(config, padding=padding))
    for height, stripe_height in ((SMALLEST_SIDE, 1), (40, 3), (40, 25)):
        assert_equal_in_stripes(generator, picture(height, SMALLEST_SIDE), stripe_height)


@pytest.mark.parametrize("name", OTHER_KERNELS)
@pytest.mark.parametrize("padding", [None, "reflect"])
def test_stripes_of_a_unet_are_one_pass_with_other_kernels(name, padding):
    generator = network(replace(with_other_kernels(name), padding=padding))
    image = picture(64, 32)
    assert generator(image).shape == image.shape
    for stripe_height in (1, 7, 26):
        assert_equal_in_stripes(generator, image, stripe_height)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(channels=24, blocks=1, first_kernel=3, last_kernel=15),
        replace(GENERATORS["unet, resampled"], full_size_channels=2),
        GENERATORS["unet, resampled"],
        replace(GENERATORS["unet, resampled"], last_kernel=1, full_size_channels=2),
        replace(GENERATORS["unet, resampled"], first_kernel=2, last_kernel=1),
    ],
    ids=["resnet", "unet, full size", "unet", "unet, full size, one pixel", "unet, one pixel"],
)
def test_the_faster_layers_for_cpus(config, padding):
    exact = network(replace(config, padding=padding))
    plain = deepcopy(exact).float()
    quick = deepcopy(plain)
    quicken(quick)
    image = picture(64, 32)
    kinds = [type(module) for module in quick.modules()]
    assert FewOutputsConvolution in kinds
    assert (EnlargingConvolution in kinds) == (config.architecture == "unet")
    with torch.inference_mode():
        expected, usual = exact(image), plain(image.float())
        for output in (quick(image.float()), StripedGenerator(quick, 16)(image.float())):
            assert stray(output, expected) < 5 * stray(usual, expected)


def test_the_largest_kernel_fits_the_smallest_picture():
    generator = network(GeneratorConfig(channels=1, blocks=1, first_kernel=LARGEST_KERNEL))
    assert generator(picture(SMALLEST_SIDE, SMALLEST_SIDE)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(channels=2, blocks=1, padding="zero", first_kernel=3, last_kernel=5),
        *map(with_other_kernels, OTHER_KERNELS),
    ],
    ids=["resnet", *OTHER_KERNELS],
)
def test_a_model_tells_its_padding_and_its_kernels(config, tmp_path):
    generator = network(config).float()
    export_model(tmp_path, {"ab": generator}, model_yaml(config, 3, 3))

    loaded = load_generator(tmp_path)

    assert loaded.config == config
    image = picture(32, 32).float()
    torch.testing.assert_close(loaded.network(image), generator(image), rtol=0, atol=0)


def kernels_of(config: GeneratorConfig) -> tuple[int, int]:
    """Of the built network, whose first layer of its own and last one may be others."""
    layers = [m for m in build_generator(config).modules() if isinstance(m, nn.Conv2d)]
    ends = [layers[0], last_layer(build_generator(config))]
    return ends[0].kernel_size[0], ends[1].kernel_size[0]


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("resnet", (7, 7)),
        ("unet", (4, 4)),
        ("unet, resampled", (4, 3)),
        ("unet, full size", (4, 3)),
        ("residual_unet", (4, 4)),
        ("residual_unet, resampled", (4, 3)),
    ],
)
def test_kernels_that_are_not_chosen_are_the_reference_s(name, kernels):
    first, last = kernels
    usual = GENERATORS[name]
    named = replace(usual, first_kernel=first, last_kernel=last)
    of_before = replace(usual, first_kernel=7, last_kernel=7)

    for config in (usual, named, of_before):
        assert kernels_of(config) == kernels
        assert beyond_the_reference(config) == beyond_the_reference(usual)
        assert not list(differing_fields(config, usual))


def test_seven_is_chosen_where_the_other_kernel_is_not_of_before():
    resampled = replace(GENERATORS["unet, resampled"], last_kernel=7)

    assert kernels_of(resampled) == (4, 7)
    assert list(differing_fields(GENERATORS["unet, resampled"], resampled)) == [
        ("last_kernel", None, 7)
    ]
    assert "generator.last_kernel 7" in beyond_the_reference(resampled)


@pytest.mark.parametrize("name", ["resnet", "unet", "unet, resampled"])
def test_runs_go_on_with_kernels_that_are_the_same_by_another_name(name, tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    of_before = replace(GENERATORS[name], first_kernel=7, last_kernel=7)
    saved, now = tmp_path / "config.yaml", Config(generator=GENERATORS[name])
    saved.write_text(to_yaml(Config(generator=of_before)))

    refuse_differences(tmp_path, saved, now)
    refuse_differences(tmp_path, saved, Config(generator=of_before))
    flat, before = (flatten({"generator": asdict(each)}) for each in (now.generator, of_before))
    assert not field_changes(before, flat)
    other = replace(now.generator, last_kernel=5)
    with pytest.raises(UserError, match=r"\(generator\.last_kernel was None and is now 5\)"):
        refuse_differences(tmp_path, saved, Config(generator=other))


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("padding", "circular", "generator.padding is 'circular'"),
        ("padding", ["zero"], "generator.padding is"),
        ("first_kernel", 2, "generator.first_kernel must be an odd number from 1 to 15, or null"),
        ("first_kernel", 999_999_999, "or null, not 999999999"),
        ("last_kernel", True, "generator.last_kernel must be an odd number from 1 to 15"),
        ("last_kernel", "7", "or null, not '7'"),
        ("last_kernel", [7], "or null, not [7]"),
    ],
)
def test_models_that_ask_for_other_layers_are_refused_in_one_line(
    field, value, complaint, tmp_path
):
    config = GeneratorConfig(channels=1, blocks=0)
    export_model(
        tmp_path,
        {"ab": build_generator(config)},
        model_yaml(replace(config, **{field: value}), 3, 3),
    )
    with pytest.raises(UserError) as caught:
        load_generator(tmp_path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        replace(GENERATORS["unet"], last_kernel=5),
        replace(GENERATORS["resnet, pixels as channels"], first_kernel=5),
    ],
    ids=["unet", "unshuffled"],
)
def test_kernels_that_a_generator_has_not_are_refused(config):
    with pytest.raises(ValueError, match=r"generator\.\w+_kernel must be (an even|null)"):
        build_generator(config)
