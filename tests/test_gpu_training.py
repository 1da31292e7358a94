"""Training on a GPU does what it does on the CPU, in every format, and waits for no number."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from compiled_steps import SIZES
from distributed_steps import weights_after_steps
from runs_in_tests import killed_in_step, metrics_of, run_training
from safetensors.torch import load_file
from test_distributed import launch
from tiny import (
    enlarge_weights,
    equal_tensors,
    forget_accelerator,
    fp16_on_a_cpu,
    largest_difference,
    random_batch,
    tiny_config,
)
from torch import Tensor

from cyclegan_style.config import Config
from cyclegan_style.data.training_data import open_dataset
from cyclegan_style.evaluation.collect import exact_products
from cyclegan_style.runs.checkpoint import STATE_FILE, random_state, restore_random_state
from cyclegan_style.runs.run_folder import claim_run_folder
from cyclegan_style.system.hardware import build_accelerator
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.step import Losses
from cyclegan_style.training.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

SIZE = {"data__crop_size": 32}
EVERY_OPTION = {
    "data__crop_size": 32,
    "discriminator__augment": ("color", "translation", "cutout"),
    "discriminator__feature_layers": ("fire3",),
    "discriminator__feature_weight": 0.5,
    "discriminator__scales": 2,
    "generator__dropout": True,
    "generator__upsampling": "bilinear",
    "loss__contrastive": 1.0,
    "loss__cycle_features": ("conv1",),
    "loss__detail": 0.5,
    "loss__gradient_penalty": "r1",
    "optimizer__clip_norm": 1.0,
    "train__ema_decay": 0.9,
    "train__ema_warmup": True,
    "train__pool_size": 1,
}
WITHOUT_CHANCE = {
    "plain": {},
    "channels last": {"train__channels_last": True},
    "pool": {"train__pool_size": 1},
    "gradient penalty": {"loss__gradient_penalty": "r1"},
    "activations again": {"train__checkpoint_activations": True},
    "enlarged": {"generator__upsampling": "bilinear", "generator__downsampling": "blurred"},
    "features": {"loss__cycle_features": ("conv1",), "discriminator__feature_layers": ("fire3",)},
    "unet": {"generator__architecture": "unet", "generator__levels": 5},
}


def accelerator_for(device: torch.device, config: Config, precision: str = "no") -> Accelerator:
    """The one that training has; on a CPU one with fp16 as well."""
    forget_accelerator()
    if device.type == "cpu" and precision == "fp16":
        return fp16_on_a_cpu()
    accelerator = build_accelerator(config, precision)
    assert accelerator.device.type == device.type
    return accelerator


def step_on(device: torch.device, precision: str = "no", **fields: Any) -> CycleGanStep:
    """A step in float32 with weights that count."""
    config = tiny_config(**SIZE | fields)
    return with_weights(CycleGanStep(config, accelerator_for(device, config, precision)))


def exact_step(**fields: Any) -> CycleGanStep:
    """The same in float64 on the CPU."""
    forget_accelerator()
    config = tiny_config(**SIZE | fields)
    return with_weights(CycleGanStep(config, Accelerator(cpu=True), torch.float64))


def with_weights(step: CycleGanStep) -> CycleGanStep:
    enlarge_weights(step.generators, 1)
    enlarge_weights(step.discriminators, 2)
    return step


def run_steps(step: CycleGanStep, count: int, images: int = 2) -> list[Losses]:
    """Losses of steps on the same noise wherever they are taken."""
    weight = next(step.generators.parameters())
    batches = (random_batch(images, 32, 32, seed=seed) for seed in range(count))
    return [
        step.run([{domain: images.to(weight) for domain, images in batch.items()}])
        for batch in batches
    ]


def assert_close(losses: Sequence[Losses], expected: Sequence[Losses], rel: float) -> None:
    for number, (found, wanted) in enumerate(zip(losses, expected, strict=True)):
        assert found.keys() == wanted.keys()
        for name, loss in wanted.items():
            where = f"{name} of step {number}"
            assert found[name].item() == pytest.approx(loss.item(), rel=rel, abs=1e-6), where


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """An error for each place where the host would wait for the GPU; of a CPU it knows none."""
    if device.type == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_steps_are_those_of_the_cpu(device, name):
    expected = run_steps(exact_step(**WITHOUT_CHANCE[name]), 3)

    step = step_on(device, **WITHOUT_CHANCE[name])
    with exact_products():
        losses = run_steps(step, 3)

    assert all(loss.device.type == device.type for loss in losses[0].values())
    assert_close(losses[:1], expected[:1], rel=1e-4)
    # Adam turns the rounding noise of small gradients into steps of full size.
    assert_close(losses, expected, rel=5e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_formats_of_16_bits_stay_close_to_float64(device, precision):
    expected = run_steps(exact_step(), 3)

    step = step_on(device, precision)
    losses = run_steps(step, 3)

    assert_close(losses, expected, rel=0.06)
    largest = max(abs(losses[0][name].item() / expected[0][name].item() - 1) for name in losses[0])
    assert largest > 1e-5  # it did compute with fewer digits
    for parameter in step.generators.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()
    assert (step.accelerator.scaler is not None) == (precision == "fp16")


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_no_step_waits_for_the_device_whatever_is_on(device, precision):
    step = step_on(device, precision, **EVERY_OPTION)
    weight = next(step.generators.parameters())
    batch = {domain: images.to(weight) for domain, images in random_batch(2, 32, 32).items()}
    step.run([batch])  # what is put on the device once is there

    with no_waiting(device):
        losses = step.run([batch])

    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("fields", [{}, {"train__channels_last": True}], ids=["", "channels last"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_compiled_steps_are_the_eager_ones(device, precision, fields):
    sizes = {"generator__channels": 16, "generator__blocks": 2}
    eager = run_steps(step_on(device, precision, **sizes, **fields), 2)

    compiled = step_on(device, precision, train__compile=True, **sizes, **fields)
    losses = run_steps(compiled, 2)

    assert_close(losses, eager, rel=0.02 if precision == "no" else 0.1)
    assert all(weight.isfinite().all() for weight in compiled.generators.parameters())


def test_channels_come_last_in_weights_and_translations(device):
    step = step_on(device, "bf16", train__channels_last=True, generator__blocks=2)
    step.run(
        [{name: images.float().to(device) for name, images in random_batch(2, 32, 32).items()}]
    )

    shapes = [
        step.turns[0].fakes["b"],
        *(p for p in step.generators.parameters() if p.shape[1:] > (1,)),
    ]
    assert len(shapes) > 5
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in shapes[1:])
    assert step.turns[0].fakes["b"].device.type == device.type


def products(device: torch.device) -> dict[str, float]:
    """How far a product of matrices and a convolution are from what float64 gives."""
    chance = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 64, 48, 48, generator=chance, dtype=torch.float64)
    kernel = torch.randn(64, 64, 3, 3, generator=chance, dtype=torch.float64)
    matrix = torch.randn(512, 512, generator=chance, dtype=torch.float64)
    x, k, m = (each.to(device, torch.float32) for each in (maps, kernel, matrix))
    exact = torch.nn.functional.conv2d(maps, kernel)
    pairs = {
        "matrices": (m @ m, matrix @ matrix),
        "convolution": (torch.nn.functional.conv2d(x, k), exact),
    }
    return {
        name: ((found.cpu() - wanted).std() / wanted.std()).item()
        for name, (found, wanted) in pairs.items()
    }


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_used_where_it_is_asked_for_and_never_by_scores(device, tf32):
    accelerator_for(device, tiny_config(train__tf32=tf32))
    has_it = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)

    with exact_products():
        assert max(products(device).values()) < 1e-5
    for name, error in products(device).items():
        assert (error > 1e-5) == (tf32 and has_it), name


def test_the_moving_average_is_that_of_the_weights(device):
    step = step_on(device, train__ema_decay=0.7)
    expected: dict[str, Tensor] = {}
    for number in range(3):
        run_steps(step, 1)
        weights = {
            name: w.detach().cpu().double() for name, w in step.generators.named_parameters()
        }
        expected = {
            name: weight if number == 0 else 0.7 * expected[name] + 0.3 * weight
            for name, weight in weights.items()
        }

    average = dict(step.average.module.named_parameters())
    assert step.average.n_averaged.device.type == "cpu"
    for name, wanted in expected.items():
        assert average[name].device.type == device.type
        torch.testing.assert_close(average[name].cpu().double(), wanted, rtol=1e-5, atol=1e-6)


def test_pools_show_what_they_hold_and_come_back_from_their_state(device):
    step = step_on(device, train__pool_size=2)
    run_steps(step, 3, images=1)
    pool = step.pools["b"]
    state = {name: tensor.cpu() for name, tensor in pool.state().items()}
    images = torch.rand(6, 3, 32, 32, device=device)
    shown = pool.exchange(images)
    assert shown.device == images.device

    pool.restore(state, device)

    assert torch.equal(pool.exchange(images), shown)
    assert not torch.equal(shown, images)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_activations_computed_again_are_the_same_with_what_was_drawn(device, norm, monkeypatch):
    """Dropout on the GPU draws from the GPU's own random generator."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    losses = []
    for again in (False, True):
        fields = {"generator__norm": norm, "generator__dropout": True}
        step = step_on(device, train__checkpoint_activations=again, **fields)
        torch.manual_seed(5)
        losses.append(run_steps(step, 2))

    assert_close(losses[1], losses[0], rel=1e-3)
    assert_close(losses[1][:1], losses[0][:1], rel=1e-6)


def test_the_device_s_chance_goes_on_where_it_was(device):
    torch.manual_seed(3)
    torch.rand(5, device=device)
    state = random_state()
    expected = torch.rand(7, device=device)
    torch.manual_seed(4)

    restore_random_state(state)

    assert torch.equal(torch.rand(7, device=device), expected)


def weights_of(config: Config) -> dict[str, Tensor]:
    folder = Path(config.run.dir) / "checkpoints" / "step-00000006"
    return load_file(folder / "generators.safetensors")


def test_a_run_killed_between_checkpoints_goes_on_as_if_it_had_not_been(
    device, configured, monkeypatch
):
    """To the bit if two runs from the beginning are the same to the bit, which is up to cuDNN."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    fields = {
        "data__crop_size": 32,
        "generator__architecture": "unet",  # whose layers on a GPU are deterministic
        "generator__levels": 5,
        "generator__dropout": True,
        "train__ema_decay": 0.9,
        "train__mixed_precision": "bf16",
        "train__pool_size": 2,
    }
    whole, twice, killed = (configured(name, **fields) for name in ("whole", "twice", "killed"))
    run_training(whole)
    run_training(twice)
    with killed_in_step(5, monkeypatch):
        run_training(killed)

    run_training(killed)

    apart = largest_difference(weights_of(whole), weights_of(twice))
    assert largest_difference(weights_of(whole), weights_of(killed)) <= 4 * apart
    own = [
        load_file(Path(config.run.dir) / "checkpoints/step-00000006/process-00000.safetensors")
        for config in (whole, killed)
    ]
    chance = [{k: v for k, v in each.items() if "random" in k} for each in own]
    assert equal_tensors(*chance)
    assert ("random.cuda" in chance[0]) == torch.cuda.is_available()


def test_the_scale_of_fp16_goes_on_where_it_was(device, configured):
    config = configured(train__max_steps=2, train__pool_size=1, **SIZE)

    def trainer() -> Trainer:
        accelerator = accelerator_for(device, config, "fp16")
        assert accelerator.scaler is not None
        dataset = open_dataset(config, accelerator)
        return Trainer(config, accelerator, claim_run_folder(config), dataset)

    first = trainer()
    first.accelerator.scaler.load_state_dict(
        first.accelerator.scaler.state_dict() | {"scale": 64.0}
    )
    first.fit()
    goes_on = trainer()

    state = goes_on.accelerator.scaler.state_dict()
    assert state == first.accelerator.scaler.state_dict()
    assert (state["scale"], state["_growth_tracker"]) == (64.0, 4)  # two turns of two steps
    folder = Path(config.run.dir) / "checkpoints" / "step-00000002"
    assert json.loads((folder / STATE_FILE).read_text())["scaler"]["scale"] == 64
    moments = goes_on.training_step.optimizers["generator_optimizer"].state_dict()["state"][0]
    assert {moments[name].device.type for name in ("exp_avg", "exp_avg_sq")} == {device.type}
    assert run_steps(goes_on.training_step, 1)[0]["cycle_a"].isfinite()


def test_a_whole_run_with_samples_scores_health_and_a_model(device, configured, pictures):
    config = configured(
        data__test_a=str(pictures / "testA"),
        data__test_b=str(pictures / "testB"),
        data__crop_size=32,
        data__num_workers=1,
        evaluation__every_steps=3,
        evaluation__metrics=("fd", "swd"),
        train__mixed_precision="auto",
        train__channels_last=True,
        train__ema_decay=0.9,
        train__pool_size=2,
    )

    assert run_training(config).step == 6

    run = Path(config.run.dir)
    lines = metrics_of(run)
    assert [line["step"] for line in lines] == [2, 3, 4, 6]
    assert {"fd_squeezenet_ab", "swd_ba", "cycle_a"} <= lines[-1].keys()
    assert all(abs(value) < 1e6 for line in lines for value in line.values())
    assert ("gpu_memory_gigabytes" in lines[-1]) == torch.cuda.is_available()
    assert (run / "model" / "generator_ab.safetensors").exists()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_take_the_steps_that_one_cpu_takes(device, tmp_path):
    script = Path(__file__).with_name("compiled_steps.py")
    options = ("--multi_gpu", "--num_processes=2")
    result = launch(script, tmp_path / "weights", options=options, timeout=500)
    assert result.returncode == 0, result.stderr
    forget_accelerator()
    alone = weights_after_steps(Accelerator(cpu=True), **SIZES)

    for way in ("eager", "compiled"):
        first, second = (
            load_file(f"{tmp_path}/weights.{way}.{index}.safetensors") for index in (0, 1)
        )
        assert equal_tensors(first, second)
        gradients = [name for name in first if name.startswith(("generators.", "discriminators."))]
        assert max((first[name] - alone[name]).abs().max() for name in gradients) < 1e-8
