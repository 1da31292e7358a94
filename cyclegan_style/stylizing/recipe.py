"""What can be chosen about a stylisation, and the only place that knows a default."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclegan_style.errors import UserError

LayerWeights = Mapping[str, float]
"""How much each layer counts, by its name."""


@dataclass(frozen=True)
class Recipe:
    """How a picture is painted."""

    features: Literal["squeezenet", "vgg19"] = "squeezenet"
    """Network whose features are compared: squeezenet comes along, vgg19 is downloaded."""
    weights: Path | None = None
    """File of that network's weights; else the package's, torch hub's cache, or a download."""
    layers: Literal["usual", "auto"] = "usual"
    """usual: the network's good ones; auto: those that tell this content from this style."""
    content_layers: LayerWeights | None = None
    """Where the picture stays like the content; None: as layers says."""
    style_layers: LayerWeights | None = None
    """Where the picture's statistics become the style's; None: as layers says."""
    content_loss: Literal["squared", "ssim"] = "squared"
    """squared differences of features (Gatys et al. 2016), or their structural similarity."""
    style_loss: Literal["gram", "moments", "wasserstein"] = "gram"
    """Gram matrices (Gatys et al. 2016), mean and deviation (Huang and Belongie 2017), or sliced
    Wasserstein distance (Heitz et al. 2021)."""
    content_weight: float = 1.0
    """How much of the content is kept."""
    style_weight: float = 1.0
    """How strong the style is; 1 looks right for all of the style losses."""
    variation_weight: float = 0.0
    """Weight of the total variation, which smooths."""
    pooling: Literal["max", "average"] = "max"
    """What the network's pooling layers do; Gatys et al. took averages in VGG."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """L-BFGS needs fewer steps, Adam a little less memory."""
    learning_rate: float | None = None
    """None: 1 for L-BFGS, 0.02 for Adam; pictures have values from -1 to 1."""
    steps: int = 300
    """Steps over all scales, most of them at the coarse ones."""
    scales: int | None = None
    """Sizes painted from coarse to fine, each twice the last; None: as many as leave 64 pixels."""
    start: Literal["content", "noise", "style"] = "content"
    """What the coarsest scale begins with."""
    style_scale: float = 1.0
    """Longest side of the style over that of the content: above 1 makes coarser strokes."""
    preserve_colors: Literal["no", "luminance", "histogram"] = "no"
    """luminance: paint brightness alone, under the content's colours; histogram: give the style
    the content's colours before (both Gatys et al. 2016, Preserving color)."""
    size: int | None = None
    """Longest side in pixels at which to paint; None: the content's own."""
    memory_budget: str | None = None
    """Such as 2GB; None: most of what is free. A picture that takes more is painted smaller and
    enlarged."""
    seed: int = 0
    """Of noise, of random directions and of where the network's grid lies."""

    def check(self) -> None:
        """Raise a UserError for values that no painting can have."""
        for option, value, least in (
            ("--content-weight", self.content_weight, 0.0),
            ("--style-weight", self.style_weight, 0.0),
            ("--variation-weight", self.variation_weight, 0.0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise UserError(f"{option}: must be a number of at least {least:g}, not {value}")
        for option, positive in (
            ("--style-scale", self.style_scale),
            ("--learning-rate", self.learning_rate),
        ):
            if positive is not None and not (math.isfinite(positive) and positive > 0):
                raise UserError(f"{option}: must be a number above 0, not {positive}")
        for option, count in (
            ("--steps", self.steps),
            ("--scales", self.scales),
            ("--size", self.size),
        ):
            if count is not None and count < 1:
                raise UserError(f"{option}: must be at least 1, not {count}")
        if self.content_weight == 0 and self.style_weight == 0:
            raise UserError("--content-weight and --style-weight: one of them must be above 0")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed: must be from 0 to 2^63 - 1, not {self.seed}")
