"""What one picture looks like, in a few kilobytes: what copies, colours and faults are found by."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from cyclegan_style.data.images import Pixels, to_pillow

BINS = 32
"""Of each distribution."""
COEFFICIENTS = 16
"""Per side, of the lowest frequencies of a picture."""

_SIDE = 256  # of what colours and borders are looked for in
_HASHED_SIDE = 32
_LEAST_COEFFICIENT = 1.0  # what is less is rounding, whose sign says nothing
_LEVELS_OF_BLANK = 8
_LEVELS_OF_GREY = 8
_LEVELS_OF_BORDER = 6
_LEAST_BORDER = 0.02
_MOST_BORDER = 0.4
_LEAST_EDGE = 0.4
_LINES_OF_EDGE = 10  # of 256: JPEG rings over a block of 8

Shares = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """What is kept of a picture."""

    width: int
    height: int
    digest: bytes
    """Of the decoded pixels: equal for equal pictures, whatever their files."""
    signs: NDArray[np.int8]
    """Of the lowest frequencies of its brightness (a perceptual hash), 0 where there is nothing."""
    brightness: Shares
    """Share of the pixels in each of the bins, from black to white."""
    chroma: Shares
    """Strongest less weakest of red, green and blue: from grey to pure colours."""
    hue: Shares
    """From red over green and blue back to red, by the pixels' chroma."""
    grey: bool
    """Without any colour."""
    blank: bool
    """A single colour."""
    border: bool
    """Framed by one colour, at least at two opposite sides."""


def look_at(pixels: Pixels) -> Look:
    """Look at an RGB picture."""
    height, width = pixels.shape[:2]
    image = to_pillow(pixels)
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    colours = np.asarray(small)
    chroma, hue = np.ptp(colours, axis=2), np.asarray(small.convert("HSV"))[:, :, 0]
    darkest, lightest = np.percentile(colours, (0.5, 99.5), axis=(0, 1))
    blank = bool((lightest - darkest).max() <= _LEVELS_OF_BLANK)
    return Look(
        width,
        height,
        hashlib.blake2b(f"{width}x{height} ".encode() + pixels.tobytes(), digest_size=16).digest(),
        signs_of(image),
        shares(np.asarray(small.convert("L"))),
        shares(chroma),
        shares(hue, weights=chroma),
        grey=bool(np.percentile(chroma, 99.5) <= _LEVELS_OF_GREY),
        blank=blank,
        border=not blank and has_border(colours),
    )


def signs_of(image: Image.Image) -> NDArray[np.int8]:
    """Signs of the lowest frequencies, vertical × horizontal; the mean, at 0, 0, left out."""
    grey = image.convert("L").resize(
        (_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0
    )
    waves = dctn(np.asarray(grey, np.float32), norm="ortho")[:COEFFICIENTS, :COEFFICIENTS]
    signs = np.sign(np.where(np.abs(waves) > _LEAST_COEFFICIENT, waves, 0)).astype(np.int8)
    signs[0, 0] = 0
    return signs


def shares(levels: NDArray[np.uint8], weights: NDArray[np.uint8] | None = None) -> Shares:
    """How levels from 0 to 255 are distributed over the bins."""
    flat = None if weights is None else weights.ravel().astype(np.float64)
    counts = np.bincount(levels.ravel() // (256 // BINS), flat, BINS)
    normalised: Shares = (counts / max(counts.sum(), 1)).astype(np.float32)
    return normalised


def has_border(colours: NDArray[np.uint8]) -> bool:
    """Whether rows above and below, or columns left and right, have one colour and end sharply."""
    for lines in (colours, np.swapaxes(colours, 0, 1)):
        first, second = _uniform_lines(lines), _uniform_lines(lines[::-1])
        if first is None or second is None:
            continue
        shares_of_side = (first[0] / len(lines), second[0] / len(lines))
        alike = np.abs(first[1] - second[1]).max() <= _LEVELS_OF_BORDER
        if alike and min(shares_of_side) >= _LEAST_BORDER and max(shares_of_side) <= _MOST_BORDER:
            return True
    return False


def _uniform_lines(colours: NDArray[np.uint8]) -> tuple[int, NDArray[np.float64]] | None:
    """How many lines from the first on are of its colour, and that; None if they fade out.

    A thing before a black sky ends in a few pixels, what is framed in a line of them.
    """
    colour = np.median(colours[0], axis=0)
    strays = (np.abs(colours - colour).max(2) > _LEVELS_OF_BORDER).mean(1)
    uniform = strays <= 0.01
    count = int(uniform.size if uniform.all() else uniform.argmin())
    sharp = strays[count : count + _LINES_OF_EDGE].max(initial=0) >= _LEAST_EDGE
    return (count, colour) if sharp else None
