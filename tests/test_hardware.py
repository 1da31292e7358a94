"""What is asked of the machine."""

import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from distributed_steps import patience
from torch.distributed import TCPStore

from cyclegan_style.config import TrainConfig
from cyclegan_style.data.training_data import open_dataset
from cyclegan_style.errors import UserError
from cyclegan_style.system.hardware import (
    LONGEST_STEP,
    choose_device,
    meet_after_a_restart,
    refuse_precision,
)
from cyclegan_style.system.memory import _free_in_container, free_memory

COUNT_FAULTS = """
import resource
import numpy as np
from cyclegan_style.system.memory import reuse_freed_memory

def page_faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**23)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = page_faults()
reuse_freed_memory()
page_faults()
print(usual, page_faults())
"""

COUNT_HEAPS = """
import ctypes
import sys
from threading import Barrier, Thread
from cyclegan_style.system.memory import share_heaps

if sys.argv[1] == "shared":
    share_heaps()
library, all_hold_memory = ctypes.CDLL(None), Barrier(5)
library.malloc.restype = library.fdopen.restype = ctypes.c_void_p

def hold() -> None:
    assert library.malloc(1000)
    all_hold_memory.wait()

threads = [Thread(target=hold) for _ in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library.malloc_info(0, ctypes.c_void_p(library.fdopen(1, b"w")))
library.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_freed_memory_is_used_again():
    result = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True)
    usual, afterwards = map(int, result.stdout.split())
    assert afterwards < usual / 10


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_threads_share_heaps():
    usual, shared = (
        subprocess.run([sys.executable, "-c", COUNT_HEAPS, which], capture_output=True, text=True)
        for which in ("usual", "shared")
    )
    assert usual.stdout.count("<heap nr=") > shared.stdout.count("<heap nr=") == 2


def test_processes_share_the_memory(monkeypatch):
    alone = free_memory(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "100")
    # Other programs take and free memory meanwhile, but hardly half of it.
    assert alone / 200 < free_memory(torch.device("cpu")) < alone / 50


def test_processes_that_were_started_again_wait_as_long_for_a_step(monkeypatch):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "RANK": 0, "WORLD_SIZE": 1}
    restart = {"TORCHELASTIC_RESTART_COUNT": 1, "GROUP_WORLD_SIZE": 1, "LOCAL_RANK": 0}
    for name, value in (meeting | restart | {"ACCELERATE_USE_CPU": "true"}).items():
        monkeypatch.setenv(name, str(value))

    meet_after_a_restart()

    try:
        assert patience(torch.distributed.group.WORLD) == LONGEST_STEP
    finally:
        torch.distributed.destroy_process_group()


def test_a_format_that_a_processor_cannot_train_in_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    with pytest.raises(UserError, match=r"train\.mixed_precision: fp16 needs a GPU"):
        refuse_precision(TrainConfig(mixed_precision="fp16"))
    for precision in ("no", "bf16", "auto"):
        refuse_precision(TrainConfig(mixed_precision=precision))


def test_processes_share_the_memory_for_pictures(configured, monkeypatch):
    config = configured(data__memory_budget="32KB")  # a takes 15 KB, b 9 KB
    accelerator = Accelerator(cpu=True)
    alone = open_dataset(config, accelerator)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    shared = open_dataset(config, accelerator)

    assert [domain.held_count for domain in alone.domains.values()] == [5, 3]
    assert [domain.held_count for domain in shared.domains.values()] == [2, 2]


@pytest.mark.parametrize(
    ("group", "folder", "files"),
    [
        ("0::/", "", ("memory.max", "memory.current", "inactive_file")),
        ("0::/job/step", "job", ("memory.max", "memory.current", "inactive_file")),
        (
            "9:memory:/docker/1",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
        (
            "9:memory:/slurm/7",
            "memory/slurm/7",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_limits_of_containers_and_jobs(tmp_path, group, folder, files):
    limit, use, cache = files
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"12:cpu,cpuacct:/\n{group}\n")
    place = tmp_path / "sys" / "fs" / "cgroup" / folder
    place.mkdir(parents=True)
    (place / limit).write_text("8000\n")
    (place / use).write_text("3000\n")
    (place / "memory.stat").write_text(f"anon 1\n{cache} 500\n")
    assert _free_in_container(tmp_path) == 5500
    (place / limit).write_text("max\n")
    assert _free_in_container(tmp_path) == 2**63


def test_a_device_of_no_number_stays_as_it_is():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
