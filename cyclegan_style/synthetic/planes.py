"""Pictures as planes of numbers: the types of this package and the operations that it shares."""

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)
Plane = npt.NDArray[np.floating]  # one value per pixel, (height, width); float32 throughout
Planes = npt.NDArray[np.floating]  # colours, (3, height, width), 0 to 1
Vector = npt.NDArray[np.float64]
Colour = tuple[float, float, float]


def smoothstep(ramp: Plane) -> Plane:
    """Ease a ramp in and out, clipped to [0, 1]."""
    ramp = np.clip(ramp, 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def between(first: Plane, second: Plane | float, share: Plane | float) -> Plane:
    """Go from the first (share 0) to the second (share 1)."""
    return first + (second - first) * share


def blended(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours: the first (share 0) to the second (share 1)."""
    red, green, blue = (one + (two - one) * share for one, two in zip(first, second, strict=True))
    return (red, green, blue)


def flat(colour: npt.ArrayLike) -> Planes:
    """Planes of one colour, of 1 x 1 pixel, which NumPy stretches as needed."""
    return np.asarray(colour, dtype=np.float32).reshape(3, 1, 1)


def graded(dark: npt.ArrayLike, bright: npt.ArrayLike, brightness: Plane | float) -> Planes:
    """Colour every pixel between two colours, by its brightness."""
    return flat(dark) + flat(np.subtract(bright, dark)) * brightness


def lay(canvas: Planes, colour: Planes, cover: Plane | float) -> None:
    """Lay a colour over the canvas, in place, where `cover` is above 0."""
    canvas += (colour - canvas) * cover


def shifted(plane: Plane, down: int, right: int) -> Plane:
    """Move a picture by whole pixels, repeating its border."""
    height, width = plane.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return plane[rows[:, None], columns]


def to_pixels(planes: Planes) -> Pixels:
    """Round to 8 bits, channels last."""
    levels = np.rint(np.clip(planes, 0.0, 1.0) * 255.0)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))
