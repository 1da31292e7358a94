"""One step of training equals a CycleGAN step written plainly, and every option takes part."""

from itertools import chain
from typing import Any

import pytest
import record_trajectory as plain
import torch
from accelerate import Accelerator
from tiny import (
    enlarge_weights,
    equal_tensors,
    forget_accelerator,
    fp16_on_a_cpu,
    largest_difference,
    random_batch,
    tiny_config,
)
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cyclegan_style.training.average import MovingAverage
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.step import Losses, means_of, total

pytestmark = pytest.mark.numeric

OUR_NAMES = {
    "G_A": "adversarial_ab",
    "G_B": "adversarial_ba",
    "cycle_A": "cycle_a",
    "cycle_B": "cycle_b",
    "idt_A": "identity_b",
    "idt_B": "identity_a",
    "D_A": "discriminator_b",
    "D_B": "discriminator_a",
}
RECIPE = {
    "ngf": 4,
    "ndf": 4,
    "netG": "resnet_1blocks",
    "netD": "basic",
    "n_layers_D": 1,
    "normG": "instance",
    "normD": "instance",
    "lambda_A": 6.0,
    "lambda_B": 9.0,
    "lambda_identity": 0.5,
    "gan_mode": "lsgan",
    "lr": 2e-4,
    "beta1": 0.5,
}


def build_step(precision: str = "no", dtype: torch.dtype = torch.float64, **fields: Any):
    """A step in float64 with weights that count."""
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    step = CycleGanStep(tiny_config(**fields), accelerator, dtype)
    enlarge_weights(step.generators, 1)
    enlarge_weights(step.discriminators, 2)
    return step


def all_weights(step: CycleGanStep) -> dict[str, Tensor]:
    """A copy of both pairs' parameters."""
    named = chain(step.generators.named_parameters("G"), step.discriminators.named_parameters("D"))
    return {name: parameter.detach().clone() for name, parameter in named}


def run_steps(step: CycleGanStep, count: int = 2, images: int = 1) -> list[Losses]:
    return [step.run([random_batch(images, seed=seed)]) for seed in range(count)]


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("mode", ["lsgan", "vanilla"])
def test_steps_equal_a_plainly_written_cyclegan(norm, mode):
    objective = {"lsgan": "least_squares", "vanilla": "cross_entropy"}[mode]
    step = build_step(
        generator__norm=norm,
        discriminator__norm=norm,
        loss__adversarial=objective,
        loss__cycle_a=6.0,
        loss__cycle_b=9.0,
        loss__identity_a=3.0,
        loss__identity_b=4.5,
    )
    reference = plain.PlainCycleGAN(RECIPE | {"normG": norm, "normD": norm, "gan_mode": mode})
    ours = {
        "G_A": step.generators["ab"],
        "G_B": step.generators["ba"],
        "D_A": step.discriminators["b"],
        "D_B": step.discriminators["a"],
    }
    for name, network in ours.items():
        reference.nets[name].load_state_dict(network.state_dict())
    for seed in range(3):
        batch = random_batch(2, seed=seed)
        losses = step.run([batch])
        reference.optimize_parameters(batch["a"], batch["b"])
        for name, expected in reference.losses.items():
            assert losses[OUR_NAMES[name]].item() == pytest.approx(expected, rel=1e-10), name

    for name, network in ours.items():
        expected = dict(reference.nets[name].named_parameters())
        for key, parameter in network.named_parameters():
            # Adam turns the rounding noise of a bias before a norm into a step of full size.
            tolerance = 3e-3 if norm == "instance" and parameter.ndim == 1 else 1e-10
            torch.testing.assert_close(parameter, expected[key], rtol=0, atol=tolerance)


@pytest.mark.parametrize("pool_size", [0, 2])
@pytest.mark.parametrize("objective", ["least_squares", "hinge"])
def test_three_accumulated_batches_are_one_batch_of_three(pool_size, objective):
    fields = {
        "train__pool_size": pool_size,
        "loss__adversarial": objective,
        "generator__norm": "none",
        "discriminator__norm": "none",
    }
    whole, parts = build_step(**fields), build_step(**fields)
    for seed in range(4):
        batch = random_batch(3, seed=seed)
        pieces = [{d: images[i : i + 1] for d, images in batch.items()} for i in range(3)]
        losses_of_whole = whole.run([batch])
        losses_of_parts = parts.run(pieces)
        assert len(parts.turns) == 3
        for name, loss in losses_of_whole.items():
            torch.testing.assert_close(losses_of_parts[name], loss, rtol=1e-9, atol=1e-11)

    assert largest_difference(all_weights(whole), all_weights(parts)) < 1e-10


def gradient_norms(step: CycleGanStep, batch: dict[str, Tensor] | None = None) -> list[float]:
    """Norms of each pair's gradients in the first step, which Adam's first mean keeps a part of."""
    step.run([batch or random_batch()])
    return [
        torch.stack([state["exp_avg"].norm() for state in optimizer.state.values()]).norm().item()
        / (1 - 0.5)
        for optimizer in step.optimizers.values()
    ]


def test_clip_norm_bounds_the_gradients_of_each_pair():
    free = gradient_norms(build_step())
    assert min(free) > 0.02

    clipped = gradient_norms(build_step(optimizer__clip_norm=0.02))
    loose = gradient_norms(build_step(optimizer__clip_norm=2 * max(free)))

    assert clipped == pytest.approx([0.02, 0.02], rel=1e-3)
    assert loose == pytest.approx(free, rel=1e-12)


def test_the_moving_average_starts_as_a_copy_and_then_follows_its_recursion():
    step = build_step(train__ema_decay=0.7, optimizer__learning_rate=0.01)
    expected: dict[str, Tensor] = {}
    for seed in range(4):
        step.run([random_batch(seed=seed)])
        now = {key: value.clone() for key, value in step.generators.state_dict().items()}
        expected = {key: 0.7 * expected.get(key, now[key]) + 0.3 * now[key] for key in now}

    average = step.exported_generators.state_dict()
    assert largest_difference(average, expected) < 1e-12
    assert largest_difference(average, now) > 1e-3


def test_a_warm_up_lets_the_moving_average_forget_its_beginning():
    step = build_step(train__ema_decay=0.3, train__ema_warmup=True, optimizer__learning_rate=0.01)
    expected: dict[str, Tensor] = {}
    for seed, decay in enumerate((0, 2 / 11, 3 / 12, 0.3, 0.3)):  # 4 / 13 is more
        step.run([random_batch(seed=seed)])
        now = {key: value.clone() for key, value in step.generators.state_dict().items()}
        expected = {
            key: decay * expected.get(key, now[key]) + (1 - decay) * now[key] for key in now
        }

    assert largest_difference(step.exported_generators.state_dict(), expected) < 1e-12


def test_the_moving_average_brings_the_statistics_of_batch_norm():
    step = build_step(train__ema_decay=0.7, generator__norm="batch")
    run_steps(step)

    average, trained = (m.state_dict() for m in (step.exported_generators, step.generators))
    statistics = [key for key in trained if "running" in key]
    assert statistics
    for key in statistics:
        assert torch.equal(average[key], trained[key])


def test_the_moving_average_has_the_numbers_and_the_state_of_torch_s_own():
    step = build_step(train__ema_decay=0.7, generator__norm="batch")
    expected = AveragedModel(step.generators, multi_avg_fn=get_ema_multi_avg_fn(0.7))
    for seed in range(3):
        step.run([random_batch(seed=seed)])
        expected.update_parameters(step.generators)

    assert equal_tensors(step.average.state_dict(), expected.state_dict())


def test_the_average_s_counter_stays_where_the_host_need_not_wait_for_it():
    generators = build_generators(tiny_config()).to("meta")  # as to a GPU

    average = MovingAverage(generators, 0.9)
    average.update(generators)

    assert {parameter.device.type for parameter in average.parameters()} == {"meta"}
    assert (average.n_averaged.device.type, average.n_averaged.item()) == ("cpu", 1)


def test_without_a_moving_average_the_trained_generators_are_exported():
    step = build_step()

    assert step.average is None
    assert step.exported_generators is step.generators


OPTIONS = {
    "hinge": {"loss__adversarial": "hinge"},
    "wgan_gp": {"loss__adversarial": "wgan_gp"},
    "r1": {"loss__gradient_penalty": "r1"},
    "relativistic": {"loss__adversarial": "relativistic", "loss__gradient_penalty": "r1_r2"},
    "zero_centred": {"loss__gradient_penalty": "zero_centred", "loss__adversarial": "hinge"},
    "spectral_norm": {"discriminator__spectral_norm": True},
    "augment": {"discriminator__augment": ("color", "translation", "cutout")},
    "augmented r1": {"discriminator__augment": ("cutout",), "loss__gradient_penalty": "r1"},
    "dropout": {"generator__dropout": True},
    "pool": {"train__pool_size": 1},
    "scales": {"discriminator__scales": 2},
    "scales wgan_gp": {"discriminator__scales": 2, "loss__adversarial": "wgan_gp"},
    "feature_matching": {"loss__feature_matching": 1.0},
    "detail": {"loss__detail": 1.0},
    "cycle_features": {"loss__cycle_features": ("conv1",), "data__crop_size": 32},
    "contrastive": {"loss__contrastive": 1.0, "loss__cycle_a": 0.0, "loss__cycle_b": 0.0},
    "pixel": {"discriminator__architecture": "pixel"},
    "unet": {"generator__architecture": "unet", "generator__levels": 5, "data__crop_size": 32},
}
LOSSES_OF_OPTIONS = {
    "contrastive": ("contrastive_ab", "contrastive_ba"),
    "detail": ("detail_ab", "detail_ba"),
    "feature_matching": ("feature_matching_ab", "feature_matching_ba"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_trains(name):
    size = OPTIONS[name].get("data__crop_size", 24)
    step = build_step(**OPTIONS[name])
    before = all_weights(step)
    for seed in range(2):
        losses = step.run([random_batch(2, size, size, seed=seed)])
        assert losses.keys() == {*OUR_NAMES.values(), *LOSSES_OF_OPTIONS.get(name, ())}
        assert all(loss.isfinite() for loss in losses.values())

    for key, weight in all_weights(step).items():
        assert weight.isfinite().all()
        if weight.ndim == 4:
            assert not torch.equal(weight, before[key]), key


def convolutions(step: CycleGanStep) -> list[Tensor]:
    """A copy of a discriminator's weights."""
    return [p.detach().clone() for p in step.discriminators["a"].parameters() if p.ndim == 4]


@pytest.mark.parametrize("name", ["wgan_gp", "r1", "relativistic", "hinge", "augment"])
def test_options_change_what_is_learned(name):
    usual, other = build_step(), build_step(**OPTIONS[name])
    before = [convolutions(step) for step in (usual, other)]
    assert all(torch.equal(*pair) for pair in zip(*before, strict=True))
    run_steps(usual)
    run_steps(other)

    after = [convolutions(step) for step in (usual, other)]
    assert not any(torch.equal(*pair) for pair in zip(*after, strict=True))


def test_the_rate_that_is_set_is_the_rate_of_the_next_step():
    step = build_step()
    before = all_weights(step)
    step.set_learning_rate(0.0)
    run_steps(step)
    assert largest_difference(all_weights(step), before) == 0

    step.set_learning_rate(0.01)
    run_steps(step, count=1)
    # Adam's steps are about as long as the rate.
    assert 0.001 < largest_difference(all_weights(step), before) < 0.02


def test_the_cycle_s_weight_falls_linearly_with_the_share_of_training_that_is_behind():
    losses = []
    for share in (0.0, 0.25, 1.0):
        step = build_step(loss__cycle_decay=0.2)
        step.set_progress(share, 0)
        losses.append(step.run([random_batch()]))

    usual = build_step().run([random_batch()])
    for name, loss in usual.items():
        factors = (1, 0.8, 0.2) if name.startswith("cycle") else (1, 1, 1)
        for found, factor in zip(losses, factors, strict=True):
            if not name.startswith("discriminator"):  # the generators have moved otherwise
                assert found[name].item() == pytest.approx(factor * loss.item(), rel=1e-12), name


def test_giving_back_is_the_distance_of_both_generators_outputs_from_each_domain():
    step = build_step(train__identity_steps=3)
    real = random_batch()
    expected = {
        domain: torch.stack([(g(x) - x).abs().mean() for g in step.generators.values()]).mean()
        for domain, x in real.items()
    }

    step.set_progress(0.0, 2)
    turn = step.generators(real, step.discriminators)
    step.set_progress(0.0, 3)

    assert turn.fakes == {}
    for domain, loss in expected.items():
        torch.testing.assert_close(turn.losses[f"identity_{domain}"], loss, rtol=1e-12, atol=0)
    assert step.generators(real, step.discriminators).losses.keys() == turn.losses.keys()
    assert step.generators(real, step.discriminators).losses["cycle_a"] > 0


def test_bf16_stays_close_to_fp32():
    exact = build_step(dtype=torch.float32)
    batch = {domain: images.float() for domain, images in random_batch(2).items()}
    expected = exact.run([batch])
    forget_accelerator()
    coarse = build_step("bf16", dtype=torch.float32)
    losses = coarse.run([batch])

    for name, loss in expected.items():
        assert losses[name].dtype == torch.float32
        assert losses[name].item() == pytest.approx(loss.item(), rel=0.03), name
        assert losses[name] != loss  # it did compute with fewer digits
    assert coarse.turns[0].fakes["b"].dtype == torch.float32
    assert all(weight.dtype == torch.float32 for weight in all_weights(coarse).values())
    assert largest_difference(all_weights(coarse), all_weights(exact)) < 5e-4


OVERFLOWING = 2.0**127
"""A scale at which the gradients of no loss are finite."""


def fp16_step(scale: float, **fields: Any) -> CycleGanStep:
    """A step in fp16 with the scaler that CUDA would have."""
    return CycleGanStep(tiny_config(**fields), fp16_on_a_cpu(scale), torch.float32)


def moments(step: CycleGanStep) -> list[Tensor]:
    """A copy of all that both optimisers remember."""
    optimizers = step.optimizers.values()
    states = chain.from_iterable(optimizer.state.values() for optimizer in optimizers)
    return [value.clone() for state in states for value in state.values()]


def test_gradients_that_overflow_change_nothing_and_halve_the_scale_at_each_turn():
    step = fp16_step(1024.0)
    batch = {domain: images.float() for domain, images in random_batch().items()}
    fresh = all_weights(step)
    step.run([batch])
    assert step.accelerator.scaler.get_scale() == 1024
    weights, remembered = all_weights(step), moments(step)
    assert largest_difference(weights, fresh) > 1e-5

    step.accelerator.scaler.update(new_scale=OVERFLOWING)
    losses = step.run([batch])

    assert all(loss.isfinite() for loss in losses.values())
    assert step.accelerator.scaler.get_scale() == OVERFLOWING / 4
    assert equal_tensors(all_weights(step), weights)
    assert all(torch.equal(*pair) for pair in zip(moments(step), remembered, strict=True))


def test_gradients_are_clipped_by_their_true_norm_whatever_their_scale():
    batch = {domain: images.float() for domain, images in random_batch().items()}
    norms = []
    for scale, limit in ((1.0, None), (1024.0, None), (1024.0, 0.02)):
        forget_accelerator()
        norms.append(gradient_norms(fp16_step(scale, optimizer__clip_norm=limit), batch))

    assert norms[1] == pytest.approx(norms[0], rel=0.05)
    assert min(norms[0]) > 0.03
    assert norms[2] == pytest.approx([0.02, 0.02], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_compiled_step_is_close_to_an_eager_one(precision):
    """The sizes at which the compiler of torch 2.15 made gradients NaN on a CPU."""
    fields = {"generator__channels": 32, "generator__blocks": 3, "train__channels_last": True}
    batch = {domain: images.float() for domain, images in random_batch(1, 64, 64).items()}
    losses = []
    for compiled in (False, True):
        forget_accelerator()
        step = build_step(precision, dtype=torch.float32, train__compile=compiled, **fields)
        step.run([batch])
        losses.append(step.run([batch]))
        assert all(weight.isfinite().all() for weight in all_weights(step).values())
    for name, eager in losses[0].items():
        assert losses[1][name].item() == pytest.approx(eager.item(), rel=0.1), name


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_channels_last_changes_no_number(architecture):
    fields = {"generator__architecture": architecture, "generator__levels": 5}
    usual, other = build_step(**fields), build_step(train__channels_last=True, **fields)
    for seed in range(3):
        batch = random_batch(2, 32, 32, seed=seed)
        expected = usual.run([batch])
        losses = other.run([batch])
        for name, loss in expected.items():
            torch.testing.assert_close(losses[name], loss, rtol=1e-9, atol=0)

    assert any(
        p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous()
        for p in other.generators.parameters()
        if p.ndim == 4
    )
    difference = {k: v for k, v in all_weights(usual).items() if v.ndim == 4}
    others = {k: v for k, v in all_weights(other).items() if v.ndim == 4}
    assert largest_difference(difference, others) < 1e-9


def test_pools_show_discriminators_past_translations():
    fields = {"generator__norm": "none", "discriminator__norm": "none"}
    without, with_pool = build_step(**fields), build_step(train__pool_size=1, **fields)
    first = [run_steps(step, count=1)[0] for step in (without, with_pool)]
    assert torch.equal(first[0]["discriminator_a"], first[1]["discriminator_a"])

    later = [run_steps(step, count=8)[-1] for step in (without, with_pool)]

    assert not torch.equal(later[0]["discriminator_a"], later[1]["discriminator_a"])


def test_the_seed_decides_the_weights():
    accelerator = Accelerator(cpu=True)
    same, again, other = (
        CycleGanStep(tiny_config(train__seed=seed), accelerator) for seed in (3, 3, 4)
    )

    assert largest_difference(all_weights(same), all_weights(again)) == 0
    assert largest_difference(all_weights(same), all_weights(other)) > 0.01
    assert largest_difference(
        same.generators["ab"].state_dict(), same.generators["ba"].state_dict()
    ) > 0.01  # fmt: skip


@pytest.mark.parametrize(
    ("progress", "fields"),
    [
        (1, {"loss__cycle_noise": 0.1, "generator__norm": "batch", "generator__dropout": True}),
        (1, {"loss__contrastive": 1.0, "data__crop_size": 16}),
        (1, {"loss__adversarial_weight": 0, "loss__cycle_b": 0, "loss__identity_a": 0}),
        (0, {"train__identity_steps": 1}),
    ],
    ids=["noise, dropout and batch norm", "contrastive", "one way counts", "giving back"],
)
def test_one_way_after_the_other_has_the_gradients_of_both_at_once(progress, fields):
    step = build_step(train__accumulation_steps=2, **fields)
    step.set_progress(0.0, progress)
    parameters = list(step.generators_in_training.parameters())
    batches = [random_batch(2, 16, 16, seed=seed) for seed in range(2)]
    torch.manual_seed(5)
    losses = []
    for batch in batches:
        step.generators.seed_noise(torch.device("cpu"))
        turn = step.generators_in_training(batch, step.discriminators)
        (total(turn.losses) / len(batches)).backward()
        losses.append(turn.losses)
    expected = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None

    torch.manual_seed(5)
    found = step.run(batches)

    for name, loss in means_of(losses).items():
        torch.testing.assert_close(found[name], loss, rtol=1e-12, atol=0)
    moments = step.optimizers["generator_optimizer"].state_dict()["state"]
    assert len(moments) == sum(gradient is not None for gradient in expected) > 0
    for place, state in moments.items():
        # Adam's first mean is a half of the gradient.
        torch.testing.assert_close(state["exp_avg"], expected[place] / 2, rtol=1e-9, atol=1e-12)
