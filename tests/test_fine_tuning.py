"""A fresh run begins with the weights of a trained model, ours or the reference's."""

from copy import deepcopy
from pathlib import Path

import pytest
import record_trajectory as plain
import torch
from accelerate import Accelerator
from runs_in_tests import assert_equal_state, metrics_of, run_training
from safetensors.torch import load_file
from test_convert import reference_networks, write_reference
from tiny import equal_tensors, forget_accelerator, stray, tiny_config

from cyclegan_style.commands.main import main
from cyclegan_style.errors import UserError
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.fine_tuning import begin_from

OURS = {"G_A": ("G", "ab"), "G_B": ("G", "ba"), "D_A": ("D", "b"), "D_B": ("D", "a")}


def build(**fields) -> tuple[object, CycleGanStep]:
    forget_accelerator()
    config = tiny_config(**fields)
    return config, CycleGanStep(config, Accelerator(cpu=True))


def assert_equal_networks(step: CycleGanStep, networks: dict[str, torch.nn.Module]) -> None:
    for name, network in networks.items():
        pair, place = OURS[name]
        ours = step.generators if pair == "G" else step.discriminators
        assert equal_tensors(ours[place].state_dict(), network.state_dict())


@pytest.fixture
def theirs(tmp_path):
    """A folder of the reference, and the networks in it."""
    networks = reference_networks()
    return write_reference(tmp_path / "theirs", networks), networks


@pytest.mark.numeric
def test_a_step_begins_with_the_reference_networks(theirs):
    folder, networks = theirs
    config, step = build(train__ema_decay=0.9, train__channels_last=True)

    told = begin_from(str(folder), config, step)

    assert "discriminators of" in told
    assert_equal_networks(step, networks)
    image = torch.rand(1, 3, 24, 24) * 2 - 1
    for generators in (step.generators, step.exported_generators):
        for name, direction in (("G_A", "ab"), ("G_B", "ba")):
            usual, exact = networks[name](image), deepcopy(networks[name]).double()(image.double())
            assert stray(generators[direction](image), exact) < 5 * stray(usual, exact)


def test_without_discriminators_theirs_stay_random(theirs):
    folder, networks = theirs
    for name in ("D_A", "D_B"):
        (folder / f"latest_net_{name}.pth").unlink()
    config, step = build()
    before = {key: tensor.clone() for key, tensor in step.discriminators.state_dict().items()}

    assert "has no discriminators" in begin_from(str(folder), config, step)

    assert_equal_networks(step, {name: networks[name] for name in ("G_A", "G_B")})
    assert equal_tensors(step.discriminators.state_dict(), before)


def test_a_spectral_norm_bounds_the_weights_it_is_given(theirs):
    folder, networks = theirs
    config, step = build(discriminator__spectral_norm=True)

    begin_from(str(folder), config, step)

    for name, domain in (("D_A", "b"), ("D_B", "a")):
        judge = step.discriminators[domain].eval()
        for place in (0, 2, 5):
            weight = networks[name].model[place].weight
            bounded = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
            # The norm is estimated by a few iterations.
            assert (judge.model[place].weight - bounded).abs().max() < 0.05 * bounded.abs().max()


def test_a_run_is_fine_tuned_from_reference_files_and_goes_on_by_itself(theirs, configured):
    folder, networks = theirs
    fields = {"train__start_from": str(folder), "optimizer__learning_rate": 1e-6}
    tuned, parts = configured("tuned", **fields), configured("parts", **fields)

    run_training(tuned)
    run_training(configured("parts", **fields, train__max_steps=3))
    for path in folder.iterdir():
        path.unlink()  # a run that goes on has no need of them
    run_training(parts)

    run, other = Path(tuned.run.dir), Path(parts.run.dir)
    assert_equal_state(run, other, 6)
    assert metrics_of(run)[-1]["step"] == 6
    trained = load_file(run / "model" / "generator_ab.safetensors")
    for key, tensor in networks["G_A"].state_dict().items():
        assert 0 < (trained[key] - tensor).abs().max() < 1e-4


def test_a_run_begins_with_a_run(configured):
    first = configured("first", train__ema_decay=0.5)
    run_training(first)

    config, step = build()
    begin_from(first.run.dir, config, step)

    model = Path(first.run.dir) / "model"
    for direction in ("ab", "ba"):
        exported = load_file(model / f"generator_{direction}.safetensors")
        assert equal_tensors(step.generators[direction].state_dict(), exported)
    saved = load_file(Path(first.run.dir) / "checkpoints/step-00000006/discriminators.safetensors")
    assert equal_tensors(step.discriminators.state_dict(), saved)
    config, step = build()
    assert "has no discriminators" in begin_from(str(model), config, step)


def test_a_converted_folder_configures_the_run_that_begins_with_it(
    theirs, pictures, tmp_path, monkeypatch
):
    folder, networks = theirs
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(folder), "ours"]) == 0
    domains = ["--data.a", str(pictures / "trainA"), "--data.b", str(pictures / "trainB")]
    small = ["--data.load_size", "32", "--data.crop_size", "24", "--data.num_workers", "0"]
    small += ["--train.max_steps", "1", "--optimizer.learning_rate", "0", "--train.cpu_threads=1"]
    start = ["--config", "ours/config.yaml", "--train.start_from", "ours", "--run.dir", "run"]

    assert main(["train", *start, *domains, *small]) == 0

    trained = load_file("run/checkpoints/step-00000001/discriminators.safetensors")
    expected = networks["D_A"].state_dict()
    assert equal_tensors({k[2:]: v for k, v in trained.items() if k[0] == "b"}, expected)


MISFITS = {
    "generator.blocks is 1 there and 2 here": {"generator__blocks": 2},
    "generator.channels is 4 there and 8 here": {"generator__channels": 8},
    "generator.dropout is False there and True here": {"generator__dropout": True},
    "generator.architecture is resnet there and unet here": {
        "generator__architecture": "unet",
        "generator__levels": 5,
        "data__crop_size": 32,
    },
    "discriminator.layers is 1 there and 2 here": {"discriminator__layers": 2},
    "discriminator.norm is instance there and batch here": {"discriminator__norm": "batch"},
    "data.channels_a is 3 there and 1 here; data.channels_b is 3 there and 1 here": {
        "data__channels_a": 1,
        "data__channels_b": 1,
    },
}


@pytest.mark.parametrize("complaint", MISFITS)
def test_other_networks_than_configured_are_listed(theirs, complaint):
    folder, _ = theirs
    config, step = build(**MISFITS[complaint])
    before = {key: tensor.clone() for key, tensor in step.generators.state_dict().items()}

    with pytest.raises(UserError) as caught:
        begin_from(str(folder), config, step)

    assert str(caught.value).startswith("train.start_from: ")
    assert str(caught.value).endswith(complaint)
    assert equal_tensors(step.generators.state_dict(), before)


def test_a_unet_may_begin_to_drop_out(tmp_path):
    networks = {name: plain.Unet(3, 3, 5, 4, "instance", False) for name in ("G_A", "G_B")}
    folder = write_reference(tmp_path / "theirs", networks)
    unet = {"generator__architecture": "unet", "generator__levels": 5, "data__crop_size": 32}
    config, step = build(generator__dropout=True, **unet)
    begin_from(str(folder), config, step)
    assert_equal_networks(step, networks)


def test_one_generator_is_not_enough(theirs, capsys):
    folder, _ = theirs
    config, step = build()
    (folder / "latest_net_G_B.pth").unlink()
    with pytest.raises(
        UserError, match="has no generator ba, which is to be trained; it translates ab alone"
    ):
        begin_from(str(folder), config, step)
    with pytest.raises(UserError, match="no such file or folder"):
        begin_from(str(folder / "nowhere"), config, step)
