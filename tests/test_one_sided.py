"""One-sided training: generator_ab and discriminator_b alone, held to the input by a contrast."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training
from safetensors.torch import load_file
from tiny import (
    enlarge_weights,
    equal_tensors,
    forget_accelerator,
    random_batch,
    tiny_config,
)

from cyclegan_style.benchmarks.recipe_scores import HeldOut
from cyclegan_style.benchmarks.recipe_table import RecipeTable
from cyclegan_style.commands.main import main
from cyclegan_style.config import Config, with_values
from cyclegan_style.data.images import read_image
from cyclegan_style.errors import UserError
from cyclegan_style.networks.encoders import encoder_activations
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.fine_tuning import begin_from

ONE_SIDED = {
    "train__one_sided": True,
    "loss__contrastive": 2.0,
    "loss__cycle_a": 0.0,
    "loss__cycle_b": 0.0,
    "loss__identity_a": 0.0,
}
BESIDE = {
    "loss__contrastive_identity": 3.0,
    "loss__feature_matching": 1.0,
    "loss__detail": 0.5,
    "train__pool_size": 2,
    "train__ema_decay": 0.9,
    "generator__dropout": True,
    "discriminator__augment": ("color", "cutout"),
}


def build(**fields) -> tuple[Config, CycleGanStep]:
    forget_accelerator()
    config = tiny_config(**(ONE_SIDED | fields))
    return config, CycleGanStep(config, Accelerator(cpu=True), torch.float64)


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory) -> Config:
    """A finished run that is scored and that was killed on its way."""
    config = tiny_config(
        run__dir=str(tmp_path_factory.mktemp("one-sided") / "whole"),
        data__a=str(pictures / "trainA"),
        data__b=str(pictures / "trainB"),
        data__test_a=str(pictures / "testA"),
        data__test_b=str(pictures / "testB"),
        train__max_steps=6,
        checkpoint__every_steps=3,
        tracking__log_every_steps=2,
        tracking__sample_every_steps=6,
        evaluation__every_steps=3,
        evaluation__metrics=("swd",),
        **(ONE_SIDED | BESIDE),
    )
    run_training(config)
    return config


@pytest.mark.numeric
def test_one_encoder_tells_places_of_the_translation_and_of_the_picture_given_back():
    _, step = build(data__crop_size=16, loss__contrastive_identity=3.0)
    enlarge_weights(step.generators_in_training)
    real = random_batch(2, 16, 16)

    losses = step.generators_in_training(real, step.discriminators).losses

    generator = step.generators["ab"]
    for name, weight, source in (("contrastive_ab", 2, "a"), ("contrastive_identity_b", 3, "b")):
        of_layers = []
        for project, found, wanted in zip(
            step.projections["a"],
            encoder_activations(generator, generator(real[source])),
            encoder_activations(generator, real[source]),
            strict=True,
        ):
            # 256 places or fewer are all taken, in whichever order.
            query, key = (
                F.normalize(project(seen.flatten(2).mT), dim=2) for seen in (found, wanted)
            )
            logits = torch.einsum("npd,nqd->npq", query, key) / 0.07
            of_layers.append((logits.logsumexp(2) - logits.diagonal(dim1=1, dim2=2)).mean())
        expected = weight * sum(of_layers) / len(of_layers)
        torch.testing.assert_close(losses[name], expected, rtol=1e-10, atol=0)


@pytest.mark.numeric
def test_what_translates_from_a_to_b_begins_as_on_both_sides_and_is_judged_alike():
    fields = {"data__crop_size": 16, "loss__identity_b": 4.0}
    _, one = build(**fields)
    _, two = build(train__one_sided=False, **fields)
    assert equal_tensors(one.generators["ab"].state_dict(), two.generators["ab"].state_dict())
    one.discriminators["b"].load_state_dict(two.discriminators["b"].state_dict())
    real = random_batch(2, 16, 16)

    turns = [step.generators(real, step.discriminators) for step in (one, two)]

    assert turns[0].losses.keys() == {"adversarial_ab", "identity_b"}
    assert turns[0].fakes.keys() == {"b"}
    for name, loss in turns[0].losses.items():
        assert loss == turns[1].losses[name]


@pytest.mark.parametrize("giving_back", [False, True])
def test_every_weight_has_a_gradient_for_which_processes_may_wait(giving_back):
    _, step = build(loss__contrastive_identity=1.0, train__identity_steps=1)
    step.set_progress(0.0, steps=0 if giving_back else 1)
    real = random_batch()

    turn = step.generators_in_training(real, step.discriminators)
    torch.stack(list(turn.losses.values())).sum().backward()

    assert list(turn.losses) == [
        *("adversarial_ab", "identity_b", "contrastive_ab", "contrastive_identity_b"),
    ]
    assert all(p.grad is not None for p in step.generators_in_training.parameters())
    if giving_back:
        given = [F.l1_loss(step.generators["ab"](images), images) for images in real.values()]
        torch.testing.assert_close(turn.losses["identity_b"], sum(given))
    else:
        sum(step.discriminators(real, turn.fakes).values()).backward()
        assert all(p.grad is not None for p in step.discriminators.parameters())


def test_only_what_is_trained_is_saved_shown_and_measured(trained):
    run = Path(trained.run.dir)
    tensors = {
        path.stem: load_file(path) for path in (run / "checkpoints/step-00000006").glob("*.s*")
    }
    for name, prefix in (("generators", "ab."), ("discriminators", "b."), ("projections", "a.")):
        assert all(key.startswith(prefix) for key in tensors[name])
    assert all(key.startswith("module.ab.") for key in tensors["average"].keys() - {"n_averaged"})
    assert not any(key.startswith("pool.a") for key in tensors["process-00000"])
    files = {"config.yaml", "generator_ab.safetensors"}
    assert {path.name for path in (run / "model").iterdir()} == files
    assert {path.name for path in (run / "best").iterdir()} == {"swd_ab"}
    assert {path.name for path in (run / "best/swd_ab").iterdir()} == files | {"score.json"}
    measured = {name for line in metrics_of(run) for name in line}
    beside = {
        "contrastive_identity_b",
        "feature_matching_ab",
        "detail_ab",
        "swd_ab",
        "structure_ab",
    }
    health = {"health_change_ab", "health_spread_b"}
    assert measured >= {"adversarial_ab", "contrastive_ab", "discriminator_b"} | beside | health
    assert not {name for name in measured if name.endswith(("_ba", "_a")) or "hidden" in name}
    # A, its translation, B and what is left of it by the same generator.
    sheet = read_image(run / "samples" / "step-00000006.png")
    assert sheet.shape[1] == 4 * trained.data.crop_size + 5 * 4
    assert "swd ab" in (run / "report.html").read_text().lower().replace("_", " ")


def test_a_killed_run_goes_on_bit_for_bit(trained, monkeypatch):
    folder = str(Path(trained.run.dir).with_name("killed"))
    killed = with_values(trained, {"run.dir": folder, "evaluation.every_steps": 0})
    with killed_in_step(6, monkeypatch):
        run_training(killed)

    run_training(killed)

    assert_equal_state(Path(trained.run.dir), Path(killed.run.dir), step=6)


def test_commands_know_the_one_direction(trained, pictures, tmp_path, capsys):
    model, a, b = trained.run.dir, str(pictures / "testA"), str(pictures / "testB")
    translate = ["translate", "--model", model, "--input", a, "--output", str(tmp_path / "out")]
    capsys.readouterr()

    assert main([*translate, "--direction", "ba"]) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert "generator_ba.safetensors: no such file; this model translates A to B only" in refused
    assert main([*translate, "--direction", "ab"]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    capsys.readouterr()
    scored = ["--a", a, "--b", b, "--metrics", "swd", "--no-cache", "--json"]
    assert main(["evaluate", "model", "--model", model, *scored]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "ab" in found
    assert "ba" not in found


def test_files_of_the_reference_hold_the_one_direction_and_come_back(trained, tmp_path, capsys):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"

    assert main(["convert", trained.run.dir, str(theirs)]) == 0
    assert main(["convert", str(theirs), str(ours)]) == 0

    names = {path.name for path in theirs.iterdir()}
    assert names == {"latest_net_G_A.pth", "latest_net_D_A.pth"}
    file = "generator_ab.safetensors"
    assert {path.name for path in ours.iterdir()} == {
        *("config.yaml", file, "discriminator_b.safetensors"),
    }
    saved = load_file(Path(trained.run.dir) / "model" / file)
    assert equal_tensors(load_file(ours / file), saved)


def test_a_run_begins_with_one_side_of_two_but_not_the_other_way_round(trained, configured):
    two_sided = configured("two", train__max_steps=1, generator__dropout=True)
    run_training(two_sided)
    config, step = build(generator__dropout=True)

    begin_from(two_sided.run.dir, config, step)

    checkpoint = Path(two_sided.run.dir) / "checkpoints/step-00000001"
    for name, networks, held in (
        ("generators", step.generators, "ab."),
        ("discriminators", step.discriminators, "b."),
    ):
        saved = load_file(checkpoint / f"{name}.safetensors")
        theirs = {key: tensor for key, tensor in saved.items() if key.startswith(held)}
        assert equal_tensors({k: v.float() for k, v in networks.state_dict().items()}, theirs)
    config, step = build(train__one_sided=False, generator__dropout=True)
    with pytest.raises(UserError, match="no generator ba, which is to be trained; it translates a"):
        begin_from(trained.run.dir, config, step)


def test_recipes_are_compared_in_the_directions_that_they_train(trained):
    held_out = HeldOut(replace(trained, train=replace(trained.train, one_sided=False)))
    two_sided = tiny_config()

    assert held_out.score_run(Path(trained.run.dir)).keys() == {"ab"}
    for recipes, names in (([trained], ["ab"]), ([trained, two_sided], ["ab", "ba"])):
        table = RecipeTable(dict(zip("xy", recipes, strict=False)), 1.0, 1, {}, "a machine")
        assert [direction.name for direction in table.directions] == names
