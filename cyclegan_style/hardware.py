"""What this machine is good at."""

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from cyclegan_style.config import Config, TrainConfig


def build_accelerator(config: Config) -> Accelerator:
    """The Accelerator through which everything that depends on the hardware goes."""
    torch.backends.cuda.matmul.allow_tf32 = config.train.tf32
    torch.backends.cudnn.allow_tf32 = config.train.tf32
    tracker = config.tracking.backend
    accelerator = Accelerator(
        mixed_precision=resolve_precision(config.train),
        log_with=None if tracker == "none" else tracker,
        project_dir=config.run.dir,
        step_scheduler_with_optimizer=False,
        rng_types=[],  # samples follow from their keys, so there is nothing to synchronise
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    # Steps have one shape of batch, for which cuDNN then finds the fastest kernels once.
    torch.backends.cudnn.benchmark = True
    return accelerator


def resolve_precision(train: TrainConfig) -> str:
    """The number format that ``auto`` stands for on this machine, or the chosen one."""
    if train.mixed_precision != "auto":
        return train.mixed_precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if cpu_is_fast_at_bf16() else "no"


def cpu_is_fast_at_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware: AMX."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
