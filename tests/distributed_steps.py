"""What test_distributed.py runs on two processes: steps on every process's share of fixed batches.

Arguments: where the weights go, then the configurations of runs to be trained after the steps, the
last of which is then tried once more with a changed field, which is to be refused. Beside the
weights lie the pictures and the model of other commands, which come first.
"""

import io
import json
import os
import sys
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from runs_in_tests import remember_bfloat16
from safetensors.torch import save_file
from small_network import SmallNetwork
from tiny import enlarge_weights, random_batch, tiny_config
from torch.distributed import ProcessGroup

from cyclegan_style.commands.main import main
from cyclegan_style.evaluation.collect import collect_features
from cyclegan_style.evaluation.definitions import DEFINITIONS
from cyclegan_style.system.hardware import LONGEST_STEP, LONGEST_WAIT, build_accelerator
from cyclegan_style.system.launch import launched_as_asked, leave
from cyclegan_style.system.measured import SWITCH
from cyclegan_style.system.processes import patient_group
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.number_format import precision_of_run, settled

STEPS = 3
IMAGES = 2
ONE_SIDED = {
    "train__one_sided": True,
    "train__identity_steps": 1,
    "loss__contrastive": 0.5,
    "loss__contrastive_identity": 0.5,
    "loss__cycle_a": 0.0,
    "loss__cycle_b": 0.0,
}
ONE_WAY_BACK = {"loss__cycle_b": 0.0}


def weights_after_steps(accelerator: Accelerator, **fields: Any) -> dict[str, torch.Tensor]:
    """All weights after steps on this process's part of the images of each step."""
    beside = {"discriminator__feature_layers": ("fire3",), "loss__detail": 0.5}
    config = tiny_config(generator__norm="none", **beside, **fields)
    step = CycleGanStep(config, accelerator, torch.float64)
    enlarge_weights(step.generators, 1)
    enlarge_weights(step.discriminators, 2)
    share = IMAGES // accelerator.num_processes
    first = accelerator.process_index * share
    for number in range(STEPS):
        batch = random_batch(IMAGES, 32, 32, seed=number)
        step.set_progress(0.0, number)
        step.run([{domain: images[first : first + share] for domain, images in batch.items()}])
        if number == 0:
            # Adam's first mean is a half of the gradient.
            moments = {
                f"{pair}.{place}": state["exp_avg"].clone()
                for pair, optimizer in (
                    ("generators", step.optimizers["generator_optimizer"]),
                    ("discriminators", step.optimizers["discriminator_optimizer"]),
                )
                for place, state in optimizer.state_dict()["state"].items()
            }
    return moments | step.generators.state_dict() | step.discriminators.state_dict()


def run_commands(folder: Path, index: int) -> None:
    """Let this process take its part in commands, and write how each ended and what it printed."""
    real, fake = str(folder / "real"), str(folder / "fake")
    options = ["--model", str(folder / "model"), "--input", str(folder / "untranslated")]
    ended = {}
    for name, command in {
        "folders": ["--real", real, "--fake", fake, "--metrics", "swd", "--no-cache"],
        "paired": ["--truth", real, "--fake", real],
        "translate": [*options, "--output", str(folder / "translated")],
    }.items():
        words = [name] if name == "translate" else ["evaluate", name]
        with redirect_stdout(io.StringIO()) as printed:
            status = main([*words, *command, "--json"])
        ended[name] = (status, printed.getvalue())
    (folder / f"commands-{index}.json").write_text(json.dumps(ended))


def collect_shared(folder: Path, is_main_process: bool) -> None:
    """Write the features that the processes have found together."""
    whole = collect_features(
        sorted((folder / "real").iterdir()),
        SmallNetwork(),
        DEFINITIONS["pytorch-fid"].prepare,
        with_thumbnails=True,
        batch_size=2,
    )
    if is_main_process:
        np.savez(
            folder / "features.npz",
            indices=whole.indices,
            features=whole.features,
            thumbnails=whole.thumbnails,
        )


def patience(group: ProcessGroup | None) -> timedelta:
    """How long the processes of a group wait for each other."""
    assert group is not None
    timeout: timedelta = group._get_backend(torch.device("cpu")).options._timeout
    return timeout


if __name__ == "__main__" and launched_as_asked(__file__, sys.argv[1:]):
    accelerator = build_accelerator(tiny_config(), "no")
    assert patience(torch.distributed.group.WORLD) == LONGEST_STEP
    assert patience(patient_group()) == LONGEST_WAIT
    run_commands(Path(sys.argv[1]).parent, accelerator.process_index)
    collect_shared(Path(sys.argv[1]).parent, accelerator.is_main_process)
    for beginning, fields in (
        (sys.argv[1], {}),
        (f"{sys.argv[1]}-one-sided", ONE_SIDED),
        (f"{sys.argv[1]}-one-way-back", ONE_WAY_BACK),
        (f"{sys.argv[1]}-again", {"train__checkpoint_activations": True}),
    ):
        weights = weights_after_steps(accelerator, **fields)
        save_file(
            {name: tensor.contiguous() for name, tensor in weights.items()},
            f"{beginning}.{accelerator.process_index}.safetensors",
        )
    # Each would choose another number format; the first decides.
    del os.environ[SWITCH]
    os.environ["CYCLEGAN_STYLE_CACHE"] = f"{sys.argv[1]}.cache-{accelerator.process_index}"
    undecided, run = tiny_config(train__mixed_precision="auto"), Path(f"{sys.argv[1]}.run")
    remember_bfloat16(undecided, (2.0, 0.5)[accelerator.process_index])
    run.mkdir(exist_ok=True)
    assert settled(undecided).train.mixed_precision == precision_of_run(undecided, run) == "bf16"
    for config in sys.argv[2:]:
        assert main(["train", "--config", config]) == 0
    changed = ["--optimizer.learning_rate", "1"]
    assert main(["train", "--config", sys.argv[-1], *changed]) == 2
    leave(0)
