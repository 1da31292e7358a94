"""What test_evaluation_folders.py runs on two processes: real and fake pictures, and an output."""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from cyclegan_style.commands.main import main
from cyclegan_style.evaluation.collect import collect_features
from cyclegan_style.evaluation.definitions import DEFINITIONS
from cyclegan_style.system.launch import leave

FEATURE_COUNT = 24


class SmallNetwork(nn.Module):
    """Random projections of small pictures."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(FEATURE_COUNT, 300, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weight", weight / 10)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        small = nn.functional.adaptive_avg_pool2d(images, 10).flatten(1)
        return torch.relu(small @ self.get_buffer("weight").T)


if __name__ == "__main__":
    real, fake, output = sys.argv[1:]
    torch.set_num_threads(1)
    options = ["--metrics", "swd", "--no-cache", "--json"]
    assert main(["evaluate", "folders", "--real", real, "--fake", fake, *options]) == 0
    assert main(["evaluate", "paired", "--truth", real, "--fake", real, "--json"]) == 0
    state = PartialState()
    assert state.num_processes == 2
    whole = collect_features(
        sorted(Path(real).iterdir()),
        SmallNetwork(),
        DEFINITIONS["pytorch-fid"].prepare,
        with_thumbnails=True,
        batch_size=2,
    )
    if state.is_main_process:
        np.savez(
            output,
            indices=whole.indices,
            features=whole.features,
            thumbnails=whole.thumbnails,
        )
    state.wait_for_everyone()
    leave(0)
