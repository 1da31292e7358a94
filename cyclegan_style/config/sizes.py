"""Sizes of pictures as they are written: the side of a square, or height and width as 40x56."""

import re

Size = tuple[int, int]
"""Height and width in pixels."""

_DIGITS = 9
"""More than any picture has, and few enough that no text makes a number of megabytes."""


def parse_size(written: object) -> Size:
    """Height and width that 256 or 40x56 means; a ValueError says what else it is."""
    if isinstance(written, int) and not isinstance(written, bool):
        return written, written
    sides = re.fullmatch(rf"(\d{{1,{_DIGITS}}})x(\d{{1,{_DIGITS}}})", str(written), re.ASCII)
    if sides is None:
        raise ValueError(f"{written!r} is neither a side such as 256 nor height and width as 40x56")
    return int(sides[1]), int(sides[2])


def square_side(written: object) -> int:
    """The side of a square; a ValueError if something else is written."""
    height, width = parse_size(written)
    if height != width:
        raise ValueError(f"{height}x{width} is no square")
    return height


def plain_size(written: int | str) -> int | str:
    """The number alone of a square that is written as 40x40; anything else as it is."""
    try:
        height, width = parse_size(written)
    except ValueError:
        return written
    return height if height == width else f"{height}x{width}"
