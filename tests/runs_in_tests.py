"""Training runs as tests make and compare them."""

import json
import random
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny import equal_tensors, forget_accelerator

from cyclegan_style.config import Config
from cyclegan_style.training.trainer import TrainingResult, train


def run_training(config: Config) -> TrainingResult:
    """Train as a new process would, which knows nothing of this one's chance."""
    forget_accelerator()
    torch.manual_seed(random.SystemRandom().randrange(2**31))
    return train(config)


def metrics_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_equal_state(first: Path, second: Path, step: int) -> None:
    """Weights, optimisers, averages, pools and chance are the same bit for bit."""
    folders = [run / "checkpoints" / f"step-{step:08d}" for run in (first, second)]
    names = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in folders]
    assert names[0] == names[1]
    assert "generator_optimizer.safetensors" in names[0]
    for name in names[0]:
        tensors = [load_file(folder / name) for folder in folders]
        assert equal_tensors(*({k: v for k, v in t.items() if k != "unreported"} for t in tensors))
