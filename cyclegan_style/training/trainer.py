"""Training from a configuration to a run folder with a model in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image
from torch import Tensor

from cyclegan_style.applying.prepared import OutputError
from cyclegan_style.config import Config
from cyclegan_style.data.sampling import UnpairedDataset
from cyclegan_style.data.training_data import (
    name_domains,
    open_batches,
    open_dataset,
    open_test_domains,
    open_test_images,
)
from cyclegan_style.errors import UserError
from cyclegan_style.runs.run_folder import claim_run_folder
from cyclegan_style.system.hardware import (
    build_accelerator,
    forget_number_format,
    join_training,
    refuse_precision,
)
from cyclegan_style.system.preemption import StopRequest
from cyclegan_style.system.processes import main_process_first, on_main_process, say
from cyclegan_style.training.compile_choice import with_compiling_of_run
from cyclegan_style.training.config_checks import remarks, validate
from cyclegan_style.training.convolutions import refuse_convolutions, with_convolutions_of_run
from cyclegan_style.training.demo import Scores
from cyclegan_style.training.health import Health
from cyclegan_style.training.number_format import precision_of_run
from cyclegan_style.training.one_style import with_styles
from cyclegan_style.training.passes import Images
from cyclegan_style.training.progress import NotFiniteError, Progress, RecentLosses
from cyclegan_style.training.saving import Saving
from cyclegan_style.training.schedule import learning_rate, share_behind
from cyclegan_style.training.scoring import Scoring
from cyclegan_style.training.tasks import build_step
from cyclegan_style.training.value_ranges import with_ranges_of_run
from cyclegan_style.training.watching import Watching

DIVERGED = "training diverged"
"""How the message of a DivergenceError begins."""


class DivergenceError(UserError):
    """A loss or an output became infinite or not a number, from which there is no way back."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to."""

    run: Path
    step: int
    scores: Scores


OnStep = Callable[[int, Mapping[str, Tensor]], object]
OnSample = Callable[[int, Image.Image], object]


def train(
    config: Config,
    notes: Sequence[str] = (),
    *,
    on_step: OnStep | None = None,
    on_sample: OnSample | None = None,
) -> TrainingResult:
    """Train what the configuration's task names, or go on with its run, until the last step.

    ``on_step`` is called after each step with its number and losses, on every process; losses lie
    on the device, which is waited for where they are read. What it returns, if it is true, stops
    the run after that step: it is saved, and the same call goes on. ``on_sample`` is called with
    each picture of samples and the number of its step, on the main process. The notes are for the
    person at the terminal, who gets them before the first step but not on top of a mistake.
    """
    forget_number_format()
    config = name_domains(config)
    validate(config)
    refuse_precision(config.train)
    refuse_convolutions(config.train)
    processes = join_training(config.train)
    config = main_process_first(partial(with_styles, config))
    run = on_main_process(lambda: claim_run_folder(config))
    config = with_ranges_of_run(config, run)
    dataset = open_dataset(config, processes)
    accelerator = build_accelerator(config, precision_of_run(config, run))
    for note in (*notes, *remarks(config)):
        say(note)
    return Trainer(config, accelerator, run, dataset, on_step, on_sample).fit()


class Trainer:
    """The training loop, which decides what happens when.

    What happens is done by others: ``training_step`` changes weights, ``progress`` and ``losses``
    note what is behind us, ``scoring`` judges, ``health`` looks for what goes wrong, ``watching``
    shows and ``saving`` saves.
    """

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        run: Path,
        dataset: UnpairedDataset,
        on_step: OnStep | None = None,
        on_sample: OnSample | None = None,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.run = run
        self.on_step = on_step
        precision = accelerator.mixed_precision
        computing = with_convolutions_of_run(config, run, precision)
        computing = with_compiling_of_run(computing, run, precision, len(dataset))
        self.training_step = build_step(computing, accelerator)
        # From here on chance differs between processes: dropout, augmentations, interpolations.
        set_seed(config.train.seed, device_specific=True)
        self.sampler, self.loader = open_batches(config, accelerator, dataset)
        self.batches_per_step = self.sampler.batches_per_global_step
        test_domains = open_test_domains(config)
        tests = open_test_images(config, test_domains)
        self.scoring = Scoring(config, accelerator, run, test_domains)
        self.progress = Progress(
            config,
            self.scoring.best,
            steps_per_epoch=self.sampler.batches_per_epoch // self.batches_per_step,
            images_per_step=self.batches_per_step * config.train.batch_size,
        )
        self.health = Health(config, dataset, test_domains, self.progress, self.scoring.best)
        self.losses = RecentLosses(accelerator)
        self.saving = Saving(
            config, accelerator, run, self.training_step, self.progress, self.losses
        )
        self.saving.restore()
        self.watching = Watching(
            config, accelerator, run, dataset, tests, self.progress, self.losses, on_sample
        )

    def fit(self) -> TrainingResult:
        """Train from where the run stands to its last step, or until asked to stop."""
        try:
            with StopRequest() as request:
                self.train_until(request)
                if self.progress.step < self.progress.total_steps:
                    self.interrupt(request)
                else:
                    self.finish()
        except (NotFiniteError, OutputError) as error:
            self.watching.show_divergence()
            raise DivergenceError(
                f"{DIVERGED}: {error}; last good checkpoint: {self.last_checkpoint};"
                " a lower optimizer.learning_rate or optimizer.clip_norm may help"
            ) from None
        except OSError as error:
            raise UserError(
                f"run.dir: {self.run}: training stopped: {error.strerror or error};"
                f" last good checkpoint: {self.last_checkpoint}"
            ) from error
        return TrainingResult(self.run, self.progress.step, self.scoring.against_truth)

    def train_until(self, request: StopRequest) -> None:
        """Take the steps that are left, with what is due after each."""
        config, progress, clock = self.config, self.progress, self.watching.clock
        for batches in self.remaining_steps():
            # Take a step.
            epoch = progress.epochs_of_schedule
            rate = learning_rate(config.optimizer, config.train, epoch)
            self.training_step.set_learning_rate(rate)
            self.training_step.set_progress(share_behind(config.train, epoch), progress.step)
            losses = self.training_step.run(batches)
            progress.advance()
            self.losses.add(losses)
            self.watching.tracking.advance()
            generators = self.training_step.exported_generators

            # Score the test pictures and keep the best models.
            scores: dict[str, float] = {}
            if progress.is_due(config.evaluation.every_steps):
                with clock.aside("scores"):
                    scores = self.scoring.evaluate(generators, self.training_step.generators)
                    self.scoring.keep_best(progress.step, scores, generators)

            # Measure whether training goes well.
            if progress.is_due(config.tracking.sample_every_steps):
                with clock.aside("health"):
                    scores |= self.health.measure(generators, self.training_step.discriminators)

            # Report losses and scores.
            if scores or progress.is_due(config.tracking.log_every_steps):
                self.watching.report(rate, scores)

            # Show samples.
            if progress.is_due(config.tracking.sample_every_steps):
                with clock.aside("samples"):
                    self.watching.show_samples(self.training_step)
                    self.watching.say_what_ails()
                    self.watching.write_report("training")

            # Save.
            if progress.is_due(config.checkpoint.every_steps):
                with clock.aside("checkpoints"):
                    self.saving.save()

            # Stop if asked to.
            if self.on_step is not None and self.on_step(progress.step, losses):
                request.source = "on_step"
            if self.all_agree_to_stop(request):
                return

    def remaining_steps(self) -> Iterator[list[Images]]:
        """The batches of each step that is left, epoch by epoch."""
        progress = self.progress
        while progress.step < progress.total_steps:
            first_batch = progress.step_in_epoch * self.batches_per_step
            self.sampler.set_position(progress.epoch, first_batch)
            batches = iter(self.loader)
            for _ in range(progress.steps_per_epoch - progress.step_in_epoch):
                yield list(islice(batches, self.config.train.accumulation_steps))
                if progress.step == progress.total_steps:
                    return
            progress.begin_epoch()

    def all_agree_to_stop(self, request: StopRequest) -> bool:
        """Whether any process was asked to stop; all learn of it after the same step."""
        if self.accelerator.num_processes == 1:
            return request.source is not None
        # On GPUs asking makes the host wait for the device, so it is not done at every step.
        if self.accelerator.device.type != "cpu" and self.progress.step % 10:
            return False
        if request.source is not None:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())

    def interrupt(self, request: StopRequest) -> None:
        """Save, and say how to go on."""
        if not self.saving.is_up_to_date:
            self.saving.save()
        self.watching.show_interruption(request.source)

    def finish(self) -> None:
        """Score and show the trained model."""
        generators = self.training_step.exported_generators
        if self.accelerator.is_main_process and not self.scoring.against_truth:
            self.scoring.compare_with_truth(generators)
        self.watching.show_end(generators, self.scoring)

    @property
    def last_checkpoint(self) -> str:
        """The checkpoint from which one can go on, for people."""
        return str(self.saving.last_checkpoint or "none was written yet")
