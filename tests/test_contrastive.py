"""Places of a translation are told by the generators' own encoders and by projections."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from runs_in_tests import run_training
from safetensors.torch import load_file
from tiny import enlarge_weights, random_batch, tiny_config
from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.encoders import encoder_activations
from cyclegan_style.training.contrastive import Projections, contrastive
from cyclegan_style.training.cyclegan_step import CycleGanStep

pytestmark = pytest.mark.numeric

CONTRASTIVE = {"loss__contrastive": 2.0, "loss__cycle_a": 0.0, "loss__cycle_b": 0.0}
ARCHITECTURES = {
    "resnet": {"blocks": 4},
    "unshuffled": {"blocks": 4, "downsampling": "unshuffled"},
    "unet": {"architecture": "unet", "levels": 5},
    "residual_unet": {"architecture": "residual_unet", "levels": 5},
    "unet at full size": {"architecture": "unet", "levels": 5, "full_size_channels": 2},
    "residual_unet at full size": {
        "architecture": "residual_unet",
        "levels": 5,
        "full_size_channels": 2,
    },
}


@pytest.mark.parametrize("fields", [{}, {"downsampling": "blurred", "skip": True}])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_encoder_shows_what_the_network_computes(architecture, fields):
    fields = fields | ARCHITECTURES[architecture]
    network = build_generator(GeneratorConfig(channels=2, **fields)).double()
    enlarge_weights(network)
    image = random_batch(2, 32, 32)["a"]

    shown = encoder_activations(network, image)

    if architecture.startswith("unet"):
        layers = network.model.model
        layers = layers[0].below if "full_size_channels" in fields else layers
        places, level = [layers[0]], layers[1]
        for _ in range(3):
            places.append(level.model[1])
            level = next(layer for layer in level.model[2:] if hasattr(layer, "model"))
        sides = [16, 8, 4, 2]
    elif architecture.startswith("residual_unet"):
        layers = network.model[0].below if "full_size_channels" in fields else network.model
        places, level = [layers[0]], layers[1]
        for _ in range(3):
            places.append(level.below[0])
            level = level.below[1]
        sides = [16, 8, 4, 2]
    elif architecture == "unshuffled":
        places, sides = [network.model[place] for place in (2, 5, 7)], [8, 8, 8]
    else:
        places = [network.model[place] for place in (1, 4, 7, 10, 12)]
        sides = [32, 16, 8, 8, 8]
    found: list[Tensor] = []
    for module in places:
        module.register_forward_hook(lambda _, __, output: found.append(output))
    network(image)
    assert [activations.shape[-1] for activations in shown] == sides
    for ours, theirs in zip(shown, found, strict=True):
        assert torch.equal(ours, theirs)


def test_the_loss_compares_the_input_seen_by_one_encoder_with_the_translation_seen_by_the_other():
    config = tiny_config(data__crop_size=16, **CONTRASTIVE)
    step = CycleGanStep(config, Accelerator(cpu=True), torch.float64)
    enlarge_weights(step.generators_in_training)
    real = random_batch(2, 16, 16)

    turn = step.generators_in_training(real, step.discriminators)

    ab, ba = step.generators["ab"], step.generators["ba"]
    seen = zip(
        encoder_activations(ab, real["a"]),
        step.projections["a"],
        encoder_activations(ba, turn.fakes["b"]),
        step.projections["b"],
        strict=True,
    )
    losses = []
    for of_input, project_input, of_fake, project_fake in seen:
        # 256 places or fewer are all taken, in whichever order.
        key = F.normalize(project_input(of_input.flatten(2).mT), dim=2)
        query = F.normalize(project_fake(of_fake.flatten(2).mT), dim=2)
        logits = torch.einsum("npd,nqd->npq", query, key) / 0.07
        losses.append((logits.logsumexp(2) - logits.diagonal(dim1=1, dim2=2)).mean())
    loss = turn.losses["contrastive_ab"]
    torch.testing.assert_close(loss, 2 * sum(losses) / len(losses), rtol=1e-10, atol=0)
    assert turn.reconstructions == {}
    assert turn.losses["cycle_a"] == turn.losses["cycle_b"] == 0


def test_gradients_reach_the_translation_and_the_target_s_projections_alone():
    config = tiny_config(data__crop_size=16, **CONTRASTIVE)
    step = CycleGanStep(config, Accelerator(cpu=True), torch.float64)
    enlarge_weights(step.generators_in_training)
    ab, ba, real = step.generators["ab"], step.generators["ba"], random_batch(1, 16, 16)["a"]
    fake = ab(real)

    contrastive(step.projections, ("a", ab, real), ("b", ba, fake)).backward()

    assert all(p.grad is None for p in step.projections["a"].parameters())
    assert all(p.grad.any() for p in step.projections["b"].parameters() if p.ndim == 2)
    assert ab.model[-2].weight.grad.any()
    assert ba.model[4].weight.grad.any()
    assert ba.model[-2].weight.grad is None  # behind the encoder


def test_at_most_256_places_are_drawn_and_none_twice():
    torch.manual_seed(0)
    activations = [torch.randn(1, 3, 20, 30)]
    projections, chosen = Projections({"a": [3], "b": [3]}), []
    network = nn.Conv2d(3, 3, 1)
    projections.look = lambda *_: activations
    projections.register_forward_hook(lambda _, inputs, __: chosen.append(inputs[2][0]))

    for _ in range(2):
        contrastive(projections, ("a", network, None), ("b", network, None))

    assert [len(places.unique()) for places in chosen] == [256] * 4
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[1], chosen[2])


def test_projections_leave_first_weights_and_names_as_they_are():
    plain, other = (
        CycleGanStep(tiny_config(**fields), Accelerator(cpu=True)) for fields in ({}, CONTRASTIVE)
    )

    for first, second in (
        (plain.generators, other.generators),
        (plain.discriminators, other.discriminators),
    ):
        assert first.state_dict().keys() == second.state_dict().keys()
        for key, tensor in first.state_dict().items():
            assert torch.equal(tensor, second.state_dict()[key])
    first, second = (
        step.optimizers["generator_optimizer"].param_groups[0]["params"] for step in (plain, other)
    )
    assert [p.shape for p in second[: len(first)]] == [p.shape for p in first]
    assert len(second) == len(first) + len(list(other.projections.parameters()))


def test_projections_are_trained_and_saved_but_no_part_of_the_model(configured):
    config = configured(train__max_steps=1, train__ema_decay=0.9, **CONTRASTIVE)
    run_training(config)

    run = Path(config.run.dir)
    saved = load_file(run / "checkpoints/step-00000001/projections.safetensors")
    fresh = CycleGanStep(config, Accelerator(cpu=True)).projections.state_dict()
    assert saved.keys() == fresh.keys()
    assert all(
        not torch.equal(saved[key], tensor) for key, tensor in fresh.items() if tensor.ndim == 2
    )
    names = load_file(run / "checkpoints/step-00000001/average.safetensors").keys()
    assert not any("projections" in name for name in names)
    assert {path.name for path in (run / "model").iterdir()} == {
        *("config.yaml", "generator_ab.safetensors", "generator_ba.safetensors"),
    }


def test_both_domains_projections_learn_under_autocast():
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    step = CycleGanStep(tiny_config(**CONTRASTIVE), accelerator)
    before = {key: tensor.clone() for key, tensor in step.projections.state_dict().items()}

    step.run([{name: images.float() for name, images in random_batch().items()}])

    for key, tensor in step.projections.state_dict().items():
        assert tensor.ndim == 1 or not torch.equal(tensor, before[key]), key


def test_places_where_nothing_is_seen_let_fp16_go_on():
    torch.manual_seed(0)
    projections, places = Projections({"a": [4]}), [torch.arange(9)]
    nothing, something = torch.zeros(1, 4, 3, 3), torch.rand(1, 4, 3, 3)

    with torch.autocast("cpu", torch.float16):
        (vectors,) = projections("a", [nothing], places)
        (usual,) = projections("a", [something], places)
    (vectors.mean() + usual.mean()).backward()

    assert torch.equal(vectors, torch.zeros(1, 9, 256))
    torch.testing.assert_close(usual.norm(dim=2), torch.ones(1, 9))
    assert all(parameter.grad.isfinite().all() for parameter in projections.parameters())


def test_a_translation_that_keeps_its_places_has_a_lower_loss_than_one_that_moves_them():
    config = tiny_config(data__crop_size=16, **CONTRASTIVE)
    step = CycleGanStep(config, Accelerator(cpu=True), torch.float64)
    enlarge_weights(step.generators)
    network, real = step.generators["ab"], random_batch(1, 16, 16)["a"]
    one = Projections({"a": [4, 8, 16, 16], "b": [4, 8, 16, 16]}).double()
    one["b"].load_state_dict(one["a"].state_dict())

    kept, moved = (
        contrastive(one, ("a", network, real), ("b", network, fake))
        for fake in (real, real.roll(8, 3))
    )

    assert kept < moved
