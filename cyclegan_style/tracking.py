"""What can be watched of a run: metrics.jsonl, pictures, a tracker, and lines for the terminal."""

import importlib.util
import json
import netrc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from tqdm import tqdm

from cyclegan_style.checkpoint import write_durably
from cyclegan_style.config import Config, to_dict
from cyclegan_style.errors import UserError
from cyclegan_style.images import write_image

METRICS_FILE = "metrics.jsonl"


class Tracking:
    """Where the main process reports; the other processes' reports go nowhere."""

    def __init__(
        self, accelerator: Accelerator, config: Config, run: Path, step: int, total_steps: int
    ) -> None:
        self.accelerator = accelerator
        self.run = run
        self.backend = config.tracking.backend
        on_terminal = accelerator.is_main_process and sys.stderr.isatty()
        self.prints_lines = accelerator.is_main_process and not on_terminal
        self.bar = tqdm(
            total=total_steps,
            initial=step,
            desc="training",
            unit="step",
            disable=not on_terminal,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        if accelerator.is_main_process:
            forget_metrics_after(run / METRICS_FILE, step)
        if self.backend != "none":
            self._start_tracker(config)

    def advance(self) -> None:
        """Count one step on the progress bar."""
        self.bar.update()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report numbers of a step, ``step`` and ``epoch`` among them."""
        if not self.accelerator.is_main_process:
            return
        with (self.run / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if self.backend != "none":
            self.accelerator.log(dict(values), step=step)
        summary = summarise(values)
        self.bar.set_postfix_str(summary)
        if self.prints_lines:
            print(f"step {step}/{self.bar.total}  {summary}", file=sys.stderr, flush=True)

    def picture(self, step: int, name: str, path: Path, pixels: np.ndarray) -> None:
        """Save a picture in the run folder and show it to the tracker."""
        if not self.accelerator.is_main_process:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, pixels)
        layout = {"dataformats": "NHWC"} if self.backend == "tensorboard" else {}
        for tracker in self.accelerator.trackers:
            tracker.log_images({name: pixels[None]}, step=step, **layout)

    def say(self, line: str) -> None:
        """Tell the person at the terminal, without tearing the progress bar."""
        if self.accelerator.is_main_process:
            tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Finish the bar and the tracker."""
        self.bar.close()
        if self.backend != "none":
            self.accelerator.end_training()

    def _start_tracker(self, config: Config) -> None:
        if importlib.util.find_spec(self.backend) is None:
            raise UserError(
                f"tracking.backend: {self.backend} is not installed; pip install {self.backend}"
            )
        options: dict[str, Any] = {}
        if self.backend == "wandb":
            offline = not wandb_has_key() and "WANDB_MODE" not in os.environ
            options["wandb"] = {
                "dir": str(self.run),
                "name": self.run.name,
                "mode": "offline" if offline else None,
            }
            if offline:
                self.say(
                    "wandb: no API key, so the run is kept offline;"
                    f" upload it later with: wandb sync {self.run}/wandb/offline-run-*"
                )
        self.accelerator.init_trackers(
            config.tracking.project, config=flatten(to_dict(config)), init_kwargs=options
        )


def wandb_has_key() -> bool:
    """Whether wandb can log in without asking: a key in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def forget_metrics_after(path: Path, step: int) -> None:
    """Drop the lines of steps that will be taken again from the checkpoint of ``step``."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # cut off when the run was killed
    write_durably(path, "".join(kept).encode())


def summarise(values: Mapping[str, float]) -> str:
    """The few numbers that a person watches: G and D losses, cycle, speed."""
    generators = values.get("adversarial_ab", 0) + values.get("adversarial_ba", 0)
    discriminators = values.get("discriminator_a", 0) + values.get("discriminator_b", 0)
    cycles = values.get("cycle_a", 0) + values.get("cycle_b", 0)
    return (
        f"epoch {values['epoch']:.1f}  G {generators:.3f}  D {discriminators:.3f}"
        f"  cycle {cycles:.3f}  {values['images_per_second']:.1f} images/s"
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted names, and lists as text, which trackers accept."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = (
                value if isinstance(value, str | int | float | bool) else str(value)
            )
    return flat
