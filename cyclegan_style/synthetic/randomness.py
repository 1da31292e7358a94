"""Random numbers and noise that are hashes of their position (splitmix64)."""

from collections.abc import Sequence
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from cyclegan_style.synthetic.planes import Colour, Plane, Vector, between, smoothstep

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROW_STEP = 0xD6E8FEB86659FD93

Words = npt.NDArray[np.uint64]
Item = TypeVar("Item")


@overload
def _mix(word: int) -> int: ...
@overload
def _mix(word: Words) -> Words: ...
def _mix(word: Any) -> Any:
    """Scramble 64-bit words: the output function of splitmix64."""
    word = word & _WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _WORD
    return word ^ (word >> 31)


class Dice:
    """A stream of random numbers: the hash of a key and a counter."""

    def __init__(self, seed: int, index: int) -> None:
        self._state = _mix(_mix(seed) + index)

    def key(self) -> int:
        """Draw a 64-bit word, to seed a noise pattern with."""
        self._state = (self._state + _GOLDEN) & _WORD
        return _mix(self._state)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw from [low, high)."""
        return low + (high - low) * ((self.key() >> 11) * 2.0**-53)

    def chance(self, probability: float) -> bool:
        """Draw True with the probability given."""
        return self.uniform() < probability

    def below(self, count: int) -> int:
        """Draw one of 0 ... count - 1."""
        return int(self.uniform() * count)

    def choice(self, items: Sequence[Item]) -> Item:
        """Draw one of the items."""
        return items[self.below(len(items))]

    def vary(self, colour: Colour, amount: float) -> Colour:
        """Draw a colour near the one given."""
        red, green, blue = (part + self.uniform(-amount, amount) for part in colour)
        return (red, green, blue)


def hash_grid(key: int, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer]) -> Plane:
    """Hash every pair of a row and a column number to a float in [0, 1]."""
    row_words = rows.astype(np.uint64)[:, None] * np.uint64(_ROW_STEP)
    column_words = columns.astype(np.uint64) * np.uint64(_GOLDEN)
    word = _mix(row_words + column_words + np.uint64(key))
    return ((word >> 11).astype(np.float64) * 2.0**-53).astype(np.float32)


def noise(key: int, rows: Vector, columns: Vector) -> Plane:
    """Value noise in [0, 1]; `rows` and `columns` are the pixels' coordinates in lattice cells."""
    row_numbers, row, row_share = _lattice(rows)
    column_numbers, column, column_share = _lattice(columns)
    values = hash_grid(key, row_numbers, column_numbers)
    across = between(values[row], values[row + 1], row_share[:, None])
    return between(across[:, column], across[:, column + 1], column_share)


def _lattice(at: Vector) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Plane]:
    """Number the lattice points around coordinates; place each between two of them, eased."""
    cell = np.floor(at)
    number = cell.astype(np.int64)
    first, last = number.min(), number.max() + 1
    return np.arange(first, last + 1), number - first, smoothstep((at - cell).astype(np.float32))


def fractal(key: int, rows: Vector, columns: Vector, octaves: int) -> Plane:
    """Sum octaves of noise, each twice as fine and half as strong, into [0, 1]."""
    total = noise(key, rows, columns)
    weight, weights = 1.0, 1.0
    for octave in range(1, octaves):
        weight, rows, columns = weight * 0.5, rows * 2.0, columns * 2.0
        total += noise(_mix(key + octave), rows, columns) * weight
        weights += weight
    return total / weights


def fractal_line(key: int, at: Vector, octaves: int) -> Plane:
    """Like `fractal`, along a line."""
    return fractal(key, np.zeros(1), at, octaves).reshape(-1)
