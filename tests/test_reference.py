"""Recorded trajectories of the reference and of a plain CycleGAN come out of our own step."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import record_trajectory as plain
from safetensors.torch import load_file, save_file

from cyclegan_style.commands.main import main
from cyclegan_style.errors import UserError
from cyclegan_style.training.replay import ReplayErrors, replay

REFERENCE = Path(__file__).parent / "data" / "reference_step.safetensors"

VARIANTS = {
    "no identity": {"lambda_identity": 0.0},
    "unet": {"netG": "unet_32", "size": 32},
    "no norm": {"normG": "none", "normD": "none"},
    "shallow": {"n_layers_D": 2},
    "named depth": {"netD": "n_layers", "n_layers_D": 1},
    "batch norm": {"normG": "batch", "normD": "batch"},
    "mixed norms": {"normG": "instance", "normD": "batch"},
    "other rates": {"lr": 0.003, "beta1": 0.9},
    "pixel": {"netD": "pixel"},
    "vanilla": {"gan_mode": "vanilla"},
    "grey": {"nc_a": 1, "nc_b": 1},
    "one image": {"batch": 1},
}


def record(folder: Path, **changes: Any) -> Path:
    """A fresh trajectory; changes of the recipe, or of size, channels and batch."""
    path = folder / "trajectory.safetensors"
    size = changes.pop("size", 24)
    shape = {key: changes.pop(key) for key in ("nc_a", "nc_b", "batch") if key in changes}
    plain.record(path, plain.RECIPE | changes, height=size, width=size + 8 * (size == 24), **shape)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A trajectory of the smallest networks."""
    return record(tmp_path_factory.mktemp("small"), batch=1)


@pytest.fixture
def recorded(small, tmp_path) -> Path:
    """A copy of the small trajectory that a test may falsify."""
    for ending in (".safetensors", ".json"):
        shutil.copy(small.with_suffix(ending), tmp_path)
    return tmp_path / small.name


def falsify(path: Path, key: str, value: float) -> None:
    """Change one number of the tensor ``key``."""
    tensors = load_file(path)
    tensors[key].view(-1)[0] += value
    save_file(tensors, path)


def change_record(path: Path, change: Any) -> None:
    """Rewrite the JSON file after ``change(record)``."""
    record_path = path.with_suffix(".json")
    facts = json.loads(record_path.read_text())
    change(facts)
    record_path.write_text(json.dumps(facts))


def complaint_about(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        replay(path)
    message = str(caught.value)
    assert path.stem in message
    assert "\n" not in message
    return message


def assert_equal(errors: ReplayErrors) -> None:
    # Written so that a comparison with not-a-number fails.
    assert errors.max_relative_loss_error <= 1e-12
    assert errors.max_output_error <= 1e-12
    assert errors.max_weight_error <= 1e-12


@pytest.mark.numeric
def test_the_reference_is_reproduced():
    assert_equal(replay(REFERENCE))


@pytest.mark.numeric
@pytest.mark.parametrize("name", VARIANTS)
def test_other_recipes_are_reproduced(name, tmp_path):
    assert_equal(replay(record(tmp_path, **VARIANTS[name])))


def test_the_recorded_steps_do_train():
    tensors = load_file(REFERENCE)
    for net in ("G_A", "G_B", "D_A", "D_B"):
        before, after = (
            (tensors[f"{when}.{net}.model.2.weight"] for when in ("init", "final"))
            if net.startswith("D")
            else (tensors[f"{when}.{net}.model.4.weight"] for when in ("init", "final"))
        )
        assert (before - after).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("final.G_A.model.4.weight", "max_weight_error"),
        ("final.D_B.model.0.weight", "max_weight_error"),
        ("step0.rec_B", "max_output_error"),
        ("init.G_B.model.1.weight", "max_relative_loss_error"),
        ("input.2.A", "max_relative_loss_error"),
    ],
)
@pytest.mark.parametrize("value", [1e-3, float("nan")])
def test_falsified_tensors_are_noticed(recorded, key, field, value):
    falsify(recorded, key, value)

    assert not getattr(replay(recorded), field) <= 1e-6


@pytest.mark.parametrize("name", ["D_A", "G_B", "cycle_A", "idt_A", "idt_B"])
@pytest.mark.parametrize("factor", [1.00001, float("nan")])
def test_falsified_losses_are_noticed(recorded, name, factor):
    def change(facts: dict[str, Any]) -> None:
        facts["losses"][2][name] *= factor

    change_record(recorded, change)

    assert not replay(recorded).max_relative_loss_error <= 1e-6


@pytest.mark.parametrize("field", ["lambda_A", "lambda_B", "lambda_identity", "lr", "beta1"])
def test_a_falsified_recipe_is_noticed(recorded, field):
    def change(facts: dict[str, Any]) -> None:
        facts["config"][field] *= 1.01

    change_record(recorded, change)
    errors = replay(recorded)

    assert max(errors.max_relative_loss_error, errors.max_weight_error) > 1e-6


def test_a_missing_file_is_told(tmp_path, recorded):
    assert "missing" in complaint_about(tmp_path / "missing.safetensors")
    recorded.with_suffix(".json").unlink()
    complaint_about(recorded)
    complaint_about(tmp_path)


def test_a_truncated_file_is_told(recorded):
    recorded.write_bytes(recorded.read_bytes()[:5000])
    complaint_about(recorded)


def test_a_file_of_something_else_is_told(recorded):
    recorded.write_bytes(b"not a trajectory")
    complaint_about(recorded)


BROKEN_RECORDS = {
    "no config": lambda facts: facts.pop("config"),
    "no losses": lambda facts: facts.pop("losses"),
    "losses of no step": lambda facts: facts["losses"].append({}) or facts["losses"].pop(0),
    "another loss": lambda facts: facts["losses"][0].update(D_C=1.0),
    "words as a loss": lambda facts: facts["losses"][0].update(D_A="small"),
    "config of words": lambda facts: facts.update(config="lsgan"),
    "losses as one": lambda facts: facts.update(losses=3),
    "no netG": lambda facts: facts["config"].pop("netG"),
    "another netG": lambda facts: facts["config"].update(netG="transformer_9"),
    "blocks in words": lambda facts: facts["config"].update(netG="resnet_nineblocks"),
    "netG without a size": lambda facts: facts["config"].update(netG="resnet"),
    "another depth": lambda facts: facts["config"].update(netG="resnet_3blocks"),
    "another norm": lambda facts: facts["config"].update(normG="layer"),
    "another width": lambda facts: facts["config"].update(ngf=3),
    "another objective": lambda facts: facts["config"].update(gan_mode="wgangp"),
    "a pool": lambda facts: facts["config"].update(pool_size=50),
    "more steps than inputs": lambda facts: facts["losses"].append(facts["losses"][0]),
}


@pytest.mark.parametrize("name", BROKEN_RECORDS)
def test_a_record_that_does_not_fit_is_told(recorded, name, capsys):
    change_record(recorded, BROKEN_RECORDS[name])

    assert main(["replay", str(recorded)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "prefix",
    ["init.D_A.", "init.G_B.model.4.", "final.G_A.", "final.D_B.model.0.", "input.0.A", "step0.fa"],
)
def test_missing_tensors_are_told(recorded, prefix, capsys):
    tensors = load_file(recorded)
    save_file({k: v for k, v in tensors.items() if not k.startswith(prefix)}, recorded)

    assert main(["replay", str(recorded)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_prints_the_three_errors(small, capsys):
    for form in (["--json"], []):
        assert main(["replay", str(small), *form]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed.keys() == {"max_relative_loss_error", "max_output_error", "max_weight_error"}
        assert max(printed.values()) <= 1e-9
