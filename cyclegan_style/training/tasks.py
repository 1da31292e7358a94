"""The tasks that there are, each as the step that it trains by."""

from accelerate import Accelerator

from cyclegan_style.config import Config
from cyclegan_style.training.cyclegan_step import CycleGanStep
from cyclegan_style.training.noise import NoiseStep
from cyclegan_style.training.one_style import OneStyleStep
from cyclegan_style.training.step import TrainingStep


def build_step(config: Config, accelerator: Accelerator) -> TrainingStep:
    """The step of the task, with fresh weights."""
    match config.task:
        case "cyclegan":
            return CycleGanStep(config, accelerator)
        case "one_style":
            return OneStyleStep(config, accelerator)
        case "noise":
            return NoiseStep(config, accelerator)
