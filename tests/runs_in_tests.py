"""Training runs as tests make and compare them."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import equal_tensors, forget_accelerator

from cyclegan_style.config import Config
from cyclegan_style.system.measured import MEASURED_FILE
from cyclegan_style.system.user_cache import cache_folder
from cyclegan_style.training.number_format import training_speeds
from cyclegan_style.training.step import TrainingStep
from cyclegan_style.training.trainer import TrainingResult, train


def run_training(config: Config) -> TrainingResult:
    """Train as a new process would, which knows nothing of this one's chance."""
    forget_accelerator()
    torch.manual_seed(random.SystemRandom().randrange(2**31))
    return train(config)


@contextmanager
def killed_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End what is trained meanwhile by an interruption that nobody handles, in its n-th step."""
    steps, run_step = [], TrainingStep.run

    def run_until_killed(self: TrainingStep, batches: Any) -> Any:
        steps.append(1)
        if len(steps) == number:
            raise KeyboardInterrupt
        return run_step(self, batches)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(TrainingStep, "run", run_until_killed)
        yield


def remember_bfloat16(config: Config, speed: float) -> None:
    """Let bf16 have been measured as so many times as fast as float32 at training this."""
    training_speeds(config)
    remember_speed("training", "bfloat16", speed)


def remember_speed(what: str, name: str, speed: float) -> None:
    """Let one way to compute this, among those measured, have been so many times as fast."""
    file = cache_folder() / MEASURED_FILE
    remembered = json.loads(file.read_text())
    for key, speeds in remembered.items():
        if key.startswith(what):
            speeds[name] = speed
    file.write_text(json.dumps(remembered))


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
