"""What is asked of the machine."""

import subprocess
import sys

import pytest
import torch

from cyclegan_style.hardware import free_memory

COUNT_FAULTS = """
import resource
import numpy as np
from cyclegan_style.hardware import reuse_freed_memory

def page_faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**23)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = page_faults()
reuse_freed_memory()
page_faults()
print(usual, page_faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_freed_memory_is_used_again():
    result = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True)
    usual, afterwards = map(int, result.stdout.split())
    assert afterwards < usual / 10


def test_processes_share_the_memory(monkeypatch):
    alone = free_memory(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert free_memory(torch.device("cpu")) == pytest.approx(alone / 2, rel=0.2)
