"""Both directions at once give what one after the other gives."""

from collections.abc import Iterator
from threading import get_ident
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny import random_batch, tiny_config

from cyclegan_style.networks.layers import typical_convolution
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.fastest_way import generator_on_trial, training_trial
from cyclegan_style.training.side_by_side import goes_side_by_side

ALL_TERMS = {
    "generator__skip": True,
    "discriminator__scales": 2,
    "discriminator__feature_layers": ("fire3",),
    "loss__detail": 0.5,
    "loss__feature_matching": 1.0,
    "optimizer__clip_norm": 1.0,
    "loss__cycle_noise": 0.1,
    "train__channels_last": True,
    "train__pool_size": 2,
    "train__accumulation_steps": 2,
}


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def batch(seed: int) -> dict[str, torch.Tensor]:
    return {domain: images.float() for domain, images in random_batch(2, seed=seed).items()}


def train(step: CycleGanStep, steps: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    losses = {}
    for seed in range(steps):
        losses = step.run([batch(seed), batch(seed + 100)])
    return {
        **{f"loss {name}": loss for name, loss in losses.items()},
        **{f"generators {name}": value for name, value in step.generators.state_dict().items()},
        **{f"judges {name}": value for name, value in step.discriminators.state_dict().items()},
    }


@pytest.mark.numeric
@pytest.mark.parametrize(
    ("fields", "precision"),
    [
        (ALL_TERMS, "no"),
        ({}, "bf16"),
        pytest.param({}, "no", marks=pytest.mark.slow),
        pytest.param(ALL_TERMS, "bf16", marks=pytest.mark.slow),
    ],
    ids=["all terms", "defaults in 16 bits", "defaults", "all terms in 16 bits"],
)
def test_a_step_has_the_bits_of_one_after_the_other(two_threads, fields, precision):
    config = tiny_config(**fields)
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    at_once = CycleGanStep(config, accelerator)
    assert at_once.side_by_side is not None
    found = train(at_once, steps=2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)  # as many as each of the two threads has
    in_turn = CycleGanStep(config, accelerator)
    assert in_turn.side_by_side is None
    expected = train(in_turn, steps=2)
    assert found.keys() == expected.keys()
    # In 16 bits one pass adds up a weight's two gradients before they are brought to float32.
    tolerance = {"rtol": 0.0, "atol": 0.0} if precision == "no" else {"rtol": 0.05, "atol": 0.01}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **tolerance, msg=lambda m, n=name: n + m)


def test_augmentations_follow_from_the_seed_in_whatever_order_threads_draw(two_threads):
    config = tiny_config(discriminator__augment=("color", "translation", "cutout"))
    accelerator = Accelerator(cpu=True)
    first, second = (train(CycleGanStep(config, accelerator), steps=2) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)

    step = CycleGanStep(config, accelerator)
    seeds = set()
    for _ in range(2):
        step.run([batch(0)])
        seeds |= {chance.initial_seed() for chance in step.discriminators.chance.values()}
    assert len(seeds) == 4  # of two domains and two steps


@pytest.mark.parametrize(
    "fields",
    [
        {"train__one_sided": True},
        {"train__compile": True},
        {"train__checkpoint_activations": True},
        {"generator__norm": "batch"},
        {"generator__dropout": True},
        {"loss__contrastive": 1.0},
        {"loss__gradient_penalty": "r1"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_depends_on_an_order_is_computed_in_one(two_threads, fields: dict[str, Any]):
    Accelerator(cpu=True)
    assert goes_side_by_side(tiny_config())
    assert not goes_side_by_side(tiny_config(**fields))


def test_a_failure_in_a_thread_is_the_step_s(two_threads):
    step = CycleGanStep(tiny_config(), Accelerator(cpu=True))
    with pytest.raises(RuntimeError, match="channels"):
        step.run([{**batch(0), "b": batch(1)["b"][:, :2]}])


@pytest.mark.parametrize(("fields", "passes"), [({}, 2), ({"train__one_sided": True}, 1)], ids=str)
def test_trials_train_as_many_generators_at_once_as_steps(two_threads, fields, passes):
    Accelerator(cpu=True)
    config, threads = tiny_config(**fields), []
    network = generator_on_trial(config)
    network.register_forward_hook(lambda *_: threads.append((get_ident(), torch.get_num_threads())))

    trial = training_trial(config, typical_convolution(network), network, 32, torch.float32)
    trial.whole()

    assert len({thread for thread, _ in threads}) == passes
    assert [cores for _, cores in threads] == [2 // passes] * passes
    assert torch.get_num_threads() == 2
