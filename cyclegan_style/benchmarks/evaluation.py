"""FID of two folders, timed against the installed pytorch-fid on the same files and weights.

Both run as commands in processes of their own, so that starting, reading and the distance itself
all count.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cyclegan_style.benchmarks.random_inception import random_inception
from cyclegan_style.benchmarks.timing import device_name
from cyclegan_style.data.images import Pixels, resize, write_image
from cyclegan_style.errors import UserError
from cyclegan_style.features.inception import INCEPTION, SIDE, WEIGHTS_FILE
from cyclegan_style.features.weights import weights_at_hand
from cyclegan_style.system.processes import say

_OURS = "import sys; from cyclegan_style.commands.main import main; sys.exit(main())"


@dataclass(frozen=True)
class EvaluationComparison:
    """One run of each tool."""

    baseline_seconds: float
    seconds: float
    ratio: float
    baseline_fid: float
    fid: float
    baseline_peak_gigabytes: float
    """Largest single process; pytorch-fid's workers come on top."""
    peak_gigabytes: float
    images: int
    random_weights: bool
    """Whether the Inception was a random one, whose FID compares the tools and judges nothing."""
    device: str


@dataclass(frozen=True)
class Run:
    """What a command said and took."""

    output: str
    seconds: float
    gigabytes: float


def compare_with_pytorch_fid(
    count: int, weights: Path | None, real: Path | None = None, fake: Path | None = None
) -> EvaluationComparison:
    """Time both on two folders, by default of so many pictures of mixed sizes each.

    Weights that are not at hand are not downloaded: random ones take as long.
    """
    if importlib.util.find_spec("pytorch_fid") is None:
        raise UserError("benchmark evaluate compares with pytorch-fid: pip install pytorch-fid")
    if (real is None) != (fake is None):
        raise UserError("benchmark evaluate: give both --real and --fake, or neither")
    at_hand = INCEPTION.find(weights) if weights else weights_at_hand(INCEPTION.weights)
    if at_hand is None:
        say("no Inception weights at hand: both use the same random ones, which takes as long")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if real is None or fake is None:
            real = write_pictures(folder / "real", count, seed=1)
            fake = write_pictures(folder / "fake", count, seed=2)
        hub = folder / "torch" / "hub" / "checkpoints"
        hub.mkdir(parents=True)
        if at_hand is None:
            write_random_weights(hub / WEIGHTS_FILE)
        else:
            (hub / WEIGHTS_FILE).symlink_to(at_hand.resolve())
        theirs = run_alone(_pytorch_fid(real, fake), folder / "torch")
        ours = run_alone(_ours(real, fake), folder / "torch")
    scores = json.loads(ours.output.splitlines()[-1])
    found = re.search(r"FID:\s+([-\d.e]+)", theirs.output)
    return EvaluationComparison(
        baseline_seconds=theirs.seconds,
        seconds=ours.seconds,
        ratio=theirs.seconds / ours.seconds,
        baseline_fid=float(found.group(1)) if found else float("nan"),
        fid=scores["fid"],
        baseline_peak_gigabytes=theirs.gigabytes,
        peak_gigabytes=ours.gigabytes,
        images=scores["n_real"] + scores["n_fake"],
        random_weights=at_hand is None,
        device=device_name(),
    )


def write_random_weights(file: Path) -> None:
    """Write what takes the place of the trained weights, in the format of both tools."""
    chance = np.random.default_rng(3)
    pictures = [smooth_picture(chance, (SIDE, SIDE), coarseness=8) for _ in range(4)]
    torch.save(random_inception(pictures), file)


def run_alone(command: list[str], torch_home: Path) -> Run:
    """Run a command to its end; its errors go to the terminal."""
    environment = os.environ | {"TORCH_HOME": str(torch_home)}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{' '.join(command)} failed with status {process.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return Run(output, time.perf_counter() - start, usage.ru_maxrss * kilobyte / 1e9)


def write_pictures(folder: Path, count: int, seed: int) -> Path:
    """Write smooth colours under noise, in mixed sizes, as PNG and JPEG."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    for number in range(count):
        size = (int(chance.integers(120, 500)), int(chance.integers(120, 500)))
        pixels = smooth_picture(chance, size, coarseness=6 + 4 * seed)
        write_image(folder / f"{number:04}.{'jpg' if number % 2 else 'png'}", pixels)
    return folder


def smooth_picture(chance: np.random.Generator, size: tuple[int, int], coarseness: int) -> Pixels:
    """So many random colours across, blended into each other, under noise."""
    coarse = chance.integers(0, 256, (coarseness, coarseness, 3), dtype=np.uint8)
    noise = chance.integers(-12, 13, (*size, 3))
    return (resize(coarse, size) + noise).clip(0, 255).astype(np.uint8)


def _pytorch_fid(real: Path, fake: Path) -> list[str]:
    # Batches of one: it cannot stack pictures of different sizes.
    options = ["--batch-size", "1", "--device", "cuda" if torch.cuda.is_available() else "cpu"]
    return [sys.executable, "-m", "pytorch_fid", str(real), str(fake), *options]


def _ours(real: Path, fake: Path) -> list[str]:
    options = ["--metrics", "fid", "--no-intervals", "--no-cache", "--json"]
    sets = ["--real", str(real), "--fake", str(fake)]
    return [sys.executable, "-c", _OURS, "evaluate", "folders", *sets, *options]
