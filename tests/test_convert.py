"""Runs become files that the reference loads, and the reference's files become models of ours.

The reference is here the plainly written networks of ``record_trajectory``, which load only files
whose keys are exactly their own.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import record_trajectory as plain
import torch
from runs_in_tests import run_training
from safetensors.torch import load_file
from tiny import enlarge_weights, equal_tensors, stray
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cyclegan_style.commands.main import main
from cyclegan_style.config import DiscriminatorConfig
from cyclegan_style.errors import UserError
from cyclegan_style.models.discriminator_files import read_discriminator_file
from cyclegan_style.models.model_files import load_generator
from cyclegan_style.runs.discriminators import load_discriminators

pytestmark = pytest.mark.numeric

NETWORKS = ("G_A", "G_B", "D_A", "D_B")
RECIPE = plain.RECIPE | {"ngf": 4, "ndf": 4, "netG": "resnet_1blocks", "n_layers_D": 1}


def reference_networks(**recipe: Any) -> dict[str, nn.Module]:
    """The reference's four networks in evaluation mode, with weights that count."""
    networks = plain.PlainCycleGAN(RECIPE | recipe).nets
    for seed, network in enumerate(networks.values()):
        enlarge_weights(network, seed)
    return {name: network.float().eval() for name, network in networks.items()}


def write_reference(folder: Path, networks: dict[str, nn.Module], prefix: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name, network in networks.items():
        state = {f"{prefix}{key}": tensor for key, tensor in network.state_dict().items()}
        torch.save(state, folder / f"latest_net_{name}.pth")
    return folder


def images(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_equal_networks(ours: nn.Module, theirs: nn.Module, channels: int = 3) -> None:
    """Ours has the weights of theirs and computes the same, in float64: by code of its own."""
    inputs = images()[:, :channels].double()
    difference = ours.double()(inputs) - theirs.double().eval()(inputs)
    assert difference.abs().max() < 1e-12


def test_a_run_becomes_reference_files_that_compute_the_same(configured, tmp_path, capsys):
    config = configured()
    run_training(config)
    capsys.readouterr()

    assert main(["convert", config.run.dir, str(tmp_path / "theirs"), "--json"]) == 0

    written = json.loads(capsys.readouterr().out)["written"]
    assert [Path(path).name for path in written] == [
        *("latest_net_G_A.pth", "latest_net_G_B.pth"),
        *("latest_net_D_B.pth", "latest_net_D_A.pth"),
    ]
    networks = reference_networks()
    for name, network in networks.items():
        state = torch.load(tmp_path / "theirs" / f"latest_net_{name}.pth", weights_only=True)
        network.load_state_dict(state)  # refuses any key that is not its own
    saved = load_file(Path(config.run.dir) / "checkpoints/step-00000006/discriminators.safetensors")
    # The reference's D_A judges B.
    assert torch.equal(networks["D_A"].model[0].weight, saved["b.model.0.weight"])
    assert torch.equal(networks["D_B"].model[0].weight, saved["a.model.0.weight"])
    for name, direction in (("G_A", "ab"), ("G_B", "ba")):
        assert_equal_networks(load_generator(config.run.dir, direction).network, networks[name])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_reference_files_become_a_model_and_come_back(tmp_path, capsys, prefix):
    networks = reference_networks()
    theirs = write_reference(tmp_path / "theirs", networks, prefix)

    assert main(["convert", str(theirs), str(tmp_path / "ours")]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert sorted(names) == sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back")]) == 0

    for name in NETWORKS:
        back = torch.load(tmp_path / "back" / f"latest_net_{name}.pth", weights_only=True)
        assert equal_tensors(back, networks[name].state_dict())


def test_a_model_is_never_written_over(configured, tmp_path, capsys):
    config = configured()
    run_training(config)
    capsys.readouterr()
    run = Path(config.run.dir)
    for model, output in ((run, run / "model"), (run / "model", run / "model"), (run, run)):
        before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
        assert main(["convert", str(model), str(output)]) == 2
        assert "holds the model itself" in capsys.readouterr().err
        assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_files_of_a_folder_load_by_any_command(tmp_path):
    networks = reference_networks(netG="resnet_2blocks")
    theirs = write_reference(tmp_path / "theirs", networks)
    for name, direction in (("G_A", "ab"), ("G_B", "ba")):
        ours = load_generator(theirs, direction)
        assert ours.config.blocks == 2
        assert_equal_networks(ours.network, networks[name])


def test_without_discriminators_one_line_says_so(tmp_path, caplog):
    networks = reference_networks()
    theirs = write_reference(tmp_path / "theirs", {k: networks[k] for k in ("G_A", "G_B")})

    assert main(["convert", str(theirs), str(tmp_path / "ours")]) == 0
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back")]) == 0

    assert caplog.text.count("has no discriminators") == 2
    names = {path.name for path in (tmp_path / "back").iterdir()}
    assert names == {"latest_net_G_A.pth", "latest_net_G_B.pth"}


DISCRIMINATORS = {
    "basic": ({"netD": "basic", "n_layers_D": 3}, DiscriminatorConfig(channels=4)),
    "shallow": ({"n_layers_D": 1}, DiscriminatorConfig(channels=4, layers=1)),
    "deep": ({"n_layers_D": 4}, DiscriminatorConfig(channels=4, layers=4)),
    "pixel": ({"netD": "pixel"}, DiscriminatorConfig("pixel", channels=4)),
    "batch norm": (
        {"n_layers_D": 2, "normD": "batch"},
        DiscriminatorConfig(channels=4, layers=2, norm="batch"),
    ),
    "pixel, batch norm": (
        {"netD": "pixel", "normD": "batch"},
        DiscriminatorConfig("pixel", channels=4, norm="batch"),
    ),
    "no norm": (
        {"n_layers_D": 2, "normD": "none"},
        DiscriminatorConfig(channels=4, layers=2, norm="none"),
    ),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("channels", [1, 3])
def test_discriminators_tell_their_architecture(tmp_path, name, channels):
    recipe, config = DISCRIMINATORS[name]
    network = plain.make_discriminator(RECIPE | recipe, channels)
    enlarge_weights(network)
    torch.save(network.state_dict(), tmp_path / "latest_net_D_A.pth")

    loaded = read_discriminator_file(tmp_path / "latest_net_D_A.pth")

    assert (loaded.config, loaded.in_channels) == (config, channels)
    assert_equal_networks(loaded.network, network, channels)


def test_old_discriminators(tmp_path):
    network = plain.make_discriminator(RECIPE, 3)
    state = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    state["module.model.3.running_mean"] = torch.zeros(8)
    state["module.model.3.num_batches_tracked"] = torch.tensor(0)
    torch.save(state, tmp_path / "D.pth")
    loaded = read_discriminator_file(tmp_path / "D.pth")
    assert equal_tensors(loaded.network.state_dict(), network.state_dict())


def test_bounded_weights_are_written(configured):
    config = configured(discriminator__spectral_norm=True, train__max_steps=1)
    run_training(config)

    loaded = load_discriminators(config.run.dir)["b"].network

    checkpoint = Path(config.run.dir) / "checkpoints" / "step-00000001"
    saved = load_file(checkpoint / "discriminators.safetensors")
    expected = plain.make_discriminator(RECIPE, 3)
    for module in expected.modules():
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    expected.load_state_dict({k[2:]: v for k, v in saved.items() if k.startswith("b.")})
    # The bounded weights were rounded to float32.
    exact = expected.double().eval()(images().double())
    assert stray(loaded.double()(images().double()), exact) < 1e-6 * exact.abs().mean()
    assert loaded.state_dict().keys() == plain.make_discriminator(RECIPE, 3).state_dict().keys()


def test_networks_that_do_not_match_are_no_model(tmp_path, capsys):
    networks = reference_networks()
    cases = {
        "generator.blocks is 1 and 2": ("G_B", reference_networks(netG="resnet_2blocks")["G_B"]),
        "discriminator.layers is": ("D_A", reference_networks(n_layers_D=2)["D_A"]),
        "domain b has 1 and 3 channels": ("D_A", plain.make_discriminator(RECIPE, 1)),
    }
    for complaint, (name, other) in cases.items():
        theirs = write_reference(tmp_path / "theirs", networks | {name: other})
        assert main(["convert", str(theirs), str(tmp_path / "ours")]) == 2
        assert complaint in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_layers_that_the_reference_has_not_are_refused(configured, tmp_path, capsys):
    layers = {"upsampling": "nearest", "skip": True, "padding": "zero", "last_kernel": 5}
    fields = {f"generator__{name}": value for name, value in layers.items()}
    config = configured(train__max_steps=1, **fields)
    run_training(config)
    capsys.readouterr()

    assert main(["convert", config.run.dir, str(tmp_path / "theirs")]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    named = ("last_kernel 5", "padding zero", "skip true", "upsampling nearest")
    assert f"no layers for {', '.join(f'generator.{each}' for each in named)}" in line
    assert not (tmp_path / "theirs").exists()


def test_files_that_are_not_whole_are_told(tmp_path, capsys):
    theirs = write_reference(tmp_path / "theirs", reference_networks())
    assert main(["convert", str(theirs / "latest_net_G_B.pth"), "x"]) == 2
    assert "name its folder" in capsys.readouterr().err
    (theirs / "latest_net_D_B.pth").unlink()
    assert main(["convert", str(theirs), str(tmp_path / "ours")]) == 2
    assert "latest_net_D_B.pth: no such file" in capsys.readouterr().err


def test_a_discriminator_file_of_something_else(tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "D.pth")
    with pytest.raises(UserError, match=r"known discriminator.*model\.0\.weight.*conv\.weight"):
        read_discriminator_file(tmp_path / "D.pth")
    torch.save(reference_networks()["G_A"].state_dict(), tmp_path / "D.pth")
    with pytest.raises(UserError, match=r"D\.pth: fits no known discriminator"):
        read_discriminator_file(tmp_path / "D.pth")
    torch.save(reference_networks()["D_A"].state_dict(), tmp_path / "G.pth")
    with pytest.raises(UserError, match=r"G\.pth: fits no known generator"):
        load_generator(tmp_path / "G.pth")


def test_a_run_beside_reference_files_is_the_run(configured, tmp_path):
    config = configured()
    run_training(config)
    write_reference(Path(config.run.dir), reference_networks())
    assert main(["convert", config.run.dir, str(tmp_path / "theirs")]) == 0
    loaded = load_generator(tmp_path / "theirs" / "latest_net_G_A.pth").network.state_dict()
    assert equal_tensors(loaded, load_generator(config.run.dir, "ab").network.state_dict())
