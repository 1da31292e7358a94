"""The two pairs of networks compute the losses of Zhu et al. and pass each weight to its term."""

import pytest
import torch
from tiny import enlarge_weights, random_batch, tiny_config
from torch import Tensor, nn

from cyclegan_style.config import Config
from cyclegan_style.training.cyclegan import Generators, build_generators
from cyclegan_style.training.discriminators import Discriminators, build_discriminators
from cyclegan_style.training.passes import apply_to_each

pytestmark = pytest.mark.numeric

WEIGHTED = {
    "loss__cycle_a": "cycle_a",
    "loss__cycle_b": "cycle_b",
    "loss__identity_a": "identity_a",
    "loss__identity_b": "identity_b",
}


def build(config: Config) -> tuple[Generators, Discriminators]:
    """Both pairs in float64, with weights that count."""
    pairs = build_generators(config).double(), build_discriminators(config).double()
    for seed, pair in enumerate(pairs):
        enlarge_weights(pair, seed)
    return pairs


def gradients(loss: Tensor, network: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters())))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("sizes", [((24, 24), (24, 24)), ((24, 24), (32, 28))])
def test_one_pass_for_two_inputs_gives_what_two_passes_give(norm, sizes):
    generators, _ = build(tiny_config(generator__norm=norm))
    network = generators["ab"]
    first, second = (random_batch(2, *size, seed=size[0])["a"] for size in sizes)

    together = apply_to_each(network, [first, second])
    apart = network(first), network(second)

    for joint, separate in zip(together, apart, strict=True):
        torch.testing.assert_close(joint, separate, rtol=0, atol=1e-12)
    both = [gradients(x.square().sum() + y.sum(), network) for x, y in (together, apart)]
    for joint, separate in zip(*both, strict=True):
        torch.testing.assert_close(joint, separate, rtol=1e-11, atol=1e-10)


def images_per_network(config: Config) -> dict[str, int]:
    """Images that pass through each generator in its turn."""
    generators, discriminators = build(config)
    counts = {"ab": 0, "ba": 0}
    for name, network in generators.items():

        def count(_: nn.Module, inputs: tuple[Tensor], __: Tensor, name: str = name) -> None:
            counts[name] += len(inputs[0])

        network.register_forward_hook(count)
    generators(random_batch(2), discriminators)
    return counts


def test_without_an_identity_weight_there_is_no_identity_pass():
    none = tiny_config(loss__identity_a=0.0, loss__identity_b=0.0)
    only_a = tiny_config(loss__identity_b=0.0)

    assert images_per_network(tiny_config()) == {"ab": 6, "ba": 6}
    assert images_per_network(only_a) == {"ab": 4, "ba": 6}
    assert images_per_network(none) == {"ab": 4, "ba": 4}


@pytest.mark.parametrize("field", WEIGHTED)
def test_each_weight_belongs_to_one_term(field):
    weights = dict.fromkeys(WEIGHTED, 0.0) | {field: 3.0}
    generators, discriminators = build(tiny_config(**weights))
    real = random_batch(2)

    losses = generators(real, discriminators).losses

    ab, ba = generators["ab"], generators["ba"]
    unweighted = {
        "cycle_a": ba(ab(real["a"])) - real["a"],
        "cycle_b": ab(ba(real["b"])) - real["b"],
        "identity_a": ba(real["a"]) - real["a"],
        "identity_b": ab(real["b"]) - real["b"],
    }
    for name, difference in unweighted.items():
        weight = 3.0 if name == WEIGHTED[field] else 0.0
        expected = weight * difference.abs().mean().item()
        assert losses[name].item() == pytest.approx(expected, rel=1e-12), name
    assert losses["adversarial_ab"] > 0
    assert losses["adversarial_ba"] > 0


def test_generators_are_judged_in_the_domain_they_imitate():
    generators, discriminators = build(tiny_config())
    real = random_batch(2)

    turn = generators(real, discriminators)

    for name, source, target in (("ab", "a", "b"), ("ba", "b", "a")):
        fake = generators[name](real[source])
        verdict = discriminators[target](fake)
        loss = (verdict - 1).square().mean()
        torch.testing.assert_close(turn.fakes[target], fake, rtol=0, atol=1e-12)
        torch.testing.assert_close(turn.losses[f"adversarial_{name}"], loss, rtol=1e-12, atol=0)


def test_a_relativistic_game_is_about_differences_alone():
    generators, discriminators = build(tiny_config(loss__adversarial="relativistic"))
    real = random_batch(2)

    turn = generators(real, discriminators)
    losses = discriminators(real, turn.fakes)

    differences = {
        domain: discriminators[domain](turn.fakes[domain]) - discriminators[domain](real[domain])
        for domain in ("a", "b")
    }
    for domain, name in (("a", "adversarial_ba"), ("b", "adversarial_ab")):
        for found, sign in ((turn.losses[name], -1), (2 * losses[f"discriminator_{domain}"], 1)):
            expected = (sign * differences[domain]).exp().log1p().mean()
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
    # What all verdicts have in common is nothing to either side.
    last = discriminators["b"].model[-1].bias
    (moved,) = torch.autograd.grad(losses["discriminator_b"], last)
    assert abs(moved.item()) < 1e-12


@pytest.mark.parametrize("architecture", ["patch", "pixel"])
def test_activations_of_translations_are_drawn_to_those_of_real_images(architecture):
    scales = 2 if architecture == "patch" else 1
    judges = {"discriminator__architecture": architecture, "discriminator__scales": scales}
    generators, discriminators = build(tiny_config(loss__feature_matching=3.0, **judges))
    plain = Generators(dict(generators.items()), tiny_config().loss)
    real = random_batch(2)

    turn, without = (each(real, discriminators) for each in (generators, plain))

    assert turn.losses.keys() - without.losses.keys() == {
        "feature_matching_ab",
        "feature_matching_ba",
    }
    for name, loss in without.losses.items():
        torch.testing.assert_close(turn.losses[name], loss, rtol=1e-12, atol=0)
    differences = []
    for number in range(scales):
        judge = discriminators["b"].scales["1"] if number else next(discriminators["b"].children())
        means = []
        for images in (real["b"], turn.fakes["b"]):
            layers = judge if architecture == "pixel" else list(judge)
            x, of_layers = (
                nn.functional.interpolate(images, scale_factor=1 / 2**number, mode="area"),
                [],
            )
            for layer in layers:
                x = layer(x)
                if type(layer).__name__ == "LeakyReLU":
                    of_layers.append(x.mean((0, 2, 3)))
            means.append(of_layers)
        differences += [(a - b).abs().mean() for a, b in zip(*means, strict=True)]
    assert len(differences) == 2 * scales
    expected = 3 * sum(differences) / len(differences)
    loss = turn.losses["feature_matching_ab"]
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    assert all(grad.any() for grad in gradients(loss, generators["ab"]) if grad.ndim == 4)
    assert all(parameter.grad is None for parameter in discriminators.parameters())


def test_discriminators_are_halved_and_judge_their_own_domain():
    _, discriminators = build(tiny_config())
    real, fakes = random_batch(2, seed=1), random_batch(2, seed=2)

    losses = discriminators(real, fakes)

    assert losses.keys() == {"discriminator_a", "discriminator_b"}
    for domain in ("a", "b"):
        on_real, on_fake = (
            discriminators[domain](real[domain]),
            discriminators[domain](fakes[domain]),
        )
        expected = 0.5 * ((on_real - 1).square().mean() + on_fake.square().mean())
        torch.testing.assert_close(losses[f"discriminator_{domain}"], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_the_gradient_penalty_is_weighted_and_halved_with_the_loss(norm):
    fields = {"discriminator__norm": norm, "loss__gradient_penalty": "r1"}
    _, discriminators = build(tiny_config(loss__penalty_weight=4.0, **fields))
    real, fakes = random_batch(2, seed=1), random_batch(2, seed=2)

    loss = discriminators(real, fakes)["discriminator_a"]

    judge, images = discriminators["a"], real["a"].clone().requires_grad_(True)
    verdicts = judge(images)
    (slopes,) = torch.autograd.grad(verdicts.mean((1, 2, 3)).sum(), images, create_graph=True)
    penalty = slopes.square().sum((1, 2, 3)).mean()
    adversarial = (verdicts - 1).square().mean() + judge(fakes["a"]).square().mean()
    expected = 0.5 * (adversarial + 4 * penalty)
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=0)
    for ours, theirs in zip(gradients(loss, judge), gradients(expected, judge), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_domains_of_different_channels_have_networks_of_their_own():
    fields = {"data__channels_a": 1, "loss__identity_a": 0.0, "loss__identity_b": 0.0}
    generators, discriminators = build(tiny_config(**fields))
    real = {"a": random_batch(channels=1)["a"], "b": random_batch(channels=3)["b"]}

    turn = generators(real, discriminators)
    losses = turn.losses | discriminators(real, turn.fakes)

    assert turn.fakes["a"].shape == real["a"].shape
    assert turn.fakes["b"].shape == real["b"].shape
    assert all(loss.isfinite() for loss in losses.values())


def test_augmentations_reach_what_discriminators_see_and_nothing_else():
    plain = build(tiny_config())
    blind = build(tiny_config(discriminator__augment=("color", "translation", "cutout")))
    real = random_batch(2)

    turns = [generators(real, discriminators) for generators, discriminators in (plain, blind)]

    for name in ("cycle_a", "identity_b"):
        assert torch.equal(turns[0].losses[name], turns[1].losses[name])
    assert torch.equal(turns[0].fakes["b"], turns[1].fakes["b"])
    assert turns[0].losses["adversarial_ab"] != turns[1].losses["adversarial_ab"]
    own = [pair[1](real, turns[0].fakes)["discriminator_a"] for pair in (plain, blind)]
    assert own[0] != own[1]
    generators, _ = blind
    assert all(grad.any() for grad in gradients(turns[1].losses["adversarial_ab"], generators["ab"])
               if grad.ndim == 4)  # fmt: skip


def test_the_way_back_begins_at_a_translation_with_noise():
    noisy, discriminators = build(tiny_config(loss__cycle_noise=0.1))
    plain, _ = build(tiny_config())
    real = random_batch(2)
    torch.manual_seed(5)
    noisy.seed_noise(torch.device("cpu"))
    chances = {name: each.clone_state() for name, each in noisy.chance.items()}

    turn, without = (generators(real, discriminators) for generators in (noisy, plain))

    assert chances["ab"].initial_seed() != chances["ba"].initial_seed()
    for name, source, target, reverse in noisy.directions:
        fake = noisy[name](real[source])
        noise = torch.empty_like(fake).normal_(generator=chances[name])
        back = noisy[reverse](fake + 0.1 * noise)
        torch.testing.assert_close(turn.reconstructions[source], back)
        torch.testing.assert_close(
            turn.losses[f"cycle_{source}"], 10 * (back - real[source]).abs().mean()
        )
        assert torch.equal(turn.fakes[target], without.fakes[target])
        assert turn.losses[f"adversarial_{name}"] == without.losses[f"adversarial_{name}"]
