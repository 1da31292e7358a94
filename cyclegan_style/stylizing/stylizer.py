"""One picture painted in the style of others: from pixels to pixels."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan_style.config import parse_bytes
from cyclegan_style.data.images import (
    Picture,
    Pixels,
    luminance,
    pixels_of,
    resize,
    to_pillow,
    to_pixels,
    to_tensor,
)
from cyclegan_style.errors import UserError
from cyclegan_style.stylizing.colors import (
    matched_colors,
    matched_luminance,
    with_luminance,
)
from cyclegan_style.stylizing.layer_choice import choose_layers
from cyclegan_style.stylizing.network import (
    NETWORKS,
    USUAL_CONTENT_LAYERS,
    USUAL_STYLE_LAYERS,
    checked_layers,
    painting_network,
)
from cyclegan_style.stylizing.objective import Style
from cyclegan_style.stylizing.painting import (
    LEAST_SIDE,
    SMALLEST_SIDE,
    Moment,
    NotFiniteError,
    Watch,
    paint,
    resized,
    scaled,
    scaled_size,
)
from cyclegan_style.stylizing.recipe import LayerWeights, Recipe
from cyclegan_style.system.hardware import choose_device
from cyclegan_style.system.memory import free_memory

BYTES_PER_PIXEL = {"squeezenet": 2000, "vgg19": 6500}
"""Of memory at the finest scale, measured."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StyleSource:
    """A picture whose style is wanted."""

    pixels: Pixels
    """H×W×3."""
    weight: float = 1.0
    """Relative to the other styles'."""
    mask: Pixels | None = None
    """H×W×1 over the content, white where this style is wanted; None: everywhere."""


@dataclass(frozen=True)
class Painting:
    """A finished picture and how it came about."""

    pixels: Pixels
    """H×W×3, of the content's size."""
    history: list[Moment]
    """Every step, without its picture."""
    content_layers: LayerWeights
    style_layers: LayerWeights
    reasons: list[str] = field(default_factory=list)
    """Of the choice of layers, if they were chosen."""
    problem: str | None = None
    """Why it ended early; the picture is then the last good one."""


class Stylizer:
    """A network and a recipe, ready to paint any number of pictures."""

    def __init__(self, recipe: Recipe, device: str | torch.device = "auto") -> None:
        recipe.check()
        for layers, option in (
            (recipe.content_layers, "--content-layers"),
            (recipe.style_layers, "--style-layers"),
        ):
            if layers is not None:
                checked_layers(layers, recipe.features, option)
        self.recipe = recipe
        self.budget = memory_budget(recipe)
        self.device = choose_device(device)
        self.needs = NETWORKS[recipe.features].input
        self.network = painting_network(recipe, self.device)

    def paint(
        self, content: Pixels, styles: Sequence[StyleSource], watch: Watch | None = None
    ) -> Painting:
        """The content, H×W×3, in the styles; ``watch`` is told of every step."""
        check_styles(styles)
        target = scaled(self._tensor(self._fitting(content)), 1.0)
        sources = [self._style(style, target) for style in styles]
        shown = target
        if self.recipe.preserve_colors == "luminance":
            shown = luminance(target).expand_as(target)
        content_layers, style_layers, reasons = self._layers(shown, sources)
        history: list[Moment] = []

        def note(moment: Moment) -> None:
            # Not a part of the picture, which would keep the whole of it in memory.
            history.append(replace(moment, picture=moment.picture.new_empty(0)))
            if watch is not None:
                watch(replace(moment, picture=self._finished(moment.picture, target)))

        problem = None
        try:
            result = paint(
                self.network,
                self.needs,
                shown,
                sources,
                content_layers,
                style_layers,
                self.recipe,
                note,
            )
        except NotFiniteError as error:
            problem = f"{error}; a smaller --learning-rate or smaller weights may help"
            result = error.picture
        pixels = resize(to_pixels(self._finished(result, target)[0]), content.shape[:2])
        return Painting(pixels, history, content_layers, style_layers, reasons, problem)

    def _finished(self, picture: Tensor, target: Tensor) -> Tensor:
        """The picture in the colours that it is to have."""
        if self.recipe.preserve_colors != "luminance":
            return picture
        colors = target
        if picture.shape != target.shape:
            colors = torch.nn.functional.interpolate(target, picture.shape[2:], mode="area")
        return with_luminance(colors, luminance(picture))

    def _layers(
        self, content: Tensor, styles: Sequence[Style]
    ) -> tuple[LayerWeights, LayerWeights, list[str]]:
        recipe, reasons = self.recipe, list[str]()
        content_layers = USUAL_CONTENT_LAYERS[recipe.features]
        style_layers = USUAL_STYLE_LAYERS[recipe.features]
        if recipe.layers == "auto":
            first, *others = map(large_enough, (content, *(style.picture for style in styles)))
            choice = choose_layers(self.network, self.needs, first, others)
            content_layers, style_layers = choice.content_layers, choice.style_layers
            reasons = choice.reasons()
            for reason in reasons:
                logger.info("%s", reason)
        return recipe.content_layers or content_layers, recipe.style_layers or style_layers, reasons

    def _style(self, style: StyleSource, content: Tensor) -> Style:
        """The style at its size beside the content, in the colours that it is to have."""
        longest = max(content.shape[2:]) * self.recipe.style_scale
        factor = longest / max(style.pixels.shape[:2])
        fits = self._largest_factor(*style.pixels.shape[:2])
        if fits < 0.99 * factor:
            factor = fits
            logger.warning("a style is shown smaller than --style-scale asks: memory is short")
        size = scaled_size(style.pixels.shape[:2], factor)
        picture = self._tensor(resize(style.pixels, size))
        if self.recipe.preserve_colors == "luminance":
            picture = matched_luminance(picture, content)
        elif self.recipe.preserve_colors == "histogram":
            picture = matched_colors(picture, content)
        region = None
        if style.mask is not None:
            height, width = content.shape[2:]
            region = self._tensor(resize(style.mask, (height, width))) / 2 + 0.5
            if not region.any():
                raise UserError("--mask: a mask that is black everywhere leaves its style no place")
        return Style(picture, style.weight, region)

    def _fitting(self, content: Pixels) -> Pixels:
        """The content at the size at which it is painted."""
        height, width = content.shape[:2]
        factor = 1.0 if self.recipe.size is None else self.recipe.size / max(height, width)
        fits = self._largest_factor(height, width)
        if fits < factor:
            factor = fits
            logger.warning(
                "painted at %d × %d pixels and enlarged: a larger one takes more than %s of memory",
                round(width * factor),
                round(height * factor),
                self.recipe.memory_budget or "the free part",
            )
        if factor == 1:
            return content
        return resize(content, (max(1, round(height * factor)), max(1, round(width * factor))))

    def _largest_factor(self, height: int, width: int) -> float:
        """How many times its sides a picture can have within the memory budget."""
        budget = free_memory(self.device) if self.budget is None else self.budget
        return math.sqrt(budget / BYTES_PER_PIXEL[self.recipe.features] / (height * width))

    def _tensor(self, pixels: Pixels) -> Tensor:
        return to_tensor(pixels)[None].to(self.device)


def stylize(
    content: Picture,
    style: Picture | Sequence[Picture],
    recipe: Recipe | None = None,
    **changes: Any,
) -> Image.Image:
    """The content painted in the style, as a Pillow image of the content's size.

    ``changes`` are fields of the recipe: ``stylize("photo.jpg", "painting.jpg", steps=500)``.
    """
    styles = [style] if isinstance(style, (str, Path, Image.Image, np.ndarray)) else list(style)
    stylizer = Stylizer(replace(recipe or Recipe(), **changes))
    painting = stylizer.paint(pixels_of(content), [StyleSource(pixels_of(each)) for each in styles])
    if painting.problem is not None:
        logger.warning("%s", painting.problem)
    return to_pillow(painting.pixels)


def large_enough(picture: Tensor) -> Tensor:
    """The picture with sides of which every layer sees more than one place."""
    return resized(picture, [max(SMALLEST_SIDE, side) for side in picture.shape[2:]])


def memory_budget(recipe: Recipe) -> int | None:
    """Bytes that a painting may take; a UserError if nothing can be painted with them."""
    if recipe.memory_budget is None:
        return None
    try:
        budget = parse_bytes(recipe.memory_budget)
    except ValueError as error:
        raise UserError(f"--memory-budget: {error}") from None
    least = BYTES_PER_PIXEL[recipe.features] * LEAST_SIDE**2
    if budget < least:
        raise UserError(f"--memory-budget: at least {least / 1e6:.1f}MB are needed")
    return budget


def check_styles(styles: Sequence[StyleSource]) -> None:
    """Raise a UserError for pictures that have no style."""
    if not styles:
        raise UserError("--style: name at least one picture")
    for number, style in enumerate(styles, 1):
        which = "--style: the picture" if len(styles) == 1 else f"--style: picture {number}"
        height, width = style.pixels.shape[:2]
        if min(height, width) < LEAST_SIDE:
            raise UserError(
                f"{which} is {width} × {height} pixels, and {LEAST_SIDE} × {LEAST_SIDE} are needed"
            )
        if (style.pixels == style.pixels[0, 0]).all():
            raise UserError(f"{which} has one colour only, and no style to take")
        if not 0 < style.weight < math.inf:
            raise UserError(f"--style-weights: must be above 0, not {style.weight}")
