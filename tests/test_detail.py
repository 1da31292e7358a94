"""Translations may be asked for as much fine detail as their domain has."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from tiny import enlarge_weights, forget_accelerator, random_batch, tiny_config
from torch import Tensor

from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.detail import FAINTEST, DomainDetail, detail_of, distance_of_detail
from cyclegan_style.training.discriminators import build_discriminators

pytestmark = pytest.mark.numeric

NOTHING_ELSE = {
    "loss__adversarial_weight": 0.0,
    "loss__cycle_a": 0.0,
    "loss__cycle_b": 0.0,
    "loss__identity_a": 0.0,
    "loss__identity_b": 0.0,
}


def noise(strength: float, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return strength * torch.randn(1, 3, 24, 24, generator=chance, dtype=torch.float64)


def test_detail_is_the_mean_square_of_a_ramp_s_slopes():
    place = torch.arange(8, dtype=torch.float64)
    ramp = (0.02 * place + 0.03 * place[:, None]).expand(1, 3, 8, 8)
    assert detail_of(ramp).item() == pytest.approx((0.02**2 + 0.03**2) * 7 / 8 + FAINTEST)
    assert detail_of(torch.ones(2, 1, 8, 8)).tolist() == pytest.approx([FAINTEST] * 2)


@pytest.mark.parametrize(("gain", "wanted"), [(2.0, 4.0), (2.0, 1.0), (0.5, 4.0)])
def test_the_distance_is_of_logarithms(gain, wanted):
    original = noise(10)
    distance = distance_of_detail(gain * original, original, torch.tensor(math.log(wanted)))
    assert distance.item() == pytest.approx((math.log(gain**2) - math.log(wanted)) ** 2, rel=1e-4)


def test_what_is_wanted_is_the_ratio_of_all_pictures_so_far():
    domains = DomainDetail()
    for detail_a, detail_b in ((1.0, 2.0), (3.0, 10.0)):
        domains.add(torch.tensor([detail_a, detail_b]))
    wanted = domains.wanted()
    assert wanted["ab"].exp().item() == pytest.approx(3)
    assert wanted["ba"].exp().item() == pytest.approx(1 / 3)


def test_the_loss_is_that_of_each_translation():
    generators, judges = (
        build(tiny_config(loss__detail=2.5)).double()
        for build in (build_generators, build_discriminators)
    )
    enlarge_weights(generators)
    real = random_batch(2, 24, 24)
    generators.wanted_detail = {name: real["a"].new_tensor(0.7) for name in ("ab", "ba")}

    turn = generators(real, judges)

    for name, source, target in (("ab", "a", "b"), ("ba", "b", "a")):
        gains = detail_of(turn.fakes[target]).log() - detail_of(real[source]).log()
        expected = 2.5 * (gains - 0.7).square().mean()
        torch.testing.assert_close(turn.losses[f"detail_{name}"], expected, rtol=1e-12, atol=0)


def test_by_it_alone_generators_learn_the_sharpness_of_their_domains():
    forget_accelerator()
    config = tiny_config(loss__detail=1.0, generator__skip=True, **NOTHING_ELSE)
    config = replace(config, optimizer=replace(config.optimizer, learning_rate=0.002))
    step = CycleGanStep(config, Accelerator(cpu=True), torch.float64)
    ratios = []
    for seed in range(40):
        real = {"a": noise(0.2, seed), "b": noise(0.1, seed + 100)}
        step.run([real])
        made = step.turns[0].fakes
        ratios.append([(detail_of(made[d]) / detail_of(real[d])).item() for d in ("b", "a")])

    assert ratios[0] == pytest.approx([4, 0.25], rel=0.3)
    last = torch.tensor(ratios[-10:]).mean(dim=0).tolist()
    assert last == pytest.approx([1, 1], abs=0.3)


def test_flat_pictures_lead_to_no_nonsense():
    flat = torch.zeros(1, 3, 24, 24, requires_grad=True)
    distance_of_detail(flat + 0, torch.zeros(1, 3, 24, 24), torch.tensor(1.0)).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
