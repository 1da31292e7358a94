"""What one process does for all that were launched together.

The others wait for it in a group of their own with its own patience: to list a large folder may
take hours, while a training step that takes as long has hung and is given up.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import TypeVar, cast

import torch.distributed
from accelerate import PartialState
from torch.distributed import ProcessGroup
from tqdm import tqdm

from cyclegan_style.errors import UserError
from cyclegan_style.system.hardware import LONGEST_WAIT

Result = TypeVar("Result")


def on_main_process(function: Callable[[], Result]) -> Result:
    """Let the main process decide something for all; an error of the user's stops them all."""
    group = patient_group()  # made before the work, for which the others wait in it
    outcome: list[Result | UserError | None] = [None]
    if PartialState().is_main_process:
        try:
            outcome[0] = function()
        except UserError as error:
            outcome[0] = error
    if group is not None:
        torch.distributed.broadcast_object_list(outcome, src=0, group=group)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    return cast(Result, outcome[0])


def main_process_first(function: Callable[[], Result]) -> Result:
    """Let each machine's first process download or render what the others then find.

    A mistake of the user's is raised when all have met it, or the others would wait for ever.
    """
    patient_group()  # made before the work, for which the others wait in it
    first = PartialState().is_local_main_process
    if not first:
        wait_for_all()
    outcome: Result | UserError
    try:
        outcome = function()
    except UserError as error:
        outcome = error
    if first:
        wait_for_all()
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def wait_for_all() -> None:
    """Wait until all processes have come here, however long one of them takes."""
    group = patient_group()
    if group is not None:
        torch.distributed.barrier(group)


@cache
def patient_group() -> ProcessGroup | None:
    """The group in which processes wait for each other's long work; None for a process alone."""
    if PartialState().num_processes == 1:
        return None
    group = torch.distributed.new_group(timeout=LONGEST_WAIT, backend="gloo")
    assert isinstance(group, ProcessGroup)
    return group


def say(line: str) -> None:
    """Tell the person at the terminal, once and without tearing a progress bar."""
    if PartialState().is_main_process:
        tqdm.write(line, file=sys.stderr)
