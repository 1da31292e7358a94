"""What one process does for all that were launched together."""

import sys
from collections.abc import Callable
from typing import TypeVar, cast

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from cyclegan_style.errors import UserError

Result = TypeVar("Result")


def on_main_process(function: Callable[[], Result]) -> Result:
    """Let the main process decide something for all; an error of the user's stops them all."""
    outcome: list[Result | UserError | None] = [None]
    if PartialState().is_main_process:
        try:
            outcome[0] = function()
        except UserError as error:
            outcome[0] = error
    broadcast_object_list(outcome)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    return cast(Result, outcome[0])


def main_process_first(function: Callable[[], Result]) -> Result:
    """Let each machine's first process download or render what the others then find.

    A mistake of the user's is raised when all have met it, or the others would wait for ever.
    """
    outcome: Result | UserError
    with PartialState().local_main_process_first():
        try:
            outcome = function()
        except UserError as error:
            outcome = error
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def say(line: str) -> None:
    """Tell the person at the terminal, once and without tearing a progress bar."""
    if PartialState().is_main_process:
        tqdm.write(line, file=sys.stderr)
