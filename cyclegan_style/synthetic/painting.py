"""The painter: a deterministic, local function from a photo to an oil painting of it."""

import numpy as np
import numpy.typing as npt

from cyclegan_style.synthetic.planes import (
    Colour,
    Pixels,
    Plane,
    Planes,
    between,
    flat,
    lay,
    shifted,
    smoothstep,
    to_pixels,
)


def _ramp_table(*ramps: str) -> npt.NDArray[np.float32]:
    """Read ramps of hexadecimal colours into a table (3, hues, steps of luminance)."""
    levels = [[list(bytes.fromhex(colour)) for colour in ramp.split()] for ramp in ramps]
    return np.array(levels, dtype=np.float32).transpose(2, 0, 1) / np.float32(255.0)


# What a painter mixes for a hue of the photo, at five steps of luminance. Shadows are violet,
# whites are cream, greens turn to gold and olive, skies to teal and ultramarine. Luminance rises
# along every row, so that light stays light.
_GREY_RAMP = _ramp_table("1a0f33 4f3870 99758f e6c29e fff5d1")
_HUE_RAMPS = _ramp_table(
    "33052e 8a143d d6424c f79e80 ffebcc",  # red
    "330a33 852442 e0663d ffb866 fff0c2",  # orange
    "2e0f33 7a382e d1801f facc52 fff5b8",  # yellow
    "1a123d 384f38 d18f12 fcd447 fff7bd",  # leaf green
    "0f1442 145252 bd9114 f2d44c fff7c2",  # green
    "0a1447 0d4f66 6b8f52 c2d180 fff7c7",  # sea green
    "080f4c 0d4a70 1f8f99 8fcfb2 fff7cc",  # cyan
    "0a0a52 1a2b94 0875b2 75c4b0 fff5cc",  # azure
    "120854 332191 336bc4 94bac2 fff2d1",  # blue
    "21084f 572685 9466b2 d6b2c2 fff0d1",  # violet
    "2b0547 751c70 bd578f eba8ad ffedd1",  # magenta
    "30053b 851457 d1476b f5a194 ffebcc",  # rose
)
_INK: Colour = (0.12, 0.07, 0.25)
_HALF_STROKE = 5  # pixels from the middle of a bristle's mark to its end
_HALF_SMEAR = 2  # the same for the paint itself, shorter: small things stay recognisable


def paint(photo: Pixels) -> Pixels:
    """Turn a photo (height, width, 3) of at least 16 x 16 pixels into an oil painting of it.

    The strokes follow the shapes, and their bristle marks come from the fine grain of the photo,
    so that the painting is a local function of the photo that a small network can learn.
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or min(photo.shape[:2]) < 16:
        raise ValueError(f"a photo is (height, width, 3), at least 16 x 16, not {photo.shape}")
    planes = np.ascontiguousarray(photo.transpose(2, 0, 1)).astype(np.float32) / 255.0
    luminance = _luminance(planes)
    strokes = _stroke_paths(luminance)
    smeared = _along(strokes[: 1 + 2 * _HALF_SMEAR], planes)
    bristles = _bristles(luminance, strokes)
    relief = bristles - shifted(bristles, 1, 1)  # lit from the upper left
    canvas = _repaint(smeared + bristles * 0.034)
    canvas = canvas + flat((1.0, 0.95, 0.75)) * (relief * 0.028)
    lay(canvas, flat(_INK), _contour(smeared) * 0.32)
    return to_pixels(canvas + _weave(*luminance.shape))


def _luminance(planes: Planes) -> Plane:
    luminance: Plane = planes[0] * 0.299 + planes[1] * 0.587 + planes[2] * 0.114
    return luminance


def _blurred(plane: Plane, radius: int) -> Plane:
    """Average the square around every pixel, by adding shifted copies in a fixed order."""
    height, width = plane.shape
    padded = np.pad(plane, radius, mode="edge")
    reach = 2 * radius + 1
    rows = padded[0:height].copy()
    for shift in range(1, reach):
        rows += padded[shift : shift + height]
    total = rows[:, 0:width].copy()
    for shift in range(1, reach):
        total += rows[:, shift : shift + width]
    return total * (1.0 / (reach * reach))


def _gradient(plane: Plane) -> tuple[Plane, Plane]:
    """Differences to the right and downwards, over two pixels."""
    padded = np.pad(plane, 1, mode="edge")
    return padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]


def _stroke_direction(luminance: Plane) -> tuple[Plane, Plane]:
    """Find the unit vector along the shapes: the minor axis of the smoothed structure tensor."""
    right, down = _gradient(_blurred(luminance, 1))
    # Where nothing has a direction, strokes are laid a little rising.
    across = _blurred(_blurred(right * right - down * down, 2), 2) - 2.0e-5
    twisted = _blurred(_blurred(right * down * 2.0, 2), 2) + 1.0e-5
    length = np.sqrt(across * across + twisted * twisted) + 1.0e-9
    # Half-angle formulas; the stroke is at right angles to the gradient, hence the minus sign.
    cosine = -across / length
    x = np.sqrt(np.maximum((1.0 + cosine) * 0.5, 0.0))
    y = np.sqrt(np.maximum((1.0 - cosine) * 0.5, 0.0))
    return x, np.where(twisted > 0.0, -y, y)


def _stroke_paths(luminance: Plane) -> list[npt.NDArray[np.intp]]:
    """Follow the strokes both ways from every pixel: flat indices of the pixels met, near first."""
    height, width = luminance.shape
    direction_x, direction_y = (part.reshape(-1) for part in _stroke_direction(luminance))
    start = np.arange(height * width)
    halves = []
    for sense in (1.0, -1.0):
        x = (start % width).astype(np.float32)
        y = (start // width).astype(np.float32)
        step_x, step_y = direction_x * sense, direction_y * sense
        half = []
        for _ in range(_HALF_STROKE):
            x = np.clip(x + step_x, 0.0, float(width - 1))
            y = np.clip(y + step_y, 0.0, float(height - 1))
            at = np.rint(y).astype(np.intp) * width + np.rint(x).astype(np.intp)
            half.append(at)
            next_x, next_y = direction_x[at], direction_y[at]
            # A direction is an axis without sense: keep going the way the brush came.
            keep = np.where(next_x * step_x + next_y * step_y < 0.0, np.float32(-1), np.float32(1))
            step_x, step_y = next_x * keep, next_y * keep
        halves.append(half)
    return [start] + [at for step in zip(*halves, strict=True) for at in step]


def _along(strokes: list[npt.NDArray[np.intp]], planes: Planes) -> Planes:
    """Average a plane or several along the strokes (line integral convolution)."""
    pixels = planes.reshape(*planes.shape[:-2], -1)
    total = pixels.take(strokes[0], axis=-1)
    for at in strokes[1:]:
        total += pixels.take(at, axis=-1)
    return (total * (1.0 / len(strokes))).reshape(planes.shape)


def _bristles(luminance: Plane, strokes: list[npt.NDArray[np.intp]]) -> Plane:
    """Marks of the brush in about [-1, 1]: the photo's grain, evened out and drawn along."""
    grain = _blurred(luminance, 1) - _blurred(luminance, 2)
    marks = _along(strokes, grain / (np.abs(grain) + 0.006))
    strength = np.sqrt(_blurred(marks * marks, 4)) + 0.05
    marks = marks / strength
    return marks / (0.7 + np.abs(marks))


def _repaint(planes: Planes) -> Planes:
    """Replace every colour by the painter's: a smooth map from RGB to RGB, far from affine."""
    planes = np.clip(planes, 0.0, 1.0)
    red, green, blue = planes
    highest = planes.max(axis=0)
    chroma = highest - planes.min(axis=0)
    divisor = np.maximum(chroma, 1.0e-6)
    hue = np.where(
        highest == red,
        (green - blue) / divisor + 12.0,
        np.where(highest == green, (blue - red) / divisor + 2.0, (red - green) / divisor + 4.0),
    )
    step = _luminance(planes) * 4.0
    grey = _from_ramps(_GREY_RAMP, np.zeros_like(step), step)
    coloured = _from_ramps(_HUE_RAMPS, hue * 2.0, step)
    return between(grey, coloured, np.minimum(chroma * 1.35 / (chroma + 0.12), 1.0))


def _from_ramps(ramps: npt.NDArray[np.float32], hue: Plane, step: Plane) -> Planes:
    """Interpolate a table (3, hues, steps of luminance), round the circle of hues."""
    _, hues, steps = ramps.shape
    hue_floor, step_floor = np.floor(hue), np.minimum(np.floor(step), steps - 2.0)
    first, lower = hue_floor.astype(np.intp) % hues, step_floor.astype(np.intp)
    here, there = (
        between(ramps[:, at, lower], ramps[:, at, lower + 1], step - step_floor)
        for at in (first, (first + 1) % hues)
    )
    return between(here, there, hue - hue_floor)


def _contour(smeared: Planes) -> Plane:
    """Find the strong edges, 0 to 1: where a painter draws an outline."""
    right, down = _gradient(_luminance(smeared))
    return smoothstep((np.sqrt(right * right + down * down) - 0.10) * 4.0)


def _weave(height: int, width: int) -> Plane:
    """The threads of the canvas, alternately over and under, barely visible."""
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    over = ((rows // 2 + columns // 2) % 2).astype(np.float32)
    return (over - 0.5) * 0.010
