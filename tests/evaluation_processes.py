"""What test_evaluation_folders.py runs on two processes: arguments are a folder and an output."""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from test_evaluation_folders import SmallNetwork

from cyclegan_style.commands.main import main
from cyclegan_style.evaluation.collect import collect_features
from cyclegan_style.evaluation.definitions import DEFINITIONS
from cyclegan_style.system.launch import launched_as_asked, leave

if __name__ == "__main__" and launched_as_asked(__file__, sys.argv[1:]):
    folder = sys.argv[1]
    sets = [
        "--real",
        folder,
        "--fake",
        folder,
        "--metrics",
        "swd",
        "--no-cache",
        "--no-intervals",
        "--json",
    ]
    assert main(["evaluate", "folders", *sets]) == 0
    assert main(["evaluate", "paired", "--truth", folder, "--fake", folder, "--json"]) == 0
    torch.set_num_threads(1)
    state = PartialState()
    assert state.num_processes == 2
    whole = collect_features(
        sorted(Path(sys.argv[1]).iterdir()),
        SmallNetwork(),
        DEFINITIONS["pytorch-fid"].prepare,
        with_descriptors=True,
        batch_size=2,
    )
    if state.is_main_process:
        np.savez(
            sys.argv[2],
            indices=whole.indices,
            features=whole.features,
            descriptors=whole.descriptors,
        )
    state.wait_for_everyone()
    leave(0)
