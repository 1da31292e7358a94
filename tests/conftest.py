"""What every test relies on."""

from collections.abc import Iterator

import pytest
import torch
from tiny import forget_accelerator


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
