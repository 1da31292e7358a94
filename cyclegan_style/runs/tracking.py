"""What can be watched of a run: metrics.jsonl, pictures, a tracker, and lines for the terminal."""

import importlib.util
import json
import netrc
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from tqdm import tqdm

from cyclegan_style.config import Config, to_dict
from cyclegan_style.data.images import Pixels, write_image
from cyclegan_style.errors import UserError
from cyclegan_style.system.processes import on_main_process, say
from cyclegan_style.system.whole_files import write_durably

METRICS_FILE = "metrics.jsonl"
WATCHED = {
    "G": "adversarial_",
    "D": "discriminator_",
    "cycle": "cycle_",
    "contrast": "contrastive_",
    "pairs": "paired_",
    "content": "content_",
    "style": "style_",
}
"""Losses that are watched at the terminal, by their title there and the beginning of their names;
a contrast only where there is no cycle."""
WANDB_ID_FILE = "wandb-id"


class Tracking:
    """Where the main process reports; the other processes' reports go nowhere."""

    def __init__(
        self, accelerator: Accelerator, config: Config, run: Path, step: int, total_steps: int
    ) -> None:
        self.accelerator = accelerator
        self.run = run
        self.backend = config.tracking.backend
        self.total_steps = total_steps
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
        self.tracked_before = on_main_process(lambda: self._begin(config, step))

    def advance(self) -> None:
        """Count one step on the progress bar."""
        self.bar.update()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report numbers of a step, ``step`` and ``epoch`` among them."""
        if not self.accelerator.is_main_process:
            return
        with (self.run / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        self._track(step, lambda tracker: tracker.log(dict(values), step=step))
        summary = summarise(values)
        self.bar.set_postfix_str(summary)
        if self.prints_lines:
            print(f"step {step}/{self.total_steps}  {summary}", file=sys.stderr, flush=True)

    def picture(self, step: int, name: str, path: Path, pixels: Pixels) -> None:
        """Save a picture in the run folder and show it to the tracker."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, pixels)
        layout = {"dataformats": "NHWC"} if self.backend == "tensorboard" else {}
        self._track(
            step, lambda tracker: tracker.log_images({name: pixels[None]}, step=step, **layout)
        )

    def upload_model(self, folder: Path) -> None:
        """Keep the exported model at wandb as an artifact."""
        if self.backend == "wandb":
            self._track(
                self.total_steps,
                lambda tracker: tracker.tracker.log_artifact(
                    str(folder), name=f"{self.run.name}-model", type="model"
                ),
            )

    def close(self) -> None:
        """Finish the bar and the tracker."""
        self.bar.close()
        self._track(max(self.total_steps, self.tracked_before), lambda tracker: tracker.finish())

    def _track(self, step: int, report: Callable[[GeneralTracker], object]) -> None:
        """Hand a step to the tracker, unless it had it before the run was interrupted."""
        if step < self.tracked_before:
            return
        for tracker in self.accelerator.trackers:
            try:
                report(tracker)
            except Exception as error:  # whatever a tracker dies of, training does not
                say(f"{self.backend} failed and is left out from here on: {error}")
                self.accelerator.trackers.clear()
                return

    def _begin(self, config: Config, step: int) -> int:
        """Start the tracker, and return the last step that was reported before."""
        before = forget_metrics_after(self.run / METRICS_FILE, step)
        if self.backend != "none":
            self._start_tracker(config)
        return before

    def _start_tracker(self, config: Config) -> None:
        if importlib.util.find_spec(self.backend) is None:
            raise UserError(
                f"tracking.backend: {self.backend} is not installed; pip install {self.backend}"
            )
        values = flatten(to_dict(config))
        if self.backend == "tensorboard":
            self.accelerator.init_trackers(config.tracking.project, config=values)
            return
        import wandb

        check_wandb_environment()
        mode = os.environ.get("WANDB_MODE", "online")
        offline = mode in ("offline", "dryrun")
        offline |= mode in ("online", "run") and not wandb_has_key()
        try:
            self._start_wandb(config.tracking.project, values, offline)
        except Exception as error:  # no network, a refused key: none is worth a run
            say(f"wandb cannot be reached: {' '.join(str(error).split())}")
            offline = True
            # What failed still holds the run's id, and accelerate would start it again.
            wandb.teardown()
            self.accelerator.trackers.clear()
            try:
                self._start_wandb(config.tracking.project, values, offline)
            except Exception as second:  # a project's name that cannot be, a folder of others
                raise UserError(
                    f"tracking.backend: wandb cannot start: {' '.join(str(second).split())}"
                ) from second
        if offline:
            say(
                "wandb: this run is kept offline; upload it later with:"
                f" wandb sync {self.run / 'wandb'}/offline-run-*"
            )

    def _start_wandb(self, project: str, values: dict[str, Any], offline: bool) -> None:
        import wandb

        # After an outage the rest lies on disk for wandb sync; training does not wait for it.
        settings = wandb.Settings(init_timeout=30, finish_timeout=60, silent=True)
        options = {"dir": str(self.run), "name": self.run.name, "id": wandb_id(self.run)}
        # Offline there is nothing to resume from; the id alone brings the parts together.
        mode = {"mode": "offline"} if offline else {"resume": "allow"}
        self.accelerator.init_trackers(
            project, config=values, init_kwargs={"wandb": {**options, **mode, "settings": settings}}
        )


def wandb_id(run: Path) -> str:
    """The id of the run at wandb, the same however often it is continued."""
    path = run / WANDB_ID_FILE
    if not path.exists():
        write_durably(path, uuid.uuid4().hex[:12].encode())
    return path.read_text(encoding="ascii")


def check_wandb_environment() -> None:
    """Raise a UserError that names every variable of the environment that wandb would refuse.

    Those that are empty, as containers hand them on, are taken out: they mean that none is set.
    """
    import wandb
    from pydantic import ValidationError

    problems = []
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        if not os.environ[name]:
            del os.environ[name]
            continue
        try:
            wandb.Settings().update_from_env_vars({name: os.environ[name]})
        except ValidationError as error:
            problems += [f"{name}: {problem['msg']}" for problem in error.errors()]
        except wandb.Error as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise UserError("; ".join(problems))


def wandb_has_key() -> bool:
    """Whether wandb can log in without asking: a key in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname
    try:
        return any("wandb" in host or host == server for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def forget_metrics_after(path: Path, step: int) -> int:
    """Drop the lines of steps that will be taken again; return the last step that was there."""
    if not path.exists():
        return 0
    kept, last = [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            last = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off when the run was killed
        if last <= step:
            kept.append(line + "\n")
    write_durably(path, "".join(kept).encode())
    return last


def summarise(values: Mapping[str, float]) -> str:
    """The few numbers that a person watches: sums of losses of a kind, and the speed."""
    sums: dict[str, float] = {}
    for title, kind in WATCHED.items():
        if of_kind := [value for name, value in values.items() if name.startswith(kind)]:
            sums[title] = sum(of_kind)
    if "cycle" in sums:
        sums.pop("contrast", None)
    losses = "".join(f"  {title} {value:.3f}" for title, value in sums.items())
    return f"epoch {values['epoch']:.1f}{losses}  {values['images_per_second']:.1f} images/s"


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


Row = dict[str, float]
"""The numbers of a line of metrics.jsonl."""
LARGEST_STEP = 2**53
LARGEST_NUMBER = 1e100
"""Beyond it a number counts as missing: it cannot be drawn."""


def read_metrics(path: Path) -> list[Row]:
    """Numbers of the logged steps in order; what is no line of metrics is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    by_step: dict[int, Row] = {}
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            continue  # cut off when the run was killed
        if not isinstance(values, dict):
            continue
        row = {key: value for key, value in values.items() if is_number(value)}
        if 0 <= row.get("step", -1) < LARGEST_STEP:
            by_step[int(row["step"])] = row
    return [by_step[step] for step in sorted(by_step)]


def is_number(value: object) -> bool:
    """Whether a value of metrics.jsonl can be drawn; a truth value is an int, too."""
    if isinstance(value, bool) or not isinstance(value, float | int):
        return False
    return abs(value) < LARGEST_NUMBER
