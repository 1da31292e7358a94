"""Training by Winograd's algorithm: the same gradients, and runs that keep to it."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from runs_in_tests import assert_equal_state, killed_in_step, remember_speed, run_training
from tiny import configure, enlarge_weights, tiny_config
from torch import Tensor, nn

from cyclegan_style.errors import UserError
from cyclegan_style.networks import build_generator, winograd
from cyclegan_style.networks.winograd import (
    AT_REAL_POINTS,
    AT_ROOTS_OF_UNITY,
    Tiling,
    TrainedWinograd,
    tiling_of,
    train_by_winograd,
    transforms,
)
from cyclegan_style.runs.run_folder import CONVOLUTIONS_FILE, kept_choice
from cyclegan_style.system.hardware import build_accelerator
from cyclegan_style.training.config_checks import ConfigError, validate
from cyclegan_style.training.convolutions import (
    NAMES,
    refuse_convolutions,
    training_speeds,
    with_fastest_convolutions,
)
from cyclegan_style.training.cyclegan_step import CycleGanStep

WIDE = {"generator__channels": 24, "train__convolutions": "winograd"}
"""Its blocks have 96 channels."""


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(winograd, "FEWEST_PIXELS", 1)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def results(layer: nn.Conv2d, x: Tensor) -> list[Tensor]:
    """What a layer gives, and the gradients of its input and parameters."""
    x = x.detach().requires_grad_()
    output = layer(x)
    wanted = [x, *layer.parameters()]
    above = noise(*output.shape, seed=1).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, wanted, above)]


@pytest.mark.numeric
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"]
)
@pytest.mark.parametrize("size", [(1, 34, 34), (2, 3, 4), (2, 13, 7), (3, 8, 21)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tiling", [AT_REAL_POINTS, AT_ROOTS_OF_UNITY], ids=["real", "unity"])
def test_gradients_are_those_of_the_convolution(size, bias, layout, tiling, monkeypatch):
    monkeypatch.setattr(winograd, "tiling_of", lambda dtype: tiling)
    count, height, width = size
    exact = nn.Conv2d(20, 30, 3, bias=bias).double().to(memory_format=layout)
    enlarge_weights(exact)
    x = noise(count, 20, height, width).contiguous(memory_format=layout)
    expected = results(exact, x)
    trained = deepcopy(exact)
    trained.__class__ = TrainedWinograd

    in_float64, in_float32 = results(trained, x), results(trained.float(), x.float())

    for right, double, single in zip(expected, in_float64, in_float32, strict=True):
        assert (double - right).abs().max() < 1e-12 * right.abs().max()
        assert single.shape == right.shape and single.dtype == torch.float32
        assert (single - right).abs().max() < 2e-5 * right.abs().max()


@pytest.mark.numeric
@pytest.mark.parametrize("size", [(1, 34, 34), (2, 13, 7)], ids=str)
def test_in_16_bits_errors_are_about_those_of_a_direct_convolution(size):
    count, height, width = size
    exact = nn.Conv2d(64, 48, 3).double()
    enlarge_weights(exact)
    x = noise(count, 64, height, width)
    expected = results(exact, x)
    direct = deepcopy(exact).float()
    trained = deepcopy(direct)
    trained.__class__ = TrainedWinograd

    with torch.autocast("cpu", torch.bfloat16):
        plain, tiled = results(direct, x.float()), results(trained, x.float())

    for right, its, mine in zip(expected, plain, tiled, strict=True):
        assert mine.dtype == its.dtype
        error, usual = ((one.double() - right).square().mean().sqrt() for one in (mine, its))
        assert error < 3 * usual


@pytest.mark.numeric
@pytest.mark.parametrize(
    "tiling",
    [AT_REAL_POINTS, AT_ROOTS_OF_UNITY, Tiling((0.0, 1.0, -1.0)), Tiling((), imaginary=True)],
    ids=["real", "unity", "small", "one"],
)
def test_products_of_transforms_are_a_convolution(tiling):
    tile, kernel, patch = transforms(tiling)
    weights, pixels = noise(3), noise(tiling.patch)
    expected = torch.stack([(weights * pixels[i : i + 3]).sum() for i in range(tiling.side)])
    assert torch.allclose(tile @ ((kernel @ weights) * (patch @ pixels)), expected, atol=1e-12)


@pytest.mark.numeric
def test_transforms_of_16_bits_are_exact_there():
    tile, kernel, patch = transforms(AT_ROOTS_OF_UNITY)
    assert {*tile.unique().tolist(), *patch.unique().tolist()} == {-1.0, 0.0, 1.0}
    assert torch.equal(kernel, kernel.bfloat16().double())
    assert tiling_of(torch.bfloat16) == tiling_of(torch.float16) == AT_ROOTS_OF_UNITY
    assert tiling_of(torch.float32) == AT_REAL_POINTS


def test_small_maps_are_convolved_directly(monkeypatch):
    direct, trained = nn.Conv2d(20, 30, 3), nn.Conv2d(20, 30, 3)
    trained.load_state_dict(direct.state_dict())
    trained.__class__ = TrainedWinograd
    small, large = noise(1, 20, 22, 26).float(), noise(1, 20, 34, 34).float()
    assert not torch.equal(trained(small), direct(small))
    monkeypatch.undo()  # 30 tiles, and 64
    assert torch.equal(trained(small), direct(small))
    assert not torch.equal(trained(large), direct(large))


@pytest.mark.parametrize("norm", ["instance", "demodulated"])
def test_a_generator_keeps_its_keys_and_has_the_same_gradients(norm):
    config = tiny_config(generator__channels=24, generator__norm=norm).generator
    direct = build_generator(config).double()
    other = deepcopy(direct)
    train_by_winograd(other)
    image = noise(1, 3, 24, 24).clamp(-1, 1)

    for network in (direct, other):
        F.l1_loss(network(image), -image).backward()

    assert other.state_dict().keys() == direct.state_dict().keys()
    for mine, its in zip(direct.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None and its.grad is not None
        torch.testing.assert_close(its.grad, mine.grad, rtol=0, atol=1e-10)


def test_a_killed_run_goes_on_bit_for_bit(configured, monkeypatch):
    fields = {
        **WIDE,
        "train__ema_decay": 0.9,
        "train__max_steps": 2,
        "checkpoint__every_steps": 1,
        "tracking__sample_every_steps": 100,
    }
    whole, killed = configured("whole", **fields), configured("killed", **fields)
    run_training(whole)
    with killed_in_step(2, monkeypatch):
        run_training(killed)

    run_training(killed)

    assert_equal_state(Path(whole.run.dir), Path(killed.run.dir), step=2)


def test_generators_and_their_average_are_trained_by_winograd():
    config = tiny_config(**WIDE, train__ema_decay=0.9)
    step = CycleGanStep(config, build_accelerator(config, "no"))
    for generators in (step.generators, step.exported_generators):
        changed = [each for each in generators.modules() if isinstance(each, TrainedWinograd)]
        assert len(changed) == 4
    plain = CycleGanStep(tiny_config(**WIDE | {"train__convolutions": "direct"}), step.accelerator)
    assert not any(isinstance(each, TrainedWinograd) for each in plain.generators.modules())
    assert step.generators.state_dict().keys() == plain.generators.state_dict().keys()


def test_a_run_keeps_the_convolutions_that_it_began_with(measuring, configured, capsys):
    def told(max_steps: int) -> str:
        config = configured(**undecided, train__max_steps=max_steps)
        assert run_training(config).step == max_steps
        return capsys.readouterr().err

    undecided = {
        **WIDE,
        "train__convolutions": "auto",
        "tracking__sample_every_steps": 100,
        "checkpoint__every_steps": 100,
    }
    config = configured(**undecided)
    run = Path(config.run.dir)
    training_speeds(config)
    remember_speed("convolutions", "winograd", 1.9)
    assert "convolutions: winograd: 1.9 times as fast as direct (measured here earlier)" in told(1)
    assert with_fastest_convolutions(config).train.convolutions == "winograd"

    remember_speed("convolutions", "winograd", 0.5)
    went_on = told(2)
    assert "convolutions: winograd, as the run began, though direct is faster here" in went_on
    assert "--train.convolutions direct" in went_on
    assert kept_choice(run, CONVOLUTIONS_FILE, NAMES) == "winograd"


def test_what_winograd_is_not_for_is_refused(monkeypatch):
    chosen = {"train__convolutions": "winograd"}
    with pytest.raises(ConfigError, match="compile must be false with train"):
        validate(tiny_config(**chosen, train__compile=True))
    with pytest.raises(ConfigError, match="precision must not be fp16 with train"):
        validate(tiny_config(**chosen, train__mixed_precision="fp16"))
    validate(tiny_config(**chosen, train__mixed_precision="bf16"))
    refuse_convolutions(configure(**chosen).train)
    monkeypatch.setattr("cyclegan_style.training.convolutions.training_device", lambda: "cuda")
    with pytest.raises(UserError, match="winograd is for CPUs; on this cuda choose direct or auto"):
        refuse_convolutions(configure(**chosen).train)


def test_few_channels_are_computed_directly_and_nothing_is_timed():
    config = tiny_config(train__convolutions="auto", train__compile=False)
    assert training_speeds(config) is None
    assert with_fastest_convolutions(config).train.convolutions == "direct"
