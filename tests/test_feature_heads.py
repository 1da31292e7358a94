"""Heads judge SqueezeNet's features, train generators through them, and leave SqueezeNet alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from runs_in_tests import run_training
from safetensors.torch import load_file, save_file
from test_convert import reference_networks, write_reference
from tiny import equal_tensors, random_batch, tiny_config
from torch import Tensor, nn

from cyclegan_style.commands.main import main
from cyclegan_style.errors import UserError
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.models.discriminator_files import read_discriminator_file
from cyclegan_style.models.export import export_model
from cyclegan_style.networks.feature_heads import SQUEEZENET_LAYERS, FeatureHeads
from cyclegan_style.runs.discriminators import load_discriminators
from cyclegan_style.training.augment import augment
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.discriminators import Discriminators, build_discriminators
from cyclegan_style.training.fine_tuning import begin_from

pytestmark = pytest.mark.numeric

LAYERS = ("fire3", "fire9")
WITH_HEADS = {"discriminator__feature_layers": LAYERS, "data__crop_size": 32}
PARAMETERS = sum(64 * channels + 64 + 64 * 9 + 1 for channels in (128, 512))
"""A 1×1 convolution to 64 channels and a 3×3 one to a verdict, both with biases, on each layer."""


def build(**fields: Any) -> Discriminators:
    torch.manual_seed(0)
    return build_discriminators(tiny_config(**(WITH_HEADS | fields))).double()


def build_step(**fields: Any) -> CycleGanStep:
    return CycleGanStep(tiny_config(**(WITH_HEADS | fields)), Accelerator(cpu=True))


def images(seed: int = 0) -> dict[str, Tensor]:
    return random_batch(2, 32, 32, seed=seed)


def shipped() -> dict[str, Tensor]:
    return SQUEEZENET.load(SQUEEZENET.find()).state_dict()


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_there_is_a_head_for_every_layer_of_squeezenet():
    activations = SQUEEZENET.load(SQUEEZENET.find())(torch.zeros(1, 3, 32, 32))

    assert tuple(SQUEEZENET_LAYERS) == SQUEEZENET.layers
    verdicts = FeatureHeads(SQUEEZENET.layers)(activations)
    for verdict, (name, found) in zip(verdicts, activations.items(), strict=True):
        assert SQUEEZENET_LAYERS[name].channels == found.shape[1]
        assert verdict.shape == (1, 1, *found.shape[2:])
    with pytest.raises(ValueError, match="no layer 'fire10'"):
        FeatureHeads(("fire10",))


def test_heads_judge_what_the_patchgan_judges():
    augmentations = ("color", "translation", "cutout")
    discriminators = build(discriminator__augment=augmentations)
    torch.manual_seed(1)
    verdicts = discriminators.judge("a", images()["a"])

    torch.manual_seed(1)
    seen = augment(images()["a"], augmentations)
    judge = discriminators["a"]
    activations = SQUEEZENET.load(SQUEEZENET.find()).double()(SQUEEZENET.input.normalised(seen))
    expected = [judge(seen)]
    for layer, scale in zip(LAYERS, (43, 9), strict=True):
        expected.append(judge.heads[layer](activations[layer] / scale))
    for verdict, wanted in zip(verdicts, expected, strict=True):
        torch.testing.assert_close(verdict, wanted, rtol=1e-12, atol=1e-14)


def test_patchgan_and_heads_have_an_equal_say_and_the_penalty_is_on_the_patchgan():
    discriminators = build(loss__gradient_penalty="r1", loss__penalty_weight=4.0)
    real, fakes = images(1), images(2)

    loss = discriminators(real, fakes)["discriminator_a"]

    pictures = real["a"].clone().requires_grad_(True)
    on_real, on_fake = (discriminators.judge("a", x) for x in (pictures, fakes["a"]))
    assert len(on_real) == 3
    (slopes,) = torch.autograd.grad(on_real[0].mean((1, 2, 3)).sum(), pictures, retain_graph=True)
    adversarial = [
        (r - 1).square().mean() + f.square().mean() for r, f in zip(on_real, on_fake, strict=True)
    ]
    expected = 0.5 * (sum(adversarial) / 3 + 4 * slopes.square().sum((1, 2, 3)).mean())
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_heads_count_by_their_weight():
    discriminators = build(discriminator__feature_weight=0.25)
    generators = build_generators(tiny_config(**WITH_HEADS)).double()
    real, fakes = images(1), images(2)

    of_discriminator = discriminators(real, fakes)["discriminator_a"]
    turn = generators(real, discriminators)

    on_real, on_fake = (discriminators.judge("a", x["a"]) for x in (real, fakes))
    patch, *heads = [
        (r - 1).square().mean() + f.square().mean() for r, f in zip(on_real, on_fake, strict=True)
    ]
    torch.testing.assert_close(of_discriminator, 0.5 * (patch + 0.25 * sum(heads)) / 1.5)
    patch, *heads = [
        (verdict - 1).square().mean() for verdict in discriminators.judge("b", turn.fakes["b"])
    ]
    torch.testing.assert_close(turn.losses["adversarial_ab"], (patch + 0.25 * sum(heads)) / 1.5)


def test_gradients_reach_the_picture_through_the_frozen_network():
    discriminators = build()
    picture = images()["b"].requires_grad_(True)
    verdicts = discriminators.judge("b", picture)

    way = torch.randn(picture.shape, dtype=torch.float64) * 1e-6
    there, back = (discriminators.judge("b", picture.detach() + move) for move in (way, -way))
    for judge in (1, 2):
        (slopes,) = torch.autograd.grad(verdicts[judge].sum(), picture, retain_graph=True)
        assert slopes.abs().sum((1, 2, 3)).min() > 0
        expected = (there[judge] - back[judge]).sum() / 2
        torch.testing.assert_close((slopes * way).sum(), expected, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("channels_last", [False, True])
def test_training_changes_heads_and_nothing_of_squeezenet(channels_last):
    step = build_step(train__channels_last=channels_last)
    plain = build_step(discriminator__feature_layers=())
    before = {key: tensor.clone() for key, tensor in step.discriminators.state_dict().items()}
    assert count(step.discriminators) == count(plain.discriminators) + 2 * PARAMETERS
    optimised = step.optimizers["discriminator_optimizer"].param_groups[0]["params"]
    assert {id(p) for p in optimised} == {id(p) for p in step.discriminators.parameters()}

    for seed in range(2):
        losses = step.run([{name: x.float() for name, x in images(seed).items()}])

    assert all(loss.isfinite() for loss in losses.values())
    assert equal_tensors(step.discriminators.features.network.state_dict(), shipped())
    assert not any(p.requires_grad for p in step.discriminators.features.network.parameters())
    for key, tensor in step.discriminators.state_dict().items():
        if "heads" in key:
            assert not torch.equal(tensor, before[key]), key


def test_the_frozen_network_goes_where_the_discriminators_go():
    discriminators = build()
    assert {p.dtype for p in discriminators.features.network.parameters()} == {torch.float64}
    discriminators.to("meta")
    assert {p.device.type for p in discriminators.features.network.parameters()} == {"meta"}


def test_bf16_stays_close():
    discriminators, picture = build().float(), images()["a"].float()
    with torch.no_grad():
        exact = discriminators.judge("a", picture)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = discriminators.judge("a", picture)
    for verdict, wanted in zip(rounded, exact, strict=True):
        assert verdict.dtype == torch.bfloat16
        torch.testing.assert_close(verdict.float(), wanted, rtol=0.1, atol=0.02)


def test_heads_learn_to_tell_stripes_from_their_mirror_image():
    """What a PatchGAN of random weights that stands still cannot learn."""
    discriminators = build().float()
    heads = discriminators["a"].heads
    adam = torch.optim.Adam(heads.parameters(), lr=1e-3)
    stripes = (torch.arange(32) + torch.arange(32)[:, None]).mul(0.8).sin()
    real = {"a": stripes.expand(2, 3, 32, 32), "b": torch.zeros(1, 3, 32, 32)}
    fakes = {"a": stripes.flip(1).expand(2, 3, 32, 32), "b": torch.zeros(1, 3, 32, 32)}

    losses = []
    for _ in range(16):
        adam.zero_grad()
        loss = discriminators(real, fakes)["discriminator_a"]
        loss.backward()
        adam.step()
        losses.append(loss.item())

    # Two of three judges learn; the third stays where it was.
    assert losses[-1] < 0.6 * losses[0], losses


def test_a_checkpoint_holds_heads_but_not_what_they_look_at(configured):
    config = configured(train__max_steps=1, **WITH_HEADS)
    run_training(config)

    path = Path(config.run.dir) / "checkpoints/step-00000001/discriminators.safetensors"
    saved = load_file(path)
    heads = {key: tensor for key, tensor in saved.items() if ".heads." in key}
    assert sum(tensor.numel() for tensor in heads.values()) == 2 * PARAMETERS
    assert {key.split(".")[2] for key in heads} == set(LAYERS)
    assert sum(tensor.numel() for tensor in saved.values()) == count(build())


def test_a_run_begins_with_the_heads_of_a_run(configured, tmp_path):
    first = configured("first", train__max_steps=1, **WITH_HEADS)
    run_training(first)
    saved = load_file(Path(first.run.dir) / "checkpoints/step-00000001/discriminators.safetensors")

    step = build_step(train__seed=1)
    told = begin_from(first.run.dir, tiny_config(**WITH_HEADS), step)
    assert told.endswith(f"discriminators of {first.run.dir}")
    assert equal_tensors(step.discriminators.state_dict(), saved)

    other = {**WITH_HEADS, "discriminator__feature_layers": ("fire5", "fire9")}
    step = build_step(train__seed=1, **other)
    fresh = {key: tensor.clone() for key, tensor in step.discriminators.state_dict().items()}
    told = begin_from(first.run.dir, tiny_config(**other), step)
    assert told.endswith("; fresh are the heads on fire5")
    for key, tensor in step.discriminators.state_dict().items():
        assert torch.equal(tensor, fresh[key] if "fire5" in key else saved[key]), key


@pytest.mark.parametrize("spectral", [False, True])
def test_files_of_the_reference_leave_heads_fresh(tmp_path, spectral):
    networks = reference_networks()
    folder = write_reference(tmp_path / "theirs", networks)
    fields = {**WITH_HEADS, "discriminator__spectral_norm": spectral}
    step = build_step(**fields)
    fresh = {key: tensor.clone() for key, tensor in step.discriminators.state_dict().items()}

    told = begin_from(str(folder), tiny_config(**fields), step)

    assert told.endswith("; fresh are the heads on fire3, fire9")
    state = step.discriminators.state_dict()
    assert all(torch.equal(state[key], fresh[key]) for key in state if ".heads." in key)
    if not spectral:
        theirs = networks["D_A"].state_dict()
        assert all(torch.equal(state[f"b.{key}"], tensor) for key, tensor in theirs.items())


def test_a_run_with_heads_becomes_files_that_the_reference_loads(configured, tmp_path, caplog):
    config = configured(train__max_steps=1, **WITH_HEADS)
    run_training(config)

    assert main(["convert", config.run.dir, str(tmp_path / "theirs")]) == 0

    assert "the reference has no heads on features: they are left out" in caplog.text
    network = reference_networks()["D_A"]
    network.load_state_dict(torch.load(tmp_path / "theirs/latest_net_D_A.pth"))


@pytest.mark.parametrize("architecture", ["patch", "pixel"])
def test_a_file_tells_its_heads(tmp_path, architecture):
    judge = build(discriminator__architecture=architecture).float()["a"]
    export_model(tmp_path, {}, "{}", {"a": judge, "b": judge})

    found = read_discriminator_file(tmp_path / "discriminator_a.safetensors")

    assert found.config.feature_layers == LAYERS
    assert equal_tensors(found.network.state_dict(), judge.state_dict())
    state = {f"heads.fire10.{n}.weight": torch.zeros(1) for n in (0, 2)} | judge.state_dict()
    save_file(state, tmp_path / "unknown.safetensors")
    with pytest.raises(UserError, match=r"heads\.fire10\.0\.weight: expected nothing"):
        read_discriminator_file(tmp_path / "unknown.safetensors")


def test_a_run_whose_heads_are_unknown_is_told(configured):
    config = configured(train__max_steps=1, **WITH_HEADS)
    run_training(config)
    file = Path(config.run.dir) / "config.yaml"
    file.write_text(file.read_text().replace("- fire9", "- fire10"))

    with pytest.raises(UserError, match="SqueezeNet has no layer 'fire10'"):
        load_discriminators(config.run.dir)


@pytest.mark.slow
def test_compiled_discriminators_have_the_losses_of_eager_ones():
    batch = {name: x.float() for name, x in images().items()}
    compiled = build_step(train__compile=True)
    losses, expected = (step.run([batch]) for step in (compiled, build_step()))

    for name, loss in expected.items():
        assert losses[name].item() == pytest.approx(loss.item(), rel=1e-3), name
