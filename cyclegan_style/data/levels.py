"""Values of any depth ⇄ levels: float32 from 0 to 255 with fractions, as 8-bit pixels have whole.

A range says which values are levels 0 and 255; what lies beyond it is clamped.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan_style.data.images import Pixels
from cyclegan_style.errors import UserError

Range = tuple[float, float]
"""The values that become −1 and 1 for the networks."""
Values = NDArray[np.generic]
"""H×W×C numbers as a file holds them."""
Levels = NDArray[np.float32]

_GREY_OF_RGB = (0.299, 0.587, 0.114)


def is_range(low: float, high: float) -> bool:
    """Whether these are the ends of a range."""
    return math.isfinite(high - low) and high > low


def usual_range(dtype: np.dtype[Any]) -> Range | None:
    """From black to white of whole numbers of 8 and 16 bits; of others nobody knows it."""
    return {np.uint8: (0.0, 255.0), np.uint16: (0.0, 65535.0)}.get(dtype.type)


def unclamped_levels(values: Values, values_range: Range) -> NDArray[np.float64]:
    """Levels of values, also of those beyond the range."""
    low, high = values_range
    return (values.astype(np.float64) - low) * (255 / (high - low))


def values_of(levels: Pixels, values_range: Range, dtype: np.dtype[Any]) -> Values:
    """Values of levels, the nearest that the type has."""
    low, high = values_range
    values = levels.astype(np.float64) * ((high - low) / 255) + low
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)


def type_for(values_range: Range, dtype: np.dtype[Any], source: Range) -> np.dtype[Any]:
    """The type in which values of a range are written where values of another had this one.

    It is the same if it holds them and has as many steps, of 256 or fewer, as it had for those.
    """
    if dtype.kind == "f":
        holds = float(np.finfo(dtype).max) >= max(map(abs, values_range))
        return dtype if holds else np.dtype(np.float32)
    steps = min(255.0, source[1] - source[0])
    for fitting in (dtype, np.dtype(np.uint16)):
        limits, (low, high) = np.iinfo(fitting), values_range
        if limits.min <= low and high <= limits.max and high - low >= steps:
            return fitting
    return np.dtype(np.float32)


def written_values(
    levels: Pixels, dtype: np.dtype[Any], values_range: Range | None, source: Range | None
) -> Values:
    """Levels as values of a range, where the values that they were made from had this type.

    What has no range is from black to white, and a picture of 8 bits if it was made from values of
    a ``source`` range.
    """
    if values_range is None and source is not None:
        dtype = np.dtype(np.uint8)
    scale = values_range or usual_range(dtype) or (0.0, 255.0)
    return values_of(levels, scale, type_for(scale, dtype, source or scale))


def with_channels(levels: Pixels, channels: int, *, alpha: bool = False) -> Pixels:
    """Levels of a picture with so many channels, as Pillow converts modes; alpha is its last one.

    1 and 3 channels lay it on white. What is no picture, of more than four channels, stays as it
    is, and has to have as many.
    """
    count = levels.shape[2]
    if count == channels:
        return levels
    if alpha and count in (2, 4):
        opacity = levels[:, :, -1:]
        if channels in (1, 3):
            return with_channels(_on_white(levels[:, :, :-1], opacity), channels)
        colours = with_channels(levels[:, :, :-1], channels - 1)
        return np.concatenate([colours, opacity], axis=2)
    if count not in (1, 3) or channels > 4:
        raise UserError(f"it has {count} channels, where {channels} are wanted")
    if channels in (2, 4):
        colours = with_channels(levels, channels - 1)
        return np.concatenate([colours, np.full_like(colours[:, :, :1], 255)], axis=2)
    if count == 1:
        return np.repeat(levels, 3, axis=2)
    weighted: Levels = levels.astype(np.float32) * np.array(_GREY_OF_RGB, np.float32)
    grey: Levels = np.clip(weighted.sum(axis=2, keepdims=True), 0, 255)
    return grey


def viewed(pixels: Pixels, channels: Sequence[int] | None) -> Pixels:
    """The channels, numbered from 1, in which people see a picture; all of it without any."""
    return pixels if channels is None else pixels[:, :, [number - 1 for number in channels]]


def _on_white(levels: Pixels, opacity: Pixels) -> Levels:
    share = opacity.astype(np.float32) / np.float32(255)
    blended: Levels = (levels * share + 255 * (1 - share)).astype(np.float32)
    return blended
