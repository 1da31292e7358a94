"""PatchGANs on halved pictures judge beside the first, and travel with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from runs_in_tests import run_training
from safetensors.torch import load_file
from test_convert import reference_networks
from tiny import enlarge_weights, equal_tensors, random_batch, tiny_config

from cyclegan_style.commands.main import main
from cyclegan_style.config import DiscriminatorConfig
from cyclegan_style.errors import UserError
from cyclegan_style.models.discriminator_files import read_discriminator_file
from cyclegan_style.models.export import export_model
from cyclegan_style.networks import build_discriminator
from cyclegan_style.runs.discriminators import load_discriminators
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.discriminators import Discriminators, build_discriminators
from cyclegan_style.training.fine_tuning import begin_from

pytestmark = pytest.mark.numeric

THREE = {"discriminator__scales": 3}


def build(**fields: Any) -> Discriminators:
    discriminators = build_discriminators(tiny_config(**(THREE | fields))).double()
    enlarge_weights(discriminators)
    return discriminators


def test_each_scale_judges_means_over_more_pixels():
    discriminators, image = build(), random_batch(2, 32, 40)["a"]

    first, second, third = discriminators.judge("a", image)

    judge = discriminators["a"]
    halved = image.unflatten(3, (20, 2)).unflatten(2, (16, 2)).mean((3, 5))
    quartered = image.unflatten(3, (10, 4)).unflatten(2, (8, 4)).mean((3, 5))
    assert torch.equal(first, judge(image))
    torch.testing.assert_close(second, judge.scales["1"](halved), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(third, judge.scales["2"](quartered), rtol=1e-10, atol=1e-12)
    assert (second.shape, third.shape) == ((2, 1, 6, 8), (2, 1, 2, 3))


def test_scales_have_an_equal_say_in_the_loss_and_in_the_penalty():
    fields = {"loss__gradient_penalty": "r1", "loss__penalty_weight": 4.0}
    discriminators = build(discriminator__scales=2, **fields)
    real, fakes = random_batch(2, seed=1), random_batch(2, seed=2)

    loss = discriminators(real, fakes)["discriminator_b"]

    parts = []
    for judge, seen in (
        (discriminators["b"], lambda x: x),
        (discriminators["b"].scales["1"], lambda x: x.unflatten(3, (12, 2)).unflatten(2, (12, 2))),
    ):
        pictures, others = (seen(images["b"]) for images in (real, fakes))
        if pictures.ndim == 6:
            pictures, others = pictures.mean((3, 5)), others.mean((3, 5))
        pictures = pictures.detach().requires_grad_(True)
        verdicts = judge(pictures)
        (slopes,) = torch.autograd.grad(verdicts.mean((1, 2, 3)).sum(), pictures, retain_graph=True)
        adversarial = (verdicts - 1).square().mean() + judge(others).square().mean()
        parts.append(0.5 * (adversarial + 4 * slopes.square().sum((1, 2, 3)).mean()))
    torch.testing.assert_close(loss, sum(parts) / 2, rtol=1e-10, atol=0)


def test_the_first_is_what_it_is_alone():
    torch.manual_seed(0)
    alone = build_discriminator(DiscriminatorConfig(channels=4, layers=1))
    torch.manual_seed(0)
    first = build_discriminator(DiscriminatorConfig(channels=4, layers=1, scales=2))

    keys = set(first.state_dict()) - set(alone.state_dict())
    assert {key.split(".")[:2] == ["scales", "1"] for key in keys} == {True}
    assert len(keys) == len(alone.state_dict())


def test_a_run_with_scales_is_begun_from_and_written_for_the_reference(
    configured, tmp_path, caplog
):
    run = configured(train__max_steps=1, discriminator__scales=2)
    run_training(run)
    saved = load_file(Path(run.run.dir) / "checkpoints/step-00000001/discriminators.safetensors")
    assert {each.config.scales for each in load_discriminators(run.run.dir).values()} == {2}

    for scales, told in ((1, ""), (2, ""), (3, "; fresh are scales 3")):
        config = tiny_config(train__seed=1, discriminator__scales=scales)
        step = CycleGanStep(config, Accelerator(cpu=True))
        assert begin_from(run.run.dir, config, step).endswith(f"{run.run.dir}{told}")
        state = step.discriminators.state_dict()
        common = saved.keys() & state.keys()
        assert len(common) == len(saved) * min(scales, 2) / 2
        assert all(torch.equal(state[key], saved[key]) for key in common)

    assert main(["convert", run.run.dir, str(tmp_path / "theirs")]) == 0
    assert "the reference has one scale" in caplog.text
    network = reference_networks()["D_A"]
    network.load_state_dict(torch.load(tmp_path / "theirs/latest_net_D_A.pth"))


def test_a_file_tells_its_scales(tmp_path):
    judge = build().float()["a"]
    export_model(tmp_path, {}, "{}", {"a": judge, "b": judge})

    found = read_discriminator_file(tmp_path / "discriminator_a.safetensors")

    assert found.config.scales == 3
    assert equal_tensors(found.network.state_dict(), judge.state_dict())


def test_absurdly_many_scales_are_refused_at_once(configured):
    config = configured(train__max_steps=1)
    run_training(config)
    file = Path(config.run.dir) / "config.yaml"
    file.write_text(file.read_text().replace("scales: 1\n", "scales: 1000000000\n"))

    with pytest.raises(UserError, match="no picture can be halved so often"):
        load_discriminators(config.run.dir)
