"""Steps that compute activations again are the steps that keep them, in less memory."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny import enlarge_weights, equal_tensors, random_batch, tiny_config
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cyclegan_style.commands.main import main
from cyclegan_style.training.activations import recompute_activations
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.step import total

pytestmark = pytest.mark.numeric

SIZE = 64
RESNET: dict[str, Any] = {"generator__blocks": 4, "generator__dropout": True}
UNETS = {"generator__levels": 6, "generator__dropout": True, "generator__attention": True}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet": RESNET,
    "changed by a resnet": {"generator__skip": True, "generator__attention": True, **RESNET},
    "padded": {"generator__padding": "zero", "generator__first_kernel": 5, **RESNET},
    "averaged and contrasted": {"loss__contrastive": 0.5, "train__ema_decay": 0.9, **RESNET},
    "unet": {"generator__architecture": "unet", "generator__norm": "batch", **UNETS},
    "residual_unet": {"generator__architecture": "residual_unet", **UNETS},
}


def build_step(recomputing: bool, **fields: Any) -> CycleGanStep:
    config = tiny_config(train__checkpoint_activations=recomputing, **fields)
    step = CycleGanStep(config, Accelerator(cpu=True))
    enlarge_weights(step.generators, 1)
    enlarge_weights(step.discriminators, 2)
    torch.manual_seed(3)
    return step


def batch(seed: int) -> dict[str, Tensor]:
    images = random_batch(1, SIZE, SIZE, seed=seed)
    return {domain: each.float() for domain, each in images.items()}


def everything_learned(step: CycleGanStep) -> dict[str, Tensor]:
    states = [step.generators_in_training.state_dict(prefix="trained.")]
    states += [{}] if step.average is None else [step.average.state_dict(prefix="average.")]
    optimizer = step.optimizers["generator_optimizer"].state_dict()["state"]
    moments = {f"moment.{place}": each["exp_avg"] for place, each in optimizer.items()}
    return states[0] | states[1] | step.discriminators.state_dict() | moments


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("resnet", "padded")))
        for name in NETWORKS
    ],
)
def test_the_same_is_learned_to_the_last_bit(name):
    learned, losses = [], []
    for recomputing in (False, True):
        step = build_step(recomputing, **NETWORKS[name])
        losses.append([step.run([batch(seed)]) for seed in range(2)])
        learned.append(everything_learned(step))

    assert equal_tensors(*learned)
    assert all(equal_tensors(*pair) for pair in zip(*losses, strict=True))


class LivingTensors(TorchDispatchMode):
    """Follows the memory of all tensors that are made under it."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        given = {storage_of(tensor)._cdata for tensor in tensors_of((args, kwargs))}
        for storage in map(storage_of, tensors_of(out)):
            if storage._cdata not in given:
                self._storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._storages = {k: v for k, v in self._storages.items() if not v[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._storages.values()))
        return out


def tensors_of(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def storage_of(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


@pytest.mark.parametrize(("architecture", "share"), [("resnet", 0.25), ("unet", 0.7)])
def test_a_pass_forward_and_backward_needs_a_fraction_of_the_memory(architecture, share):
    peaks = []  # which the gradients of the weights are a part of
    for recomputing in (False, True):
        config = tiny_config(
            generator__architecture=architecture, generator__blocks=9, generator__levels=6
        )
        generators = build_generators(config)
        if recomputing:
            recompute_activations(generators.values())
        with LivingTensors() as memory:
            images = batch(0)["a"].repeat(16, 1, 1, 1)
            for _ in range(3):
                images = generators["ab"](images)
            images.sum().backward()
        peaks.append(memory.peak)

    assert peaks[1] < share * peaks[0]


def test_one_way_s_activations_are_freed_before_the_other_s_are_made():
    images = {domain: each.repeat(4, 1, 1, 1) for domain, each in batch(0).items()}
    peaks = []
    for way_by_way in (False, True):
        step = build_step(False, generator__dropout=True)  # which no threads compute at once
        with LivingTensors() as memory:
            if way_by_way:
                step.run([images])
            else:
                turn = step.generators_in_training(images, step.discriminators)
                total(turn.losses).backward()
        peaks.append(memory.peak)

    assert peaks[1] < 0.6 * peaks[0]


def test_generators_that_serve_keep_nothing_and_copies_are_their_own():
    step = build_step(True, train__ema_decay=0.9, **RESNET)
    plain = build_step(False, train__ema_decay=0.9, **RESNET)
    assert step.generators.state_dict().keys() == plain.generators.state_dict().keys()
    assert step.average is not None and "forward" not in vars(step.average.module["ab"])
    step.generators.eval()
    plain.generators.eval()
    with torch.no_grad():
        served, expected = (each.generators["ab"](batch(0)["a"]) for each in (step, plain))
    assert torch.equal(served, expected)


def test_the_compiler_is_not_asked_to_compile_what_is_computed_again(capsys):
    options = ["--train.checkpoint_activations", "true", "--train.compile", "true"]
    assert main(["train", "--data.a", "a", "--data.b", "b", *options]) == 2
    assert "train.checkpoint_activations must be false with train.compile" in (
        capsys.readouterr().err
    )
