"""How far a picture is from what is wanted: the content's activations, the styles' statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_style.features.trained import Input, Layers
from cyclegan_style.stylizing.losses import (
    GramLoss,
    MomentsLoss,
    SlicedWassersteinLoss,
    StyleLoss,
    squared_difference,
    structural_difference,
    total_variation,
)
from cyclegan_style.stylizing.place import Place
from cyclegan_style.stylizing.recipe import LayerWeights, Recipe

STRENGTH = {"gram": 40.0, "moments": 10.0, "wasserstein": 10.0}
"""Weights at which the style losses look right beside the squared content loss."""


@dataclass(frozen=True)
class Style:
    """A picture whose style is wanted, how much of it, and where."""

    picture: Tensor
    """1×3×H×W in [-1, 1]."""
    weight: float = 1.0
    """Relative to the other styles'."""
    region: Tensor | None = None
    """1×1×H×W in [0, 1] over the content; None: everywhere."""


@dataclass(frozen=True)
class Losses:
    """The parts of the objective, with their weights."""

    content: Tensor
    style: Tensor
    variation: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.content + self.style + self.variation


class Objective:
    """Judges pictures of the content's size, with the network's grid at some place or its own."""

    def __init__(
        self,
        network: Layers,
        needs: Input,
        content: Tensor,
        styles: Sequence[Style],
        content_layers: LayerWeights,
        style_layers: LayerWeights,
        recipe: Recipe,
        place: Place | None = None,
    ) -> None:
        self.place = place
        self.network = network
        self.needs = needs
        self.content_layers = content_layers
        self.style_layers = style_layers
        self.layers = tuple(dict.fromkeys((*content_layers, *style_layers)))
        self.styles = styles
        self.recipe = recipe
        self.content_loss = (
            structural_difference if recipe.content_loss == "ssim" else squared_difference
        )
        chance = torch.Generator().manual_seed(recipe.seed)
        with torch.no_grad():
            of_content = self.activations(content)
            of_styles = [self.activations(style.picture) for style in styles]
            # Layers differ by orders of magnitude, and all are to have a say.
            everything = (of_content, *of_styles)
            self.scales = {
                name: common_scale([each[name] for each in everything]) for name in self.layers
            }
            self.content = {name: of_content[name] / self.scales[name] for name in content_layers}
            self.style_losses = [
                {
                    name: build_style_loss(recipe, each[name] / self.scales[name], chance)
                    for name in style_layers
                }
                for each in of_styles
            ]

    def __call__(self, picture: Tensor) -> Losses:
        """Losses of a picture, 1×3×H×W in [-1, 1]."""
        found = {
            name: activations / self.scales[name]
            for name, activations in self.activations(picture).items()
        }
        content = picture.new_zeros(())
        for name, weight in self.content_layers.items():
            content = content + weight * self.content_loss(found[name], self.content[name])
        shares = sum(style.weight for style in self.styles)
        style_loss = picture.new_zeros(())
        for style, losses in zip(self.styles, self.style_losses, strict=True):
            for name, weight in self.style_layers.items():
                region = region_of_layer(style.region, found[name])
                part = losses[name](found[name], region)
                style_loss = style_loss + style.weight / shares * weight * part
        recipe = self.recipe
        return Losses(
            recipe.content_weight * content,
            recipe.style_weight * STRENGTH[recipe.style_loss] * style_loss,
            recipe.variation_weight * total_variation(picture),
        )

    def activations(self, picture: Tensor) -> dict[str, Tensor]:
        """Those of the layers that matter."""
        surrounded = picture if self.place is None else self.place.around(picture)
        normalised = self.needs.normalised(surrounded)
        ordered = normalised.contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor] = self.network(ordered, self.layers)
        if self.place is None:
            return found
        size = picture.shape[2:]
        return {name: self.place.inside(each, size) for name, each in found.items()}


def build_style_loss(recipe: Recipe, activations: Tensor, chance: torch.Generator) -> StyleLoss:
    """The recipe's distance to the style with these activations."""
    match recipe.style_loss:
        case "gram":
            return GramLoss(activations)
        case "moments":
            return MomentsLoss(activations)
        case "wasserstein":
            return SlicedWassersteinLoss(activations, chance)


def common_scale(activations: Sequence[Tensor]) -> float:
    """Root of the mean square of all pictures' activations of a layer."""
    squares = torch.stack([each.square().mean() for each in activations])
    return float(squares.mean().sqrt().clamp_min(1e-8))


def region_of_layer(region: Tensor | None, activations: Tensor) -> Tensor | None:
    """How much of each place of a layer lies in a region of the picture."""
    if region is None:
        return None
    return F.interpolate(region, activations.shape[2:], mode="area")[0, 0]
