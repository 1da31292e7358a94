"""What a person sees of a run: numbers, pictures, the report, and lines at the terminal."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from cyclegan_style.config import Config
from cyclegan_style.data.images import to_pillow, write_image
from cyclegan_style.data.sampling import UnpairedDataset
from cyclegan_style.models.export import MODEL_FOLDER
from cyclegan_style.runs.best import best_table
from cyclegan_style.runs.health import new_complaints
from cyclegan_style.runs.report import REPORT_FILE, write_report
from cyclegan_style.runs.tracking import METRICS_FILE, Tracking, read_metrics
from cyclegan_style.system.hardware import describe_hardware
from cyclegan_style.system.processes import say
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.demo import score_table, translation_strip
from cyclegan_style.training.progress import Progress, RecentLosses
from cyclegan_style.training.scoring import Scoring
from cyclegan_style.training.step import TrainingStep

SAMPLE_FOLDER = "samples"
STRIP_FILE = "translations.png"


class Clock:
    """Tells how long a run goes on, and which part of it is not training."""

    def __init__(self) -> None:
        self.began_at = self.reported_at = time.perf_counter()
        self.seconds_aside: dict[str, float] = {}

    @contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """Do something beside training, whose time does not count into the speed of training."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.reported_at += seconds
        self.seconds_aside[what] = self.seconds_aside.get(what, 0.0) + seconds

    def seconds_since_report(self) -> float:
        """Seconds of training since this was last asked."""
        now = time.perf_counter()
        seconds, self.reported_at = now - self.reported_at, now
        return seconds

    def summary(self) -> str:
        """How long this went on, and what else than training it was."""
        seconds = time.perf_counter() - self.began_at
        parts = [f"{100 * of / seconds:.1f} % {what}" for what, of in self.seconds_aside.items()]
        return f"{seconds:.0f} s, of which {', '.join(parts) or 'all was training'}"


class Watching:
    """Shows a run from where it stands when this is built."""

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        run: Path,
        dataset: UnpairedDataset,
        tests: Mapping[str, Sequence[Tensor]],
        progress: Progress,
        losses: RecentLosses,
        on_sample: Callable[[int, Image.Image], object] | None = None,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.run = run
        self.dataset = dataset
        self.tests = tests
        self.progress = progress
        self.losses = losses
        self.on_sample = on_sample
        self.tracking = Tracking(accelerator, config, run, progress.step, progress.total_steps)
        self.say_what_begins()
        self.clock = Clock()

    def report(self, rate: float, scores: Mapping[str, float]) -> None:
        """Write the means since the last report to metrics.jsonl, the tracker and the terminal."""
        progress = self.progress
        losses = self.losses.means(progress.step)
        images = progress.images_per_step * len(self.losses.by_step)
        speed = images / max(self.clock.seconds_since_report(), 1e-9)
        self.losses.by_step.clear()
        values = {
            "step": progress.step,
            "epoch": round(progress.epochs, 4),
            "lr": rate,
            "images_per_second": round(speed, 3),
            **gpu_memory(),
            **losses,
            **scores,
        }
        with self.clock.aside("logs"):
            self.tracking.metrics(progress.step, values)

    def show_samples(self, training_step: TrainingStep) -> None:
        """Draw what the generators make now."""
        if self.accelerator.is_main_process:
            pixels = training_step.sample(self.tests)
            self.tracking.picture(self.progress.step, "samples", self.sample_file, pixels)
            if self.on_sample is not None:
                self.on_sample(self.progress.step, to_pillow(pixels))

    def say_what_ails(self) -> None:
        """Say what goes wrong since this sample, and what to do about it."""
        if self.accelerator.is_main_process:
            rows = read_metrics(self.run / METRICS_FILE)
            for line in new_complaints(rows, self.progress.total_steps):
                say(line)

    @property
    def sample_file(self) -> Path:
        """The picture of this step."""
        return self.run / SAMPLE_FOLDER / f"step-{self.progress.step:08d}.png"

    def write_report(self, state: str) -> None:
        """Rewrite the page that shows the whole run."""
        if self.accelerator.is_main_process:
            hardware = describe_hardware(self.accelerator)
            total, images = self.progress.total_steps, self.progress.images_per_step
            write_report(self.run, total, hardware, state, images)

    def show_divergence(self) -> None:
        """Tell the page and the tracker that the run is over."""
        self.write_report("diverged")
        self.tracking.close()

    def show_interruption(self, source: str | None) -> None:
        """Tell what stopped the run, which is saved, and how to go on."""
        self.write_report("stopped")
        self.tracking.close()
        self.say_what_was_skipped()
        say(self.clock.summary())
        say(
            f"stopped by {source or 'another process'} after step {self.progress.step} of"
            f" {self.progress.total_steps}, which is saved; run the same command again to go on"
        )

    def show_end(self, generators: Generators, scoring: Scoring) -> None:
        """Show the trained model and its scores, and say where everything is."""
        self.say_what_was_skipped()
        self.say_why_it_ended()
        self.write_report("finished")
        if self.config.tracking.log_model:
            self.tracking.upload_model(self.run / MODEL_FOLDER)
        self.tracking.close()
        lines = [
            self.clock.summary(),
            *score_table(scoring.against_truth),
            *best_table(scoring.best),
            f"run folder: {self.run}",
        ]
        if self.accelerator.is_main_process and scoring.known:
            write_image(self.run / STRIP_FILE, translation_strip(generators, scoring.known, 6))
            lines.append(f"open:       {self.run / STRIP_FILE} (input, translation, truth)")
        lines += [
            f"report:     {self.run / REPORT_FILE}",
            f"samples:    {self.sample_file}",
            f"model:      {self.run / MODEL_FOLDER}",
        ]
        for line in lines:
            say(line)

    def say_what_begins(self) -> None:
        """Say what is about to happen."""
        progress, processes = self.progress, self.accelerator.num_processes
        where = self.accelerator.device.type + (f" × {processes}" if processes > 1 else "")
        beginning = f"going on from step {progress.step}" if progress.step else "starting"
        sizes = " and ".join(str(len(domain)) for domain in self.dataset.domains.values())
        pairs = f" and {len(self.dataset.pairs)} pairs" if self.dataset.pairs else ""
        say(
            f"{beginning} in {self.run}: {sizes} pictures{pairs}, {progress.total_steps} steps of"
            f" {progress.images_per_step} on {where}, precision {self.accelerator.mixed_precision}"
        )

    def say_what_was_skipped(self) -> None:
        """Count the pictures that could not be read, at the start or since."""
        pairs = self.dataset.pairs
        for domain in (*self.dataset.domains.values(), *(pairs.domains.values() if pairs else ())):
            if domain.unreadable_count:
                say(f"{domain.field}: {domain.unreadable_count} unreadable images skipped")

    def say_why_it_ended(self) -> None:
        """Tell if training ended before its last step for want of better scores."""
        if self.progress.out_of_patience:
            say(
                f"stopped early after step {self.progress.step}: no best score in"
                f" {self.config.evaluation.patience} evaluations;"
                " a larger evaluation.patience goes on from here"
            )


def gpu_memory() -> dict[str, float]:
    """Most memory that was ever taken on this process's GPU, in gigabytes."""
    if not torch.cuda.is_available():
        return {}
    return {"gpu_memory_gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 3)}
