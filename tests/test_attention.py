"""Attention between the places of a map."""

import math

import pytest
import torch
from tiny import enlarge_weights
from torch import Tensor

from cyclegan_style.applying.prepared import PreparedGenerator
from cyclegan_style.applying.tiling import StripedGenerator
from cyclegan_style.config import GeneratorConfig
from cyclegan_style.errors import UserError
from cyclegan_style.models.model_files import LoadedGenerator
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.attention import SelfAttention

pytestmark = pytest.mark.numeric

ARCHITECTURES = {
    "resnet": GeneratorConfig(channels=4, blocks=3, attention=True),
    "unet": GeneratorConfig("unet", 2, levels=5, attention=True),
    "unet of 7": GeneratorConfig("unet", 1, levels=7, attention=True),
    "residual_unet": GeneratorConfig("residual_unet", 2, levels=5, attention=True),
    "residual_unet of 7": GeneratorConfig("residual_unet", 1, levels=7, attention=True),
}
SIDES = {"resnet": 32, "unet": 16, "unet of 7": 4, "residual_unet": 16, "residual_unet of 7": 4}
"""Of the map that is attended to, for a picture of 128 pixels."""


def test_each_place_is_a_mean_over_all_weighted_by_likeness():
    layer = SelfAttention(12).double()
    enlarge_weights(layer)
    x = torch.randn(2, 12, 3, 5, dtype=torch.float64)

    expected = []
    for picture in x.flatten(2):
        looked = layer.look.weight[:, :, 0, 0] @ picture + layer.look.bias[:, None]
        heads = []
        for q, k, v in zip(*(part.split(3) for part in looked.split(12)), strict=True):
            likeness = (q / q.norm(dim=0)).T @ (k / k.norm(dim=0)) * math.sqrt(3)
            heads.append(v @ likeness.softmax(dim=1).T)
        change = layer.project.weight[:, :, 0, 0] @ torch.cat(heads)
        expected.append(picture + change + layer.project.bias[:, None])

    torch.testing.assert_close(layer(x), torch.stack(expected).view_as(x), rtol=0, atol=1e-12)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(last), layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_lies_at_a_small_map_begins_as_the_identity_and_learns(name):
    torch.manual_seed(0)
    network, seen = build_generator(ARCHITECTURES[name]), []

    def keep(layer: SelfAttention, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((layer, inputs[0], output))

    for layer in network.modules():
        if isinstance(layer, SelfAttention):
            layer.register_forward_hook(keep)
    images = torch.rand(1, 3, 128, 128) * 2 - 1

    output = network(images)
    (output * torch.rand_like(output)).sum().backward()

    assert output.shape == images.shape
    ((layer, before, after),) = seen
    assert before.shape[2:] == (SIDES[name], SIDES[name])
    assert torch.equal(before, after)
    assert layer.project.weight.grad.abs().max() > 1e-9
    enlarge_weights(network)
    (network(images) * output.detach()).sum().backward()
    assert not torch.equal(*seen[1][1:])
    assert layer.look.weight.grad.abs().max() > 1e-9


def loaded(config: GeneratorConfig) -> LoadedGenerator:
    network = build_generator(config).eval().requires_grad_(False)
    enlarge_weights(network)
    return LoadedGenerator(network, config, 3, 3, "ab")


def test_a_predictor_computes_the_same():
    generator = loaded(ARCHITECTURES["resnet"])
    image = torch.rand(1, 3, 24, 40) * 2 - 1
    prepared = PreparedGenerator(generator, torch.device("cpu"), torch.float32, 10**9)

    expected = generator.network.double()(image.double())

    assert (prepared.translate_tensor(image) - expected).abs().max() < 1e-3


def test_there_are_no_stripes_of_it():
    generator = loaded(ARCHITECTURES["unet"])
    device, dtype = torch.device("cpu"), torch.float32
    with pytest.raises(UserError, match=r"with generator\.attention sees whole pictures"):
        StripedGenerator(generator.network, 32)
    prepared = PreparedGenerator(generator, device, dtype, memory_budget=10**5)
    for attempt in (
        lambda: prepared.translate_tensor(torch.zeros(1, 3, 64, 128)),
        lambda: prepared.at_once(64, 128),
    ):
        with pytest.raises(UserError, match=r"128×64 pixels need .* budget of .*takes no stripes"):
            attempt()
