"""Which layers tell a content from a style, measured on the two pictures themselves.

A layer tells them apart as far as their Gram matrices differ more between the pictures than within
each: the distance of the whole pictures over the mean distance of the halves of each. It is a good
style layer if that is large. The content is kept where the pictures differ least, since there the
two losses want opposite things the least.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cyclegan_style.features.trained import Input, Layers
from cyclegan_style.stylizing.losses import gram
from cyclegan_style.stylizing.recipe import LayerWeights

MOST_STYLE_LAYERS = 4
WORTH = 0.5
"""Of the best layer's separation, what another must reach to be taken as well."""


@dataclass(frozen=True)
class LayerChoice:
    """The chosen layers, and the measurement behind them."""

    content_layers: LayerWeights
    style_layers: LayerWeights
    separations: dict[str, float]
    """Of every layer."""

    def reasons(self) -> list[str]:
        """A line for every layer, for people."""
        lines = []
        for name, separation in self.separations.items():
            uses = [
                use
                for use, layers in (("style", self.style_layers), ("content", self.content_layers))
                if name in layers
            ]
            chosen = f"  chosen for {' and '.join(uses)}" if uses else ""
            lines.append(f"{name}: {separation:.2f} times as far apart as their halves{chosen}")
        return lines


@torch.no_grad()
def choose_layers(
    network: Layers, needs: Input, content: Tensor, styles: Sequence[Tensor]
) -> LayerChoice:
    """Layers for these pictures, 1×3×H×W in [-1, 1]; of several styles, by the mean."""
    separations = [separations_of(network, needs, content, style) for style in styles]
    names = list(network.places)
    mean = {name: sum(each[name] for each in separations) / len(separations) for name in names}
    ranked = sorted(names, key=lambda name: -mean[name])
    best = mean[ranked[0]]
    style_layers = [name for name in ranked[:MOST_STYLE_LAYERS] if mean[name] >= WORTH * best]
    # The first third of a network keeps every pixel, the last keeps hardly where things are.
    middle = names[len(names) // 3 : 1 + 2 * len(names) // 3]
    content_layer = min(middle, key=lambda name: mean[name])
    return LayerChoice(
        {content_layer: 1.0}, {name: 1.0 for name in names if name in style_layers}, mean
    )


def separations_of(
    network: Layers, needs: Input, content: Tensor, style: Tensor
) -> dict[str, float]:
    """How many times as far apart the pictures are as the halves of each, in every layer."""
    pictures = [network(needs.normalised(picture)) for picture in (content, style)]
    separations = {}
    for name in network.places:
        of_content, of_style = (found[name] for found in pictures)
        between = difference(gram(of_content), gram(of_style))
        within = [
            difference(*(gram(half) for half in halves))
            for whole in (of_content, of_style)
            for halves in (whole.tensor_split(2, 2), whole.tensor_split(2, 3))
            if all(half.numel() for half in halves)
        ]
        separations[name] = between / max(sum(within) / max(len(within), 1), 1e-12)
    return separations


def difference(first: Tensor, second: Tensor) -> float:
    """Root of the mean square."""
    return float((first - second).square().mean().sqrt())
