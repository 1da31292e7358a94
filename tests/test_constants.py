"""What a step needs besides its pictures is on the device already, and nothing is fetched back."""

import pytest
import torch
from test_gpu_training import EVERY_OPTION
from tiny import fp16_on_a_cpu, random_batch, tiny_config
from torch.utils._python_dispatch import TorchDispatchMode

from cyclegan_style.system.constants import constant
from cyclegan_style.training.cyclegan_step import CycleGanStep


class Waits(TorchDispatchMode):
    """Notes numbers that are put on a device and fetched from it, for which a host waits.

    Whole numbers and truths, such as the draws of a pool, are kept on the CPU for that.
    """

    WAITING = (torch.ops.aten.lift_fresh.default, torch.ops.aten._local_scalar_dense.default)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        if operation in self.WAITING and arguments[0].is_floating_point():
            self.found.append(f"{operation} of {tuple(arguments[0].shape)}")
        return operation(*arguments, **(keywords or {}))


def test_what_would_wait_is_noted():
    with Waits() as waits:
        images = torch.ones(2)
        images.new_tensor([1.0, 2.0])
        images.sum().item()

    assert len(waits.found) == 2


def test_a_step_waits_for_no_number_whatever_is_on():
    step = CycleGanStep(tiny_config(**EVERY_OPTION), fp16_on_a_cpu(64.0))
    batch = {domain: images.float() for domain, images in random_batch(2, 32, 32).items()}
    step.run([batch])  # what is put on the device once is there

    with Waits() as waits:
        losses = step.run([batch])

    assert waits.found == []
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("numbers", [(0.25, 0.5), ((1.0, 2.0), (3.0, 4.0))])
def test_a_constant_is_made_once_and_can_be_trained_with(numbers):
    like = torch.ones(2, dtype=torch.float64)
    with torch.inference_mode():
        first = constant(numbers, like)
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)

    (weight * constant(numbers, like)).sum().backward()

    assert constant(numbers, like) is first
    assert torch.equal(weight.grad, torch.tensor(numbers, dtype=torch.float64).view(-1, 2).sum(0))
    assert constant(numbers, like.float()).dtype == torch.float32
