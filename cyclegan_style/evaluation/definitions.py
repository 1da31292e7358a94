"""How each public tool brings an image to its network, reproduced exactly.

All read a file as it is stored: without turning it upright, with alpha dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cyclegan_style.data.images import Pixels
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.squeezenet import SCALES
from cyclegan_style.features import dinov2
from cyclegan_style.features.inception import SIDE
from cyclegan_style.features.trained import IMAGENET_DEVIATION, IMAGENET_MEAN


@dataclass(frozen=True)
class Definition:
    """One tool's way from pixels to numbers."""

    name: str
    prepare: Callable[[Pixels], Tensor]
    """Height × width × 3 pixels → channels × height × width in float32, as the network takes it."""
    kid_sets: Literal["real first", "fake first"] = "real first"
    """Whose images each subset of the kernel distance is drawn from first."""
    frechet: str = "fid"
    """What the Fréchet distance of its features is called."""
    features: str = ""
    """What else than its network and that one's weights makes them what they are."""


@dataclass(frozen=True)
class FeatureNetwork:
    """A network that makes features, a definition's or one's own."""

    definition: Definition
    """How it is called in results, and what it is given to see."""
    network: Callable[[Tensor], Tensor]
    """Batch of prepared images → N×D features; modules are moved to the device and set to rest."""
    weights: str
    """What tells its weights from others, such as the SHA-256 of their file."""


def bilinear(pixels: Pixels) -> Tensor:
    """pytorch-fid: [0, 1], bilinear with half-pixel centres and no antialiasing, then [-1, 1]."""
    images = _channels_first(pixels).div_(255)[None]
    resized = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)[0]
    return resized.mul_(2).sub_(1)


def antialiased_bicubic(pixels: Pixels) -> Tensor:
    """clean-fid: Pillow's bicubic per channel on floats, clipped but not rounded."""
    channels = [
        np.asarray(
            Image.fromarray(pixels[:, :, index].astype(np.float32)).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
        )
        for index in range(3)
    ]
    return _centred(torch.from_numpy(np.stack(channels).clip(0, 255)))


def tensorflow_bilinear(pixels: Pixels) -> Tensor:
    """torch-fidelity: bilinear as TensorFlow 1 does it, from the corner and not antialiased."""
    images = _channels_first(pixels)
    top, bottom, down = _tensorflow_samples(images.shape[1])
    left, right, across = _tensorflow_samples(images.shape[2])
    # Columns before rows, as there: the sums are rounded.
    upper, lower = images[:, top], images[:, bottom]
    upper = upper[:, :, left] + (upper[:, :, right] - upper[:, :, left]) * across
    lower = lower[:, :, left] + (lower[:, :, right] - lower[:, :, left]) * across
    return _centred(upper + (lower - upper) * down[:, None])


def _tensorflow_samples(length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Both neighbours of each output pixel, and the weight of the second."""
    scale = torch.tensor(length / SIDE, dtype=torch.float32)
    places = torch.arange(0, SIDE, 1, dtype=torch.float32) * scale
    first = places.long()
    return first, (first + 1).clamp_max(length - 1), places - first.float()


def imagenet_bicubic(pixels: Pixels) -> Tensor:
    """dgm-eval for DINOv2: Pillow's bicubic, rounded, with the mean and deviation of ImageNet.

    SqueezeNet, which takes any size, is given the same.
    """
    side = (dinov2.SIDE, dinov2.SIDE)
    resized = np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC))
    images = _channels_first(resized).div_(255)
    mean, deviation = (
        torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (images - mean) / deviation


def _channels_first(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), dtype=np.float32, order="C"))


def _centred(images: Tensor) -> Tensor:
    return (images - 128) / 128


DEFINITIONS: dict[str, Definition] = {
    "pytorch-fid": Definition("pytorch-fid", bilinear),
    "clean": Definition("clean", antialiased_bicubic, "fake first"),
    "torch-fidelity": Definition("torch-fidelity", tensorflow_bilinear),
    "dinov2": Definition("dinov2", imagenet_bicubic),
    "squeezenet": Definition(
        "squeezenet", imagenet_bicubic, frechet="fd_squeezenet", features=str(SCALES)
    ),
}


def definition_named(name: str) -> Definition:
    """The definition of a tool."""
    if name not in DEFINITIONS:
        raise UserError(f"--definition: {name!r} is not one of {', '.join(DEFINITIONS)}")
    return DEFINITIONS[name]
