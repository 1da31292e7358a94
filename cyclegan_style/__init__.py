"""Unpaired image style translation: photographs to paintings and back."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan_style.applying.predictor import Predictor
    from cyclegan_style.commands.train import read_config
    from cyclegan_style.config import Config
    from cyclegan_style.errors import UserError
    from cyclegan_style.stylizing.stylizer import stylize
    from cyclegan_style.training.trainer import train

__all__ = ["Config", "Predictor", "UserError", "read_config", "stylize", "train"]

_HOMES = {
    "Config": "cyclegan_style.config",
    "Predictor": "cyclegan_style.applying.predictor",
    "UserError": "cyclegan_style.errors",
    "read_config": "cyclegan_style.commands.train",
    "stylize": "cyclegan_style.stylizing.stylizer",
    "train": "cyclegan_style.training.trainer",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: most of it needs torch, which takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
