"""What changes while training goes on, as functions of the epoch: there is nothing to save."""

import math

from cyclegan_style.config import OptimizerConfig, TrainConfig


def share_behind(train: TrainConfig, epoch: float) -> float:
    """Share of all epochs that is behind us; whole ``epoch`` numbers count from 0."""
    return min(1.0, epoch / (train.epochs + train.decay_epochs))


def learning_rate(optimizer: OptimizerConfig, train: TrainConfig, epoch: float) -> float:
    """Rate at a moment of the schedule; whole ``epoch`` numbers count from 0."""
    if optimizer.schedule == "linear":
        # By whole epochs, as the reference decays it.
        past = max(0, math.floor(epoch) + 1 - train.epochs)
        return optimizer.learning_rate * max(0.0, 1 - past / (train.decay_epochs + 1))
    share = max(0.0, epoch - train.epochs) / max(1, train.decay_epochs)
    return optimizer.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
