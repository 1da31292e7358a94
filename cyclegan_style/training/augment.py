"""Differentiable augmentation of what the discriminators see (DiffAugment, Zhao et al., 2020).

Real and translated images are augmented alike, and gradients pass through to the generators.
Each function maps N×C×H×W images to the same shape with its own random draw for every image, made
by ``chance`` or, without one, by torch's own generator.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AugmentationName = Literal["color", "translation", "cutout"]


def augment(
    images: Tensor, names: Sequence[AugmentationName], chance: torch.Generator | None = None
) -> Tensor:
    """Apply the named augmentations in the order of the paper."""
    if "color" in names:
        images = change_colors(images, chance)
    if "translation" in names:
        images = move(images, chance)
    if "cutout" in names:
        images = cut_out(images, chance)
    return images


def change_colors(images: Tensor, chance: torch.Generator | None = None) -> Tensor:
    """Brightness by ±0.5, saturation by a factor in [0, 2], contrast by one in [0.5, 1.5]."""
    images = images + _uniform(images, -0.5, 0.5, chance)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * _uniform(images, 0.0, 2.0, chance)
    average = images.mean(dim=(1, 2, 3), keepdim=True)
    return average + (images - average) * _uniform(images, 0.5, 1.5, chance)


def move(images: Tensor, chance: torch.Generator | None = None, share: float = 1 / 8) -> Tensor:
    """Shift each image by up to ``share`` of its side; what it uncovers is 0 (mid-grey)."""
    count, _, height, width = images.shape
    reach_y, reach_x = int(height * share + 0.5), int(width * share + 0.5)
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y)).permute(0, 2, 3, 1)
    top = torch.randint(2 * reach_y + 1, (count, 1, 1), generator=chance, device=images.device)
    left = torch.randint(2 * reach_x + 1, (count, 1, 1), generator=chance, device=images.device)
    rows = top + torch.arange(height, device=images.device).view(1, -1, 1)
    columns = left + torch.arange(width, device=images.device).view(1, 1, -1)
    image = torch.arange(count, device=images.device).view(-1, 1, 1)
    return padded[image, rows, columns].permute(0, 3, 1, 2)


def cut_out(images: Tensor, chance: torch.Generator | None = None, share: float = 1 / 2) -> Tensor:
    """Blank a rectangle of ``share`` of the sides, its centre anywhere in the image."""
    covered_y = _covered(images, 2, share, chance).unsqueeze(2)
    covered_x = _covered(images, 3, share, chance).unsqueeze(1)
    return images.masked_fill((covered_y & covered_x).unsqueeze(1), 0.0)


def _covered(
    images: Tensor, dimension: int, share: float, chance: torch.Generator | None
) -> Tensor:
    """For each image the places along one side that an interval of ``share`` of it covers."""
    side = images.shape[dimension]
    length = int(side * share + 0.5)
    centre = torch.randint(side + 1, (len(images), 1), generator=chance, device=images.device)
    start = centre - length // 2
    place = torch.arange(side, device=images.device)
    return (place >= start) & (place < start + length)


def _uniform(images: Tensor, low: float, high: float, chance: torch.Generator | None) -> Tensor:
    shape, device, dtype = (len(images), 1, 1, 1), images.device, images.dtype
    return low + (high - low) * torch.rand(shape, generator=chance, device=device, dtype=dtype)
