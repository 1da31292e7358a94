"""What every test relies on."""

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small lose more than they gain by threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """accelerate keeps its state for the whole process, but tests choose other precisions."""
    forget_accelerator()
    yield
    forget_accelerator()


def forget_accelerator() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
