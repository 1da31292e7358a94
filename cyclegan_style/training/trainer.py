"""Training from a configuration to a run folder with a model in it."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from cyclegan_style.config import Config, to_yaml
from cyclegan_style.data.images import write_image
from cyclegan_style.data.sampling import UnpairedBatchSampler, UnpairedDataset, training_loader
from cyclegan_style.data.training_data import (
    name_domains,
    open_dataset,
    open_test_domains,
    open_test_images,
)
from cyclegan_style.errors import UserError
from cyclegan_style.models.export import MODEL_FOLDER, export_model
from cyclegan_style.runs.best import BestScores, best_table, keep_best_model
from cyclegan_style.runs.checkpoint import (
    Checkpoint,
    ProcessState,
    chance_untouched,
    checkpoint_folder,
    checkpoint_folders,
    half_written,
    newest_checkpoint,
    optimizer_tensors,
    random_state,
    restore_optimizer,
    restore_random_state,
    save_checkpoint,
)
from cyclegan_style.runs.report import REPORT_FILE, write_report
from cyclegan_style.runs.run_folder import claim_run_folder
from cyclegan_style.runs.tracking import Tracking
from cyclegan_style.system.hardware import build_accelerator, describe_hardware
from cyclegan_style.system.preemption import StopRequest
from cyclegan_style.system.processes import on_main_process, say
from cyclegan_style.training.config_checks import validate
from cyclegan_style.training.cyclegan import Images
from cyclegan_style.training.demo import (
    Scores,
    compare_with_baselines,
    flat_scores,
    known_translations,
    score_table,
    translation_strip,
)
from cyclegan_style.training.fine_tuning import begin_from
from cyclegan_style.training.samples import sample_sheet
from cyclegan_style.training.schedule import learning_rate
from cyclegan_style.training.step import TrainingStep
from cyclegan_style.training.validation import Validation

SAMPLE_FOLDER = "samples"
STRIP_FILE = "translations.png"


class DivergenceError(UserError):
    """A loss became infinite or not a number, from which there is no way back."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to."""

    run: Path
    step: int
    scores: Scores


def train(config: Config, note: str = "") -> TrainingResult:
    """Train a CycleGAN, or go on with the run in the folder, until its last step.

    The note is for the person at the terminal, who gets it before the first step but not on top of
    a mistake.
    """
    config = name_domains(config)
    validate(config)
    accelerator = build_accelerator(config)
    run = on_main_process(lambda: claim_run_folder(config))
    dataset = open_dataset(config.data, accelerator)
    if note:
        say(note)
    return Trainer(config, accelerator, run, dataset).fit()


class Trainer:
    """The training loop and what it reads and writes on its way."""

    def __init__(
        self, config: Config, accelerator: Accelerator, run: Path, dataset: UnpairedDataset
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.run = run
        self.dataset = dataset
        self.training_step = TrainingStep(config, accelerator)
        # From here on chance differs between processes: dropout, augmentations, interpolations.
        set_seed(config.train.seed, device_specific=True)
        processes: int = accelerator.num_processes
        train_config = config.train
        self.sampler = UnpairedBatchSampler(
            len(dataset.domain_a),
            len(dataset.domain_b),
            train_config.batch_size,
            train_config.seed,
            batches_per_global_step=processes * train_config.accumulation_steps,
        )
        self.loader = accelerator.prepare_data_loader(
            training_loader(
                dataset, self.sampler, config.data.num_workers, accelerator.device.type == "cuda"
            )
        )
        self.batches_per_step = processes * train_config.accumulation_steps
        self.images_per_step = self.batches_per_step * train_config.batch_size
        self.steps_per_epoch = self.sampler.batches_per_epoch // self.batches_per_step
        test_domains = open_test_domains(config)
        self.tests = open_test_images(config, test_domains)
        self.known = known_translations(config.data)
        self.validation = (
            Validation(config, test_domains, accelerator.device)
            if config.evaluation.every_steps
            else None
        )
        self.best = BestScores({} if self.validation is None else self.validation.made_by())
        self.scores: Scores = {}
        self.step = 0
        self.epoch = 0
        self.step_in_epoch = 0
        self.seconds_aside: dict[str, float] = {}
        self.unreported: list[Tensor] = []
        self.loss_names: list[str] = []
        self.last_checkpoint: Path | None = None

    def fit(self) -> TrainingResult:
        """Train from where the run stands to its last step, or until asked to stop."""
        self.restore()
        self.tracking = Tracking(
            self.accelerator, self.config, self.run, self.step, self.total_steps
        )
        self.describe()
        self.began_at = self.reported_at = time.perf_counter()
        try:
            with StopRequest() as request:
                self.train_until(request)
                if self.step < self.total_steps:
                    self.interrupt(request)
                else:
                    self.finish()
        except DivergenceError:
            self.write_report("diverged")
            self.tracking.close()
            raise
        except OSError as error:
            raise UserError(
                f"run.dir: {self.run}: training stopped: {error.strerror or error};"
                f" last good checkpoint: {self.last_checkpoint or 'none was written yet'}"
            ) from error
        return TrainingResult(self.run, self.step, self.scores)

    def train_until(self, request: StopRequest) -> None:
        """Take the steps that are left, with what is due after each."""
        for batches in self.remaining_steps():
            rate = learning_rate(self.config.optimizer, self.config.train, self.progress)
            self.training_step.set_learning_rate(rate)
            losses, _ = self.training_step.run(batches)
            self.step += 1
            self.step_in_epoch += 1
            self.remember(losses)
            self.tracking.advance()
            scores: dict[str, float] = {}
            if self.is_due(self.config.evaluation.every_steps):
                with self.aside("scores"):
                    scores = self.evaluate()
                    self.keep_best(scores)
            if scores or self.is_due(self.config.tracking.log_every_steps):
                self.report(rate, scores)
            if self.is_due(self.config.tracking.sample_every_steps):
                with self.aside("samples"):
                    self.show_samples()
                    self.write_report("training")
            if self.is_due(self.config.checkpoint.every_steps):
                with self.aside("checkpoints"):
                    self.save()
            if self.all_agree_to_stop(request):
                return

    @contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """Do something beside training, whose time does not count into the speed of training."""
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.reported_at += seconds
        self.seconds_aside[what] = self.seconds_aside.get(what, 0.0) + seconds

    @property
    def progress(self) -> float:
        """Epochs that are behind us."""
        return self.epoch + self.step_in_epoch / self.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps that are behind us when training is done."""
        patience = self.config.evaluation.patience
        if patience is not None and self.best.evaluations_without >= patience:
            return self.step
        epochs = self.config.train.epochs + self.config.train.decay_epochs
        left = (epochs - self.epoch) * self.steps_per_epoch - self.step_in_epoch
        return min(self.step + left, self.config.train.max_steps or sys.maxsize)

    def remaining_steps(self) -> Iterator[list[Images]]:
        """The batches of each step that is left, epoch by epoch."""
        while self.step < self.total_steps:
            self.sampler.set_position(self.epoch, self.step_in_epoch * self.batches_per_step)
            batches = iter(self.loader)
            for _ in range(self.steps_per_epoch - self.step_in_epoch):
                yield list(islice(batches, self.config.train.accumulation_steps))
                if self.step == self.total_steps:
                    return
            self.epoch, self.step_in_epoch = self.epoch + 1, 0

    def all_agree_to_stop(self, request: StopRequest) -> bool:
        """Whether any process was asked to stop; all learn of it after the same step."""
        if self.accelerator.num_processes == 1:
            return request.signal_name is not None
        # On GPUs asking makes the host wait for the device, so it is not done at every step.
        if self.accelerator.device.type != "cpu" and self.step % 10:
            return False
        if request.signal_name is not None:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())

    def is_due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return bool(every) and (self.step % every == 0 or self.step == self.total_steps)

    def remember(self, losses: dict[str, Tensor]) -> None:
        """Keep a step's losses on the device until they are reported."""
        self.loss_names = list(losses)
        self.unreported.append(torch.stack(list(losses.values())))

    def mean_losses(self) -> dict[str, float]:
        """Losses since the last report, over all processes; the host waits for the device here."""
        by_step = self.accelerator.reduce(torch.stack(self.unreported), "mean").cpu()
        for number, row in enumerate(by_step):
            for name, value in zip(self.loss_names, row.tolist(), strict=True):
                if not math.isfinite(value):
                    step = self.step - len(by_step) + number + 1
                    raise DivergenceError(self.divergence_message(step, name, value))
        return dict(zip(self.loss_names, by_step.double().mean(0).tolist(), strict=True))

    def divergence_message(self, step: int, name: str, value: float) -> str:
        """What happened, and from where one can go on."""
        good = self.last_checkpoint or "none was written yet"
        return (
            f"training diverged: {name} became {value} at step {step}; last good checkpoint:"
            f" {good}; a lower optimizer.learning_rate or optimizer.clip_norm may help"
        )

    def report(self, rate: float, scores: dict[str, float]) -> None:
        """Write the means since the last report to metrics.jsonl, the tracker and the terminal."""
        losses = self.mean_losses()
        now = time.perf_counter()
        seconds, self.reported_at = now - self.reported_at, now
        speed = self.images_per_step * len(self.unreported) / max(seconds, 1e-9)
        self.unreported.clear()
        values = {
            "step": self.step,
            "epoch": round(self.progress, 4),
            "lr": rate,
            "images_per_second": round(speed, 3),
            **gpu_memory(),
            **losses,
            **scores,
        }
        with self.aside("logs"):
            self.tracking.metrics(self.step, values)

    def show_samples(self) -> None:
        """Draw the test images as the exported generators see them now."""
        if self.accelerator.is_main_process:
            path = self.run / SAMPLE_FOLDER / f"step-{self.step:08d}.png"
            pixels = sample_sheet(self.training_step.exported_generators, self.tests)
            self.tracking.picture(self.step, "samples", path, pixels)

    def write_report(self, state: str) -> None:
        """Rewrite the page that shows the whole run."""
        if self.accelerator.is_main_process:
            hardware = describe_hardware(self.accelerator)
            write_report(self.run, self.total_steps, hardware, state, self.images_per_step)

    def evaluate(self) -> dict[str, float]:
        """Score the test pictures' translations, without a trace in what is trained."""
        values: dict[str, float] = {}
        with chance_untouched():
            if self.accelerator.is_main_process:
                self.compare_with_truth()
                values = flat_scores(self.scores)
            if self.validation is not None:
                values |= self.validation.scores(self.training_step.exported_generators)
        return on_main_process(lambda: values)

    def compare_with_truth(self) -> None:
        """Score the translations whose truth is known, beside what is simpler than a network."""
        generators = self.training_step.exported_generators
        self.scores = {
            known.direction.name: compare_with_baselines(generators, known) for known in self.known
        }

    def keep_best(self, scores: dict[str, float]) -> None:
        """Keep the model for each score that is the best so far."""
        names = self.best.update(self.step, scores)
        if self.accelerator.is_main_process:
            generators, config = self.training_step.exported_generators, to_yaml(self.config)
            for name in names:
                keep_best_model(self.run, name, self.best.best[name], generators, config)

    def save(self) -> None:
        """Write a checkpoint of everything that shapes the next step, and the model beside it."""
        self.refuse_divergence()
        step = self.training_step
        shared = {
            "generators": step.generators.state_dict(),
            "discriminators": step.discriminators.state_dict(),
            "generator_optimizer": optimizer_tensors(step.generator_optimizer),
            "discriminator_optimizer": optimizer_tensors(step.discriminator_optimizer),
        }
        if step.average is not None:
            shared["average"] = step.average.state_dict()
        scaler = self.accelerator.scaler
        self.last_checkpoint = save_checkpoint(
            self.accelerator,
            self.run,
            self.step,
            shared,
            self.own_state(),
            {
                "total_steps": self.total_steps,
                "epoch": self.epoch,
                "step_in_epoch": self.step_in_epoch,
                "images_per_step": self.images_per_step,
                "processes": self.accelerator.num_processes,
                "loss_names": self.loss_names,
                "scores": self.best.state(),
                "scaler": None if scaler is None else scaler.state_dict(),
            },
            keep=self.config.checkpoint.keep,
            keep_steps={best.step for best in self.best.best.values()},
        )
        self.export()

    def export(self) -> None:
        """Write or refresh the model that is there to be used."""
        if self.accelerator.is_main_process:
            generators = self.training_step.exported_generators
            export_model(self.run / MODEL_FOLDER, generators, to_yaml(self.config))

    def refuse_divergence(self) -> None:
        """Raise a DivergenceError rather than call a state that is beyond saving a good one."""
        if self.unreported:
            self.mean_losses()
        for networks in (self.training_step.generators, self.training_step.discriminators):
            for name, weight in networks.named_parameters():
                if not bool(weight.isfinite().all()):
                    raise DivergenceError(self.divergence_message(self.step, name, math.nan))

    def own_state(self) -> ProcessState:
        """What this process has that the others have not: chance, pools, unreported losses."""
        state = random_state()
        for domain, pool in self.training_step.pools.items():
            state.tensors.update({f"pool.{domain}.{k}": v for k, v in pool.state().items()})
        if self.unreported:
            state.tensors["unreported"] = torch.stack(self.unreported)
        return state

    def restore(self) -> None:
        """Go on from the newest whole checkpoint of the run, or begin, if there is none."""
        checkpoint, complaints = on_main_process(lambda: newest_checkpoint(self.run))
        complaints += [f"{path}: half written" for path in half_written(self.run)]
        for complaint in complaints:
            say(f"passed over {complaint}")
        if checkpoint is not None:
            self.restore_from(checkpoint)
            self.export()
        elif any(checkpoint_folders(self.run)):
            raise UserError(
                f"run.dir: {self.run} holds no whole checkpoint to go on from;"
                " choose another run.dir, or remove its checkpoints to begin again"
            )
        elif self.config.train.start_from is not None:
            say(begin_from(self.config.train.start_from, self.config, self.training_step))

    def restore_from(self, checkpoint: Checkpoint) -> None:
        """Put back everything that ``save`` wrote."""
        step = self.training_step
        step.generators.load_state_dict(checkpoint.shared("generators"))
        step.discriminators.load_state_dict(checkpoint.shared("discriminators"))
        restore_optimizer(step.generator_optimizer, checkpoint.shared("generator_optimizer"))
        restore_optimizer(
            step.discriminator_optimizer, checkpoint.shared("discriminator_optimizer")
        )
        if step.average is not None:
            step.average.load_state_dict(checkpoint.shared("average"))
        if self.accelerator.scaler is not None and checkpoint.facts["scaler"]:
            self.accelerator.scaler.load_state_dict(checkpoint.facts["scaler"])
        own = checkpoint.of_process(self.accelerator.process_index)
        if own is not None:
            self.restore_own(own)
        facts = checkpoint.facts
        self.step, self.epoch, self.step_in_epoch = (
            facts["step"],
            facts["epoch"],
            facts["step_in_epoch"],
        )
        self.loss_names = facts["loss_names"]
        if not self.best.restore(facts["scores"]):
            say("scores are made in another way than before: the best so far are not compared")
        self.last_checkpoint = checkpoint.folder
        if facts["processes"] != self.accelerator.num_processes:
            say(
                f"the run had {facts['processes']} processes and now has"
                f" {self.accelerator.num_processes}: it goes on, but not bit for bit"
            )
            # As many images of the epoch are behind us, in steps of another size.
            self.step_in_epoch = facts["step_in_epoch"] * facts["images_per_step"]
            self.step_in_epoch //= self.images_per_step
            self.step_in_epoch = min(self.step_in_epoch, self.steps_per_epoch)
            self.unreported.clear()  # every process must have as many

    def restore_own(self, own: ProcessState) -> None:
        """Put back what ``own_state`` returned."""
        restore_random_state(own)
        for domain, pool in self.training_step.pools.items():
            prefix = f"pool.{domain}."
            pool.restore(
                {k.removeprefix(prefix): v for k, v in own.tensors.items() if k.startswith(prefix)},
                self.accelerator.device,
            )
        if "unreported" in own.tensors:
            self.unreported = list(own.tensors["unreported"].to(self.accelerator.device))

    def describe(self) -> None:
        """Say what is about to happen."""
        processes = self.accelerator.num_processes
        where = self.accelerator.device.type + (f" × {processes}" if processes > 1 else "")
        beginning = f"going on from step {self.step}" if self.step else "starting"
        sizes = f"{len(self.dataset.domain_a)} and {len(self.dataset.domain_b)}"
        say(
            f"{beginning} in {self.run}: {sizes} pictures, {self.total_steps} steps of"
            f" {self.images_per_step} on {where}, precision {self.accelerator.mixed_precision}"
        )

    def interrupt(self, request: StopRequest) -> None:
        """Save and say how to go on."""
        if self.last_checkpoint != checkpoint_folder(self.run, self.step):
            self.save()
        self.write_report("stopped")
        self.tracking.close()
        self.say_what_was_skipped()
        say(self.where_time_went())
        say(
            f"stopped by {request.signal_name or 'another process'} after step {self.step} of"
            f" {self.total_steps}, which is saved; run the same command again to go on"
        )

    def finish(self) -> None:
        """Score and show the trained model, and say where everything is."""
        if self.accelerator.is_main_process and not self.scores:
            self.compare_with_truth()
        self.say_what_was_skipped()
        self.say_why_it_ended()
        self.write_report("finished")
        if self.config.tracking.log_model:
            self.tracking.upload_model(self.run / MODEL_FOLDER)
        self.tracking.close()
        lines = [
            self.where_time_went(),
            *score_table(self.scores),
            *best_table(self.best),
            f"run folder: {self.run}",
        ]
        if self.accelerator.is_main_process and self.known:
            generators = self.training_step.exported_generators
            write_image(self.run / STRIP_FILE, translation_strip(generators, self.known, 6))
            lines.append(f"open:       {self.run / STRIP_FILE} (input, translation, truth)")
        lines.append(f"report:     {self.run / REPORT_FILE}")
        newest = self.run / SAMPLE_FOLDER / f"step-{self.step:08d}.png"
        lines += [
            f"samples:    {newest}",
            f"model:      {self.run / MODEL_FOLDER}",
        ]
        for line in lines:
            say(line)

    def where_time_went(self) -> str:
        """How long this went on, and which part of it was not training."""
        seconds = time.perf_counter() - self.began_at
        parts = [f"{100 * of / seconds:.1f} % {what}" for what, of in self.seconds_aside.items()]
        return f"{seconds:.0f} s, of which {', '.join(parts) or 'all was training'}"

    def say_what_was_skipped(self) -> None:
        """Count the pictures that could not be read, at the start or since."""
        for domain in (self.dataset.domain_a, self.dataset.domain_b):
            if domain.unreadable_count:
                say(f"{domain.field}: {domain.unreadable_count} unreadable images skipped")

    def say_why_it_ended(self) -> None:
        """Tell if training ended before its last step for want of better scores."""
        patience = self.config.evaluation.patience
        if patience is not None and self.best.evaluations_without >= patience:
            say(
                f"stopped early after step {self.step}: no best score in {patience} evaluations;"
                " a larger evaluation.patience goes on from here"
            )


def gpu_memory() -> dict[str, float]:
    """Most memory that was ever taken on this process's GPU, in gigabytes."""
    if not torch.cuda.is_available():
        return {}
    return {"gpu_memory_gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 3)}
