"""What this machine is good at."""

import os
import platform
from datetime import timedelta
from typing import Any, Literal

import psutil
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedDataParallelKwargs,
    is_bf16_available,
    parse_flag_from_env,
)
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from cyclegan_style.config import Config, TrainConfig
from cyclegan_style.errors import UserError
from cyclegan_style.system.cores import processes_here, usable_cores
from cyclegan_style.system.memory import share_heaps

PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
TrainingPrecision = Literal["no", "bf16", "fp16"]

LONGEST_WAIT = timedelta(days=30)
"""How long a process that is done waits for those that still have files."""
LONGEST_STEP = timedelta(hours=1)
"""How long a training process waits for another's gradients before it gives a hung one up.

Longer than any checkpoint takes to write. What may take hours, to list a folder or to download
weights, is waited for in another way: see processes.py.
"""

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats by the names that users give them."""
PRECISIONS: dict[str, TrainingPrecision] = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""accelerate's names of the same, by torch's."""


def join_training(train: TrainConfig) -> PartialState:
    """Find the processes that train together, each with the threads that it trains with."""
    meet_after_a_restart()
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu=on_cpu, timeout=LONGEST_STEP)
    refuse_lost_processes(state.num_processes)
    if state.device.type == "cpu":
        torch.set_num_threads(train.cpu_threads or fair_share_of_cores())
    return state


def build_accelerator(config: Config, precision: str) -> Accelerator:
    """The Accelerator through which everything that depends on the hardware goes."""
    share_heaps()
    join_training(config.train)
    torch.backends.cuda.matmul.allow_tf32 = config.train.tf32
    torch.backends.cudnn.allow_tf32 = config.train.tf32
    tracker = config.tracking.backend
    accelerator = Accelerator(
        mixed_precision=precision,
        log_with=None if tracker == "none" else tracker,
        project_dir=config.run.dir,
        step_scheduler_with_optimizer=False,
        rng_types=[],  # samples follow from their keys, so there is nothing to synchronise
        # Batches lie in pinned memory on CUDA alone, where the host then need not wait for a copy.
        dataloader_config=DataLoaderConfiguration(non_blocking=torch.cuda.is_available()),
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    # Steps have one shape of batch, for which cuDNN then finds the fastest kernels once.
    torch.backends.cudnn.benchmark = True
    return accelerator


def forget_number_format() -> None:
    """Let the next Accelerator of this process compute in another number format.

    accelerate keeps the first one's for the whole process, and has no other way to let it go.
    """
    AcceleratorState._reset_state()


def meet_after_a_restart() -> None:
    """Let processes that torch's launcher started again find each other.

    It keeps its store over restarts, in which they would find the addresses of the dead ones
    (pytorch issue 135712); so they meet under a name of their own. On several machines the count of
    restarts may differ, and this is left to the launcher's options.
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts == "0" or os.environ["GROUP_WORLD_SIZE"] != "1":
        return
    if torch.distributed.is_initialized():
        return
    on_gpu = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        timeout=LONGEST_STEP,
        store=PrefixStore(f"restart-{restarts}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def refuse_precision(train: TrainConfig) -> None:
    """Raise a UserError if the device cannot train in the chosen number format.

    accelerate would take fp16 on a CPU for float32, and say that it is fp16.
    """
    device, chosen = training_device(), train.mixed_precision
    if chosen == "auto" or trains_in(chosen, device):
        return
    if chosen == "fp16":
        raise UserError("train.mixed_precision: fp16 needs a GPU; on CPUs choose bf16, no or auto")
    raise UserError(f"train.mixed_precision: this {device} device has no bf16; choose auto")


def trains_in(precision: str, device_type: str) -> bool:
    """Whether a kind of device trains in what accelerate calls so."""
    if precision == "fp16":
        return device_type != "cpu"
    return precision != "bf16" or device_type == "cpu" or is_bf16_available()


def training_device() -> str:
    """The kind of device that accelerate trains on: a GPU, unless there is none or told not to."""
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return "cpu"
    found = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if found is None else found.type


def known_format(device_type: str) -> torch.dtype | None:
    """The fastest number format of a kind of GPU; None of a CPU, where it must be measured."""
    if device_type == "cpu":
        return None
    if device_type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float16
    return torch.float32


def format_of_earlier_versions(device_type: str) -> str:
    """What ``auto`` stood for before it was measured, when CPUs had to have AMX for 16 bits."""
    known = known_format(device_type)
    if known is not None:
        return name_of_format(known)
    return "bfloat16" if torch.cpu._is_amx_tile_supported() else "float32"


def describe_hardware(accelerator: Accelerator) -> str:
    """The processors that training runs on, for people."""
    if accelerator.device.type == "cuda":
        device = torch.cuda.get_device_name(accelerator.device)
    else:
        device = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    lines = [
        f"{accelerator.num_processes} × {device}",
        f"precision {accelerator.mixed_precision}",
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}",
    ]
    return "\n".join(lines)


def join_processes(on_cpu: bool = False) -> PartialState:
    """Find the processes that were launched together with this one, and share the cores.

    Where there is no GPU, several find each other without being told to use CPUs.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_cpu |= parse_flag_from_env("ACCELERATE_USE_CPU")
    on_cpu |= several and not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    refuse_lost_processes(state.num_processes)
    if state.device.type == "cpu" and "LOCAL_WORLD_SIZE" in os.environ:
        torch.set_num_threads(fair_share_of_cores())  # the launcher left each a single one
    return state


def refuse_lost_processes(joined: int) -> None:
    """Raise a UserError if processes were launched together but do not know of each other."""
    if os.environ.get("WORLD_SIZE", "1") != str(joined):
        raise UserError(
            "several processes were started but no GPU was found for them; to use CPUs, add"
            " --cpu to accelerate launch or set ACCELERATE_USE_CPU=true"
        )


def fair_share_of_cores() -> int:
    """Cores for each process on this machine; accelerate launch would have each use just one."""
    cores = min(psutil.cpu_count(logical=False) or 1, usable_cores())
    return max(1, cores // processes_here())


def compiler_options(device: torch.device) -> dict[str, Any]:
    """Options of torch.compile with which its results can be relied on.

    On CPUs the compiler's change of layout makes the bf16 gradients of a batch of one NaN (torch
    2.15, a residual generator of 32 channels); channels_last gives the layout anyway.
    """
    return {"layout_optimization": False} if device.type == "cpu" else {}


def choose_device(name: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` takes the fastest there is.

    A GPU comes with its number: which one is meant without differs from thread to thread.
    """
    try:
        probe = torch.ones(1, device=_fastest_device() if name == "auto" else name)
        probe.item()
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        reason = str(error).strip().splitlines()[0].partition(". ")[0]
        raise UserError(f"device {name!r} cannot be used: {reason}") from None
    return probe.device


def _fastest_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def format_of(precision: str) -> torch.dtype:
    """The number format that accelerate calls so."""
    return FORMATS["fp32" if precision == "no" else precision]


def name_of_format(dtype: torch.dtype) -> str:
    """Such as ``bfloat16``."""
    return str(dtype).removeprefix("torch.")
