"""What a picture shares with its content and with a style, as distances of activations.

Activations are 1×C×H×W of one layer; a region is H×W in [0, 1] and tells how much of a place
counts. The style may be of another size than the picture: all its statistics are means.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW = 7


class StyleLoss(Protocol):
    """The distance of activations to those of the style that it was built with."""

    def __call__(self, activations: Tensor, region: Tensor | None = None) -> Tensor:
        """A number that is 0 when the statistics agree."""
        ...


class GramLoss:
    """Gatys et al. 2016, eq. 3 to 4: E = Σᵢⱼ (Gᵢⱼ − Aᵢⱼ)² / 4N², G and A per place."""

    def __init__(self, style: Tensor) -> None:
        self.target = gram(style)

    def __call__(self, activations: Tensor, region: Tensor | None = None) -> Tensor:
        """The distance E."""
        return (gram(activations, region) - self.target).square().mean() / 4


class MomentsLoss:
    """Huang and Belongie 2017, eq. 13, as their code has it: squared distances, not their roots."""

    def __init__(self, style: Tensor) -> None:
        self.mean, self.deviation = moments(style)

    def __call__(self, activations: Tensor, region: Tensor | None = None) -> Tensor:
        """The distance of means and deviations."""
        mean, deviation = moments(activations, region)
        return (mean - self.mean).square().mean() + (deviation - self.deviation).square().mean()


class SlicedWassersteinLoss:
    """Heitz et al. 2021, eq. 6 to 8: the places' vectors as points, compared as distributions.

    Along each of as many random directions as there are channels, sorted projections of the picture
    meet those of the style. The directions stay what they are, so that line searches make sense.
    """

    def __init__(self, style: Tensor, chance: torch.Generator) -> None:
        channels = style.shape[1]
        directions = torch.randn(channels, channels, generator=chance).to(style)
        self.directions = directions / directions.norm(dim=1, keepdim=True)
        self.target = self.sorted_projections(style)

    def __call__(self, activations: Tensor, region: Tensor | None = None) -> Tensor:
        """The mean squared distance of the projections."""
        found = self.sorted_projections(activations, region)
        # The same quantiles of the style, which may have more places or fewer.
        wanted = F.interpolate(self.target[None], found.shape[1], mode="linear")[0]
        return (found - wanted).square().mean()

    def sorted_projections(self, activations: Tensor, region: Tensor | None = None) -> Tensor:
        """Directions × places, each row ascending; of a region the places that are mostly in it."""
        points = activations[0].flatten(1)
        if region is not None:
            points = points[:, (region >= region.max() / 2).flatten()]
        projections: Tensor = (self.directions @ points).sort(dim=1).values
        return projections


def gram(activations: Tensor, region: Tensor | None = None) -> Tensor:
    """C×C mean over the places of the products of their activations."""
    points = activations[0].flatten(1)
    if region is None:
        return points @ points.T / points.shape[1]
    weights = region.flatten() / region.sum()
    return (points * weights) @ points.T


def moments(activations: Tensor, region: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel."""
    points = activations[0].flatten(1)
    weights = (
        points.new_full((points.shape[1],), 1 / points.shape[1])
        if region is None
        else region.flatten() / region.sum()
    )
    mean = points @ weights
    variance = (points - mean[:, None]).square() @ weights
    return mean, (variance + 1e-8).sqrt()


def squared_difference(activations: Tensor, content: Tensor) -> Tensor:
    """Content loss of Gatys et al. 2016, eq. 1, as a mean."""
    return (activations - content).square().mean()


def structural_difference(activations: Tensor, content: Tensor) -> Tensor:
    """1 − SSIM (Wang et al. 2004, eq. 13) of every channel, over square windows.

    The constants are those for a range of values of the content's deviation.
    """
    window = min(SSIM_WINDOW, *content.shape[2:])
    scale = content.var() + 1e-8
    c1, c2 = 0.01**2 * scale, 0.03**2 * scale

    def local(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, window, 1)

    mean_x, mean_y = local(activations), local(content)
    variance_x = local(activations.square()) - mean_x.square()
    variance_y = local(content.square()) - mean_y.square()
    covariance = local(activations * content) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return 1 - (brightness * structure).mean()


def total_variation(picture: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels."""
    down = picture[:, :, 1:] - picture[:, :, :-1]
    across = picture[:, :, :, 1:] - picture[:, :, :, :-1]
    return down.square().mean() + across.square().mean()
