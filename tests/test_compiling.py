from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs_in_tests import remember_speed, run_training
from tiny import configure, tiny_config
from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.resnet import ResidualBlock, ResnetGenerator, segments
from cyclegan_style.networks.unet import UnetGenerator
from cyclegan_style.runs.run_folder import COMPILING_FILE, kept_choice
from cyclegan_style.training import compile_choice
from cyclegan_style.training.compile_choice import NAMES, times_in_blocks, training_speeds
from cyclegan_style.training.compiling import compile_blocks, compile_networks

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


@pytest.mark.parametrize("compile_parts", [compile_networks, compile_blocks])
@pytest.mark.parametrize("name", NETWORKS)
def test_parts_in_a_row_are_the_network(without_a_compiler, name, compile_parts):
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    cut = deepcopy(network)
    compile_parts([cut], torch.device("cpu"))
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
    def programs(compile_parts: Callable[..., None], blocks: int) -> int:
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        networks = [ResnetGenerator(3, 3, replace(RESNET, blocks=blocks)) for _ in range(2)]
        compile_parts(networks, torch.device("cpu"))
        networks[1](networks[0](torch.zeros(1, 3, 32, 32))).sum().backward()
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    # The first layers of the second network are given a picture that has a gradient.
    assert programs(compile_networks, 5) == programs(compile_networks, 1) == 4
    assert programs(compile_blocks, 5) == 1


@pytest.fixture
def worth_a_trial(measuring, monkeypatch) -> None:
    """Every run is long enough, and nothing that was measured before is known."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(compile_choice, "LONG_ENOUGH_SECONDS", 0.0)


def test_a_run_keeps_the_way_that_it_began_in(
    without_a_compiler, worth_a_trial, configured, capsys
):
    def told(max_steps: int, **fields: object) -> str:
        config = configured(**undecided | fields, train__max_steps=max_steps)
        assert run_training(config).step == max_steps
        return capsys.readouterr().err

    undecided = {
        "train__compile": "auto",
        "tracking__sample_every_steps": 100,
        "checkpoint__every_steps": 100,
    }
    config = configured(**undecided)
    run = Path(config.run.dir)
    training_speeds(config, "no", images=1)
    remember_speed("compiled blocks", "compiled", 1.9)
    assert "residual blocks: compiled: 1.9 times as fast as eager (measured here e" in told(1)

    remember_speed("compiled blocks", "compiled", 0.5)
    went_on = told(2)
    assert "residual blocks: compiled, as the run began, though eager is faster here" in went_on
    assert "to go on in it: --train.compile false" in went_on
    assert kept_choice(run, COMPILING_FILE, NAMES) == "compiled"

    assert "residual blocks" not in told(3, train__compile=False)
    elsewhere = told(4, train__checkpoint_activations=True)
    assert "the run began with compiled blocks" in elsewhere


def test_what_repeats_nothing_or_is_short_is_not_tried(without_a_compiler, worth_a_trial):
    with_blocks = tiny_config(train__compile="auto")
    assert training_speeds(with_blocks, "no", images=1) is not None
    for fields in ({"architecture": "unet", "levels": 5}, {"blocks": 0}):
        named = {f"generator__{name}": value for name, value in fields.items()}
        assert training_speeds(tiny_config(**named), "no", images=1) is None
    compile_choice.LONG_ENOUGH_SECONDS = 600.0  # as it is; the fixture undoes it
    assert training_speeds(with_blocks, "no", images=1) is None


def test_a_block_is_passed_once_a_batch_and_pass():
    fields = {"train__epochs": 3, "train__decay_epochs": 1, "generator__blocks": 9}
    assert times_in_blocks(configure(**fields), 100) == 4 * 100 * 4 * 9
    assert times_in_blocks(configure(**fields, train__batch_size=4), 100) == 100 * 4 * 9
    accumulated = configure(**fields, train__accumulation_steps=3)
    assert times_in_blocks(accumulated, 100) == 133 * 3 * 4 * 9
    assert times_in_blocks(configure(**fields, train__max_steps=7), 100) == 7 * 4 * 9
    one_sided = configure(**fields, train__one_sided=True, train__steps=10)
    assert times_in_blocks(one_sided, 100) == 10 * 9
