"""Objectives equal their formulas, and gradient penalties what can be worked out by hand."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import random_batch, tiny_config
from torch import Tensor, nn

from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.discriminators import build_discriminators
from cyclegan_style.training.losses import (
    cycle,
    discriminator_adversarial,
    feature_matching,
    generator_adversarial,
    gradient_penalty,
    identity,
    interpolate,
    patch_nce,
)
from cyclegan_style.training.passes import frozen

pytestmark = pytest.mark.numeric

VERDICTS = st.lists(st.floats(-20, 20), min_size=1, max_size=6)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def softplus(value: float) -> float:
    return max(value, 0) + math.log1p(math.exp(-abs(value)))


GENERATOR_FORMULAS = {
    "least_squares": lambda fake: mean([(v - 1) ** 2 for v in fake]),
    "cross_entropy": lambda fake: mean([softplus(-v) for v in fake]),
    "hinge": lambda fake: -mean(fake),
    "wgan_gp": lambda fake: -mean(fake),
    "relativistic": lambda fake: mean([softplus(-v) for v in fake]),
}
"""The relativistic one compares with real verdicts of 0."""
DISCRIMINATOR_FORMULAS = {
    "least_squares": lambda r, f: mean([(v - 1) ** 2 for v in r]) + mean([v**2 for v in f]),
    "cross_entropy": lambda r, f: mean([softplus(-v) for v in r]) + mean([softplus(v) for v in f]),
    "hinge": lambda r, f: mean([max(0, 1 - v) for v in r]) + mean([max(0, 1 + v) for v in f]),
    "wgan_gp": lambda r, f: mean(f) - mean(r),
    "relativistic": lambda r, f: mean([softplus(g - v) for v, g in zip(r, f, strict=True)]),
}


def as_verdicts(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1)


@pytest.mark.parametrize("objective", GENERATOR_FORMULAS)
@given(fake=VERDICTS)
def test_generators_objectives(objective, fake):
    verdicts = as_verdicts(fake)
    loss = generator_adversarial(objective, verdicts, torch.zeros_like(verdicts)).item()

    assert loss == pytest.approx(GENERATOR_FORMULAS[objective](fake), abs=1e-12)


@pytest.mark.parametrize("objective", DISCRIMINATOR_FORMULAS)
@given(pairs=st.lists(st.tuples(*[st.floats(-20, 20)] * 2), min_size=1, max_size=6))
def test_discriminators_objectives(objective, pairs):
    real, fake = map(list, zip(*pairs, strict=True))
    loss = discriminator_adversarial(objective, as_verdicts(real), as_verdicts(fake)).item()

    assert loss == pytest.approx(DISCRIMINATOR_FORMULAS[objective](real, fake), abs=1e-12)


@pytest.mark.parametrize("objective", GENERATOR_FORMULAS)
def test_generators_want_higher_verdicts_and_discriminators_lower_ones(objective):
    fake = torch.full((3,), 0.3, dtype=torch.float64, requires_grad=True)
    real = torch.zeros_like(fake)
    (for_generator,) = torch.autograd.grad(generator_adversarial(objective, fake, real), fake)
    loss = discriminator_adversarial(objective, torch.zeros_like(fake), fake)
    (for_discriminator,) = torch.autograd.grad(loss, fake)

    assert (for_generator < 0).all()
    assert (for_discriminator > 0).all()


def test_cycle_and_identity_are_mean_absolute_differences():
    first, second = torch.tensor([[1.0, -1.0], [0.5, 0.0]]), torch.tensor([[0.0, 1.0], [0.5, 3.0]])

    assert cycle(first, second).item() == (1 + 2 + 0 + 3) / 4
    assert identity(first, second).item() == (1 + 2 + 0 + 3) / 4


def test_feature_matching_compares_means_over_places_and_images():
    constant = [torch.full((2, 3, 4, 4), 1.0), torch.full((1, 5, 2, 2), -2.0)]
    other = [torch.full((2, 3, 6, 4), 1.5), torch.full((4, 5, 1, 2), 1.0)]
    shuffled = [layer.flip(0, 3) + torch.tensor([-1.0, 1.0]).repeat(layer.shape[3] // 2)
                for layer in other]  # fmt: skip
    one_channel = [constant[0] + torch.tensor([3.0, 0, 0]).view(3, 1, 1), constant[1]]

    assert feature_matching(constant, other).item() == (0.5 + 3) / 2
    assert feature_matching(constant, shuffled).item() == (0.5 + 3) / 2
    assert feature_matching(constant, one_channel).item() == (3 / 3) / 2
    assert feature_matching(constant, constant).item() == 0


def test_patch_nce_is_the_cross_entropy_of_a_matrix_of_products():
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(2, 5, 7, generator=generator, dtype=torch.float64) for _ in "qk")
    expected = []
    for image in range(2):
        for own in range(5):
            products = [
                sum(q * k for q, k in zip(queries[image, own], key, strict=True)).item() / 0.07
                for key in keys[image]
            ]
            most = max(products)
            total = sum(math.exp(product - most) for product in products)
            expected.append(math.log(total) + most - products[own])

    assert patch_nce(queries, keys).item() == pytest.approx(mean(expected), rel=1e-12)
    with torch.autocast("cpu", torch.bfloat16):
        assert patch_nce(queries, keys).item() == pytest.approx(mean(expected), rel=1e-12)
    alike = torch.ones(3, 8, 4) / 2
    assert patch_nce(alike, alike).item() == pytest.approx(math.log(8))


IMAGES = (5, 3, 4, 6)
PENALTIES = {
    "r1": ("least_squares", "r1"),
    "r1_r2": ("relativistic", "r1_r2"),
    "zero_centred": ("cross_entropy", "zero_centred"),
    "wgan_gp": ("wgan_gp", "none"),
}


def random_images(seed: int) -> Tensor:
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_on_a_judge_whose_gradient_is_known(name):
    slopes = random_images(0)  # one row per patch
    squared = slopes.mean(dim=0).square().sum().item()
    expected = {"r1": squared, "r1_r2": 2 * squared, "zero_centred": squared}
    expected["wgan_gp"] = (squared**0.5 - 1) ** 2

    penalty = gradient_penalty(
        *PENALTIES[name],
        lambda x: torch.einsum("nchw,pchw->np", x, slopes),
        random_images(1),
        random_images(2),
    )

    assert penalty.item() == pytest.approx(expected[name], rel=1e-9)


def test_r1_looks_at_real_images_only():
    real, fake = random_images(1), random_images(2)

    def half_square(x: Tensor) -> Tensor:  # its gradient is x itself
        return x.square().sum(dim=(1, 2, 3)) / 2

    r1 = gradient_penalty("hinge", "r1", half_square, real, fake)
    between = gradient_penalty("hinge", "zero_centred", half_square, real, real)

    expected = real.flatten(1).square().sum(1).mean()
    torch.testing.assert_close(r1, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(between, expected, rtol=1e-12, atol=0)
    both = gradient_penalty("hinge", "r1_r2", half_square, real, fake)
    expected = expected + fake.flatten(1).square().sum(1).mean()
    torch.testing.assert_close(both, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("objective", ["least_squares", "cross_entropy", "hinge"])
def test_no_penalty_is_zero(objective):
    def judge(_: Tensor) -> Tensor:
        raise AssertionError("nothing is to be judged")

    assert gradient_penalty(objective, "none", judge, random_images(1), random_images(2)) == 0


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_can_be_trained_on(name):
    real, fake = random_images(1), random_images(2)

    def penalty(weight: Tensor) -> Tensor:
        torch.manual_seed(4)  # the same places between real and fake each time
        judge = lambda x: torch.tanh(torch.conv2d(x, weight)).sum(1)  # noqa: E731
        return gradient_penalty(*PENALTIES[name], judge, real, fake)

    weight = (0.3 * random_images(3)[:2, :, :2, :2]).requires_grad_(True)

    assert torch.autograd.gradcheck(penalty, weight)


def test_interpolations_lie_between_real_and_fake_at_a_place_of_each_image():
    torch.manual_seed(0)
    real, fake = torch.ones(400, 1, 2, 2), torch.zeros(400, 1, 2, 2)

    places = interpolate(real, fake)

    assert torch.equal(places.amin((1, 2, 3)), places.amax((1, 2, 3)))
    assert len(places[:, 0, 0, 0].unique()) > 390
    assert places.min() >= 0
    assert places.max() <= 1
    assert abs(places.mean() - 0.5) < 0.08


OBJECTIVES_AND_PENALTIES = [
    *product(("least_squares", "cross_entropy", "hinge"), ("none", "r1", "zero_centred")),
    ("wgan_gp", "none"),
    ("relativistic", "r1_r2"),
]
SEPARATED = {
    "least_squares": lambda real, fake: real > 0.8 and fake < 0.2,
    "cross_entropy": lambda real, fake: real > math.log(1.5) and fake < -math.log(1.5),
    "hinge": lambda real, fake: real > 0.8 and fake < -0.8,
    "wgan_gp": lambda real, fake: real > fake + 1,
    "relativistic": lambda real, fake: real > fake + 1,
}
"""Mean verdicts near what the objective asks for; those of cross-entropy mean 60 %."""


@pytest.mark.parametrize("size", [32, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("objective", "penalty"), OBJECTIVES_AND_PENALTIES)
def test_a_discriminator_learns_to_tell_bright_from_dark(objective, penalty, size):
    torch.manual_seed(0)
    fields = {"discriminator__channels": 24, "discriminator__layers": 2}
    names = {"loss__adversarial": objective, "loss__gradient_penalty": penalty}
    discriminators = build_discriminators(tiny_config(**fields, **names))
    adam = torch.optim.Adam(discriminators["a"].parameters(), lr=2e-4, betas=(0.5, 0.999))

    def pictures(brightness: float) -> dict[str, Tensor]:
        """Those of a; b, of which nothing is asked, has the smallest that can be judged."""
        noise = 0.2 * torch.randn(1, 3, size, size)
        return {"a": brightness + noise, "b": torch.zeros(1, 3, 12, 12)}

    for _ in range(15):
        adam.zero_grad()
        discriminators(pictures(0.8), pictures(-0.8))["discriminator_a"].backward()
        adam.step()

    with torch.no_grad():
        real, fake = (discriminators["a"](pictures(b)["a"]).mean().item() for b in (0.8, -0.8))
    assert SEPARATED[objective](real, fake), (real, fake)


def test_frozen_restores_what_it_changed_even_after_an_exception():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    network[1].bias.requires_grad_(False)
    before = [parameter.requires_grad for parameter in network.parameters()]

    with pytest.raises(ZeroDivisionError), frozen(network):
        assert not any(parameter.requires_grad for parameter in network.parameters())
        1 / 0  # noqa: B018

    assert [parameter.requires_grad for parameter in network.parameters()] == before


def test_the_generators_turn_leaves_no_gradient_at_the_discriminators():
    config = tiny_config()
    generators = build_generators(config).double()
    discriminators = build_discriminators(config).double()

    turn = generators(random_batch(), discriminators)
    (turn.losses["adversarial_ab"] + turn.losses["adversarial_ba"]).backward()

    assert all(parameter.grad is None for parameter in discriminators.parameters())
    assert all(parameter.requires_grad for parameter in discriminators.parameters())
    assert all(generators[name].model[1].weight.grad.any() for name in ("ab", "ba"))
    assert not any(image.requires_grad for image in turn.fakes.values())
