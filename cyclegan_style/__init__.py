"""Unpaired image style translation: photographs to paintings and back."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclegan_style.applying.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import the predictor when it is asked for: it needs torch, which takes seconds."""
    if name == "Predictor":
        from cyclegan_style.applying.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
