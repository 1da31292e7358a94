from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.resnet import ResidualBlock, ResnetGenerator, segments
from cyclegan_style.networks.unet import UnetGenerator
from cyclegan_style.training.compiling import compile_networks

RESNET = GeneratorConfig(channels=4, blocks=2)
NETWORKS = {
    "resnet": lambda: ResnetGenerator(3, 3, RESNET),
    "skip": lambda: ResnetGenerator(3, 3, replace(RESNET, upsampling="bilinear", skip=True)),
    "padded": lambda: ResnetGenerator(3, 3, replace(RESNET, padding="replicate", last_kernel=3)),
    "attention": lambda: ResnetGenerator(3, 3, replace(RESNET, attention=True)),
    "unet": lambda: UnetGenerator(3, 3, GeneratorConfig("unet", 4, levels=5, skip=True)),
}


@pytest.fixture
def without_a_compiler() -> Iterator[None]:
    """What is compiled is run as it stands."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


def trained_once(network: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The network's output, and all gradients of its size."""
    output = network(images)
    return output, list(torch.autograd.grad(output.square().sum(), list(network.parameters())))


@pytest.mark.parametrize("name", NETWORKS)
def test_parts_in_a_row_are_the_network(without_a_compiler, name):
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    cut = deepcopy(network)
    compile_networks([cut], torch.device("cpu"))
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1

    assert cut.state_dict().keys() == network.state_dict().keys()
    (output, gradients), (expected, expected_gradients) = (
        trained_once(each, images) for each in (cut, network)
    )
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    torch.testing.assert_close(gradients, expected_gradients, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(cut(images), expected, rtol=0, atol=0)


def test_a_resnet_is_cut_before_and_after_its_blocks():
    layers = ResnetGenerator(3, 3, replace(RESNET, blocks=5)).model
    first, *blocks, last = segments(layers, blocks=1)
    assert [type(block) for block in blocks] == 5 * [ResidualBlock]
    assert [*first, *blocks, *last] == list(layers)
    assert [len(segment) for segment in segments(layers, blocks=2)[1:3]] == [2, 2]


def test_pictures_that_are_only_looked_at_are_not_compiled():
    """A compiler that cannot compile this would fail, and one that can would take seconds."""
    network = ResnetGenerator(3, 3, replace(RESNET, blocks=1))
    expected = network(torch.zeros(1, 3, 16, 16))
    compile_networks([network], torch.device("cpu"))
    torch.compiler.reset()
    with torch.compiler.set_stance("fail_on_recompile"), torch.no_grad():
        torch.testing.assert_close(network(torch.zeros(1, 3, 16, 16)), expected)


@pytest.mark.slow
def test_blocks_are_compiled_once_however_many_there_are():
    def programs(blocks: int) -> int:
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        networks = [ResnetGenerator(3, 3, replace(RESNET, blocks=blocks)) for _ in range(2)]
        compile_networks(networks, torch.device("cpu"))
        networks[1](networks[0](torch.zeros(1, 3, 32, 32))).sum().backward()
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    # The first layers of the second network are given a picture that has a gradient.
    assert programs(5) == programs(1) == 4
