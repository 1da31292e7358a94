"""Both directions of a step at once, each on half of the cores.

A small network's operations on small maps are too short to be shared out between cores. The two
directions meet only where their gradients are added, and so do the two discriminators.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import convert_to_fp32
from torch import Tensor

from cyclegan_style.config import Config

WAYS = 2

Part = TypeVar("Part")


def goes_side_by_side(config: Config) -> bool:
    """Whether a step can and should be computed so, by the processes that have joined.

    Threads would draw from torch's one source of chance in any order (only augmentations have their
    own), and each generator's running statistics would change in any order. Compiled code has the
    number of its threads built in, processes exchange gradients in one order, and where memory is
    short, passes are better made one after the other: one way's activations are then freed before
    the other's are made.
    """
    draws = config.generator.dropout or config.loss.contrastive or config.loss.penalises_gradients
    remembers = config.generator.norm == "batch"
    processes = PartialState()
    return (
        config.task == "cyclegan"
        and processes.device.type == "cpu"
        and processes.num_processes == 1
        and torch.get_num_threads() >= WAYS
        and len(config.directions) == WAYS
        and not (draws or remembers or config.train.compiles or config.train.checkpoint_activations)
    )


class SideBySide:
    """Threads that compute gradients at once. Their sum is the same whichever is ready first."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.threads = start_threads(WAYS, torch.get_num_threads() // WAYS)

    def add_gradients(
        self,
        parts: Sequence[Callable[[], Part]],
        loss_of: Callable[[Part], Tensor],
        parameters: Sequence[Tensor],
    ) -> list[Part]:
        """Compute the parts and add the gradients of their losses to those of the parameters."""
        work = partial(self._compute, loss_of=loss_of, parameters=parameters)
        results = list(self.threads.map(work, parts))
        for parameter, *gradients in zip(parameters, *(each for _, each in results), strict=True):
            terms = [gradient for gradient in gradients if gradient is not None]
            if parameter.grad is None:
                parameter.grad = sum_of(terms, parameter)
            else:
                for term in terms:  # as one after the other would add them
                    parameter.grad += term
        return [part for part, _ in results]

    def _compute(
        self,
        compute: Callable[[], Part],
        loss_of: Callable[[Part], Tensor],
        parameters: Sequence[Tensor],
    ) -> tuple[Part, tuple[Tensor | None, ...]]:
        with self.accelerator.autocast():  # which holds for one thread
            part: Part = convert_to_fp32(compute())
        return part, torch.autograd.grad(loss_of(part), parameters, allow_unused=True)


def sum_of(terms: Sequence[Tensor], parameter: Tensor) -> Tensor | None:
    """The sum, laid out as the parameter is, or None of none."""
    if not terms:
        return None
    if len(terms) == 1:
        return torch.empty_like(parameter).copy_(terms[0])
    return torch.add(*terms, out=torch.empty_like(parameter))


def start_threads(count: int, cores_of_each: int) -> ThreadPoolExecutor:
    """Threads whose operations take this many cores; others' go on taking as many as before."""
    cores, all_started = torch.get_num_threads(), Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread that never asked would take the number below instead
        torch.set_num_threads(cores_of_each)
        all_started.wait()

    threads = ThreadPoolExecutor(count, "side-by-side")
    for _ in range(count):
        threads.submit(begin)
    all_started.wait()
    torch.set_num_threads(cores)  # also what threads that are yet to come begin with
    return threads
