"""A picture's file as it is sent ⇄ its pixels, within a server's limits."""

import io
from pathlib import Path

from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.data.images import (
    ImageError,
    Pixels,
    TooManyPixelsError,
    opened_image,
    save_image,
)
from cyclegan_style.data.metadata import Metadata, kept_metadata
from cyclegan_style.errors import UserError
from cyclegan_style.serving.problems import ProblemError

LARGEST_SIDES = {".webp": 16383, ".jpg": 65500}
"""Of the pictures that a format holds."""
MOST_BORDER = 2
"""Pixels that the network sees, as a multiple of the limit: a line of pixels has wide borders."""


def decoded(content: bytes, predictor: Predictor, most_pixels: int) -> tuple[Pixels, Metadata]:
    """Upright pixels of a file's content, and the metadata to be kept; a Problem if it is refused.

    How large the picture is, its header tells before anything else is decoded.
    """
    try:
        with opened_image(Path(), content, most_pixels) as image:
            width, height = image.size
        refuse_size(width, height, predictor, most_pixels)
        with opened_image(Path(), content, most_pixels) as image:
            return predictor.read(image), kept_metadata(image)
    except TooManyPixelsError as error:
        raise ProblemError(413, error.reason) from None
    except ImageError as error:
        raise ProblemError(422, f"the picture cannot be read: {error.reason}") from None


def refuse_size(width: int, height: int, predictor: Predictor, most_pixels: int) -> None:
    """Raise a Problem for a picture that is too large for the server or its memory."""
    rows, columns = predictor.fitting_size(height, width)
    if width * height > most_pixels or rows * columns > MOST_BORDER * most_pixels:
        raise ProblemError(
            413, f"{width} × {height} pixels are more than the limit of {most_pixels:,}"
        )
    try:
        predictor.require_memory(height, width)
    except UserError as error:
        raise ProblemError(413, str(error)) from None


def refuse_side(pixels: Pixels, ending: str) -> None:
    """Raise a Problem for a picture that a format does not hold."""
    height, width = pixels.shape[:2]
    most = LARGEST_SIDES.get(ending, max(height, width))
    if max(height, width) > most:
        detail = (
            f"format: {ending[1:]} holds {most} pixels a side, not {width} × {height}; take png"
        )
        raise ProblemError(422, detail)


def encoded(pixels: Pixels, ending: str, quality: int, metadata: Metadata) -> bytes:
    """The content of a file of an ending such as ``.png``."""
    stream = io.BytesIO()
    save_image(stream, ending, pixels, quality, metadata)
    return stream.getvalue()
