"""How far a run has come, and what its losses were since the last report."""

import math
import sys

import torch
from accelerate import Accelerator
from torch import Tensor

from cyclegan_style.config import Config
from cyclegan_style.runs.best import BestScores


class NotFiniteError(ArithmeticError):
    """A loss or a weight that became infinite or not a number, and at which step."""


class Progress:
    """The steps and epochs that are behind a run, and how many there will have been."""

    def __init__(
        self, config: Config, best: BestScores, steps_per_epoch: int, images_per_step: int
    ) -> None:
        self.config = config
        self.best = best
        self.steps_per_epoch = steps_per_epoch
        self.images_per_step = images_per_step
        self.step = 0
        self.epoch = 0
        self.step_in_epoch = 0

    def advance(self) -> None:
        """Count a step."""
        self.step += 1
        self.step_in_epoch += 1

    def begin_epoch(self) -> None:
        """Count an epoch whose steps are all behind us."""
        self.epoch, self.step_in_epoch = self.epoch + 1, 0

    @property
    def epochs(self) -> float:
        """Epochs that are behind us."""
        return self.epoch + self.step_in_epoch / self.steps_per_epoch

    @property
    def epochs_of_schedule(self) -> float:
        """Epochs of the schedule, of the learning rate and of weights, that are behind us."""
        train = self.config.train
        if train.steps is None:
            return self.epochs
        return self.step * (train.epochs + train.decay_epochs) / train.steps

    @property
    def total_steps(self) -> int:
        """Steps that are behind us when training is done."""
        if self.out_of_patience:
            return self.step
        train = self.config.train
        epochs_left = train.epochs + train.decay_epochs - self.epoch
        total = self.step + epochs_left * self.steps_per_epoch - self.step_in_epoch
        return min(train.steps or total, train.max_steps or sys.maxsize)

    @property
    def out_of_patience(self) -> bool:
        """Whether too many evaluations brought no best score."""
        patience = self.config.evaluation.patience
        return patience is not None and self.best.evaluations_without >= patience

    def is_due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now."""
        return bool(every) and (self.step % every == 0 or self.step == self.total_steps)


class RecentLosses:
    """Losses since the last report, on the device, so that no step waits for them."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.names: list[str] = []
        self.by_step: list[Tensor] = []

    def add(self, losses: dict[str, Tensor]) -> None:
        """Keep the losses of a step."""
        self.names = list(losses)
        self.by_step.append(torch.stack(list(losses.values())))

    def means(self, step: int) -> dict[str, float]:
        """Means over steps and processes, ``step`` the last; the host waits for the device here.

        A NotFiniteError tells the first loss that is no number.
        """
        by_step = self.accelerator.reduce(torch.stack(self.by_step), "mean").cpu()
        for number, row in enumerate(by_step):
            for name, value in zip(self.names, row.tolist(), strict=True):
                if not math.isfinite(value):
                    at = step - len(by_step) + number + 1
                    raise NotFiniteError(f"{name} became {value} at step {at}")
        return dict(zip(self.names, by_step.double().mean(0).tolist(), strict=True))
