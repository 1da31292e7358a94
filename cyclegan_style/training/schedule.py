"""The learning rate as a function of the epoch, so that there is no schedule to save."""

import math

from cyclegan_style.config import OptimizerConfig, TrainConfig


def learning_rate(optimizer: OptimizerConfig, train: TrainConfig, epoch: float) -> float:
    """Rate at a moment of the schedule; whole ``epoch`` numbers count from 0."""
    if optimizer.schedule == "linear":
        # By whole epochs, as the reference decays it.
        past = max(0, math.floor(epoch) + 1 - train.epochs)
        return optimizer.learning_rate * max(0.0, 1 - past / (train.decay_epochs + 1))
    share = max(0.0, epoch - train.epochs) / max(1, train.decay_epochs)
    return optimizer.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
