"""Unpaired image style translation: photographs to paintings and back."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan_style.applying.predictor import Predictor
    from cyclegan_style.stylizing.stylizer import stylize

__all__ = ["Predictor", "stylize"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: it needs torch, which takes seconds."""
    if name == "Predictor":
        from cyclegan_style.applying.predictor import Predictor

        return Predictor
    if name == "stylize":
        from cyclegan_style.stylizing.stylizer import stylize

        return stylize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
