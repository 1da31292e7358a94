"""The order of an epoch of very many samples, any part of which is had without the rest.

A permutation of ten million numbers would be 80 MB in every process, drawn anew each epoch. Here
any place's number is computed, so that memory does not grow with the set and a run that goes on
in the middle of an epoch begins there.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.uint64]

_ROUNDS = 8
_AT_ONCE = 1 << 14
"""Places computed together. Another number would draw other samples."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def large_order(
    sizes: Sequence[int], seed: int, epoch: int, first: int
) -> Iterator[tuple[int, int, int]]:
    """Numbers of a first and a second picture, and a seed, of every place from ``first`` on.

    The first domain comes in shuffled order, repeated with a new shuffle; the second at random.
    """
    shuffle = Shuffle(sizes[0], _generator(seed, epoch, 0))
    for block in count(first // _AT_ONCE):
        start = block * _AT_ONCE
        places = np.arange(start, start + _AT_ONCE, dtype=np.uint64)
        columns = (
            shuffle(places),
            _generator(seed, epoch, 1, block).integers(sizes[-1], size=_AT_ONCE),
            _generator(seed, epoch, 2, block).integers(2**63, size=_AT_ONCE),
        )
        skipped = max(0, first - start)
        yield from zip(*(column[skipped:].tolist() for column in columns), strict=True)


class Shuffle:
    """Every number below ``size`` once in each run of as many places, by a Feistel network.

    A number is two digits, of which each in turn is moved by a hash of the other (Black and
    Rogaway, Ciphers with Arbitrary Finite Domains, 2002). The few pairs of digits that stand for no
    number below ``size`` are moved on until they do.
    """

    def __init__(self, size: int, generator: np.random.Generator) -> None:
        self.size = np.uint64(size)
        high = math.isqrt(size - 1) + 1
        self._digits = np.uint64(high), np.uint64(-(-size // high))
        self._keys = generator.integers(2**64, size=_ROUNDS, dtype=np.uint64)

    def __call__(self, places: Integers) -> Integers:
        """The numbers at these places."""
        repetitions, numbers = np.divmod(places, self.size)
        repetitions = _hashed(repetitions)
        numbers = self._moved(numbers, repetitions)
        while (beyond := np.flatnonzero(numbers >= self.size)).size:
            numbers[beyond] = self._moved(numbers[beyond], repetitions[beyond])
        return numbers

    def _moved(self, numbers: Integers, repetitions: Integers) -> Integers:
        highs, lows = self._digits
        high, low = np.divmod(numbers, lows)
        for turn, key in enumerate(self._keys):
            if turn % 2:
                low = (low + _hashed((high ^ repetitions) + key) % lows) % lows
            else:
                high = (high + _hashed((low ^ repetitions) + key) % highs) % highs
        return high * lows + low


def _hashed(values: Integers) -> Integers:
    """The finaliser of SplitMix64: every bit of the result depends on all of the value."""
    mixed = values + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))
