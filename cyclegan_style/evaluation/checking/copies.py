"""Copies of one picture: found by a perceptual hash, and where that wavers, by SqueezeNet.

The hash is the signs of a picture's lowest frequencies. Those of 16 × 16 frequencies agree by
themselves for copies that were stored anew, made smaller or larger, lighter or grey. Where a border
was cut off, only those of 8 × 8 still resemble each other; so do some unrelated pictures', unless
the network sees the same in both. All limits are shares of what unrelated pictures of the set
differ by, since faces all alike differ by less than landscapes. How often this errs is told in
docs/data.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cyclegan_style.data.training_data import spread
from cyclegan_style.evaluation.checking.examined import Examined
from cyclegan_style.evaluation.checking.looks import COEFFICIENTS

CERTAIN = 0.375
"""In fine signs: the largest difference of a copy that is one by the hash alone."""
LIKELY = 0.58
"""In coarse signs: that of a copy if the network agrees."""
AGREED = 0.2
"""In features: that at which the network agrees."""

_COARSE = 8
_FINE_APART, _COARSE_APART, _FEATURES_APART = 127.5, 31.5, 0.5
"""What unrelated photographs differ by; a set may differ by less, and counts as no more."""
_LEAST_FINE_APART = 40.0  # what is stored anew differs by up to 15
_LEAST_KNOWN = 0.3  # of the signs
_SAMPLE = 300
_ROWS = 256

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Copy:
    """A picture that shows what an earlier one shows; both as places among all pictures."""

    original: int
    copy: int
    mirrored: bool


@dataclass(frozen=True)
class _Prints:
    """What pictures are compared by, a row for each."""

    fine: Numbers
    coarse: Numbers
    features: Numbers

    @classmethod
    def of(cls, signs: NDArray[np.int8], features: Numbers) -> "_Prints":
        coarse = signs[:, :_COARSE, :_COARSE]
        flat = [each.reshape(len(signs), -1).astype(np.float32) for each in (signs, coarse)]
        return cls(flat[0], flat[1], features)

    def __getitem__(self, rows: slice | list[int]) -> "_Prints":
        return _Prints(self.fine[rows], self.coarse[rows], self.features[rows])

    def fine_distances(self, others: "_Prints") -> Numbers:
        """How many of the signs differ."""
        return _differing(self.fine, others.fine, COEFFICIENTS**2 - 1)

    def coarse_distances(self, others: "_Prints") -> Numbers:
        """How many of those of the lowest frequencies differ."""
        return _differing(self.coarse, others.coarse, _COARSE**2 - 1)


@dataclass(frozen=True)
class _Apart:
    """What unrelated pictures of a set differ by, for each picture the one of its set."""

    fine: Numbers
    coarse: Numbers
    features: Numbers

    @classmethod
    def of_sets(cls, prints: _Prints, sizes: Sequence[int]) -> "_Apart":
        medians, start = [], 0
        for size in sizes:
            sample = prints[[start + place for place in spread(range(size), _SAMPLE)]]
            medians.append(_medians(sample))
            start += size
        fine, coarse, features = np.repeat(np.array(medians, np.float32), sizes, axis=0).T
        return cls(fine, coarse, features)


def find_copies(sets: Sequence[Examined], progress: bool = True) -> list[Copy]:
    """Each picture that shows what an earlier one of its set shows, and one of each other set.

    Blank pictures, which all look alike, are left out. What is a copy within its set is nobody's
    original, so that of many copies of one picture each is named once.
    """
    looks = [look for part in sets for look in part.looks]
    if not looks:
        return []
    set_of = np.repeat(np.arange(len(sets)), [len(part) for part in sets])
    original = np.array([not look.blank for look in looks])
    copies: list[Copy] = []
    for start, plain, mirrored in _compared(sets, progress):
        nearest = np.minimum(plain, mirrored)
        for row in np.flatnonzero(np.isfinite(nearest).any(1)):
            index, distances = start + int(row), nearest[row]
            if not original[index]:
                continue
            matches = np.flatnonzero(np.isfinite(distances[:index]) & original[:index])
            for number in np.unique(set_of[matches]):
                among = matches[set_of[matches] == number]
                found = int(among[distances[among].argmin()])
                copies.append(Copy(found, index, bool(mirrored[row, found] < plain[row, found])))
                if number == set_of[index]:
                    original[index] = False
    return copies


def _compared(sets: Sequence[Examined], progress: bool) -> Iterator[tuple[int, Numbers, Numbers]]:
    """Distances of a few pictures to all up to them, as they are and mirrored; ∞ if no copies."""
    looks = [look for part in sets for look in part.looks]
    signs = np.stack([look.signs for look in looks])
    features = np.concatenate([part.features for part in sets if len(part)])
    prints = _Prints.of(signs, features)
    parity = np.where(np.arange(COEFFICIENTS) % 2, -1, 1).astype(np.int8)
    mirrored = _Prints.of(signs * parity, features)
    apart = _Apart.of_sets(prints, [len(part) for part in sets])
    numbers: dict[bytes, int] = {}
    contents = np.array([numbers.setdefault(look.digest, len(numbers)) for look in looks])
    hidden = None if progress else True  # None: hidden unless on a terminal
    starts = range(0, len(looks), _ROWS)
    for start in tqdm(starts, "comparing images", delay=1, disable=hidden, leave=False):
        rows, others = slice(start, start + _ROWS), slice(0, start + _ROWS)
        found = [_distances(each, prints, apart, rows, others) for each in (prints, mirrored)]
        found[0][contents[rows, None] == contents[None, others]] = 0
        yield start, found[0], found[1]


def _distances(of: _Prints, to: _Prints, apart: _Apart, rows: slice, others: slice) -> Numbers:
    fine = of[rows].fine_distances(to[others])
    copy = fine <= CERTAIN * np.minimum(apart.fine[rows, None], apart.fine[None, others])
    likely = of[rows].coarse_distances(to[others]) <= LIKELY * np.minimum(
        apart.coarse[rows, None], apart.coarse[None, others]
    )
    first, second = np.nonzero(likely & ~copy)
    cosines = np.einsum("nd,nd->n", of.features[rows][first], to.features[second])
    agreed = 1 - cosines <= AGREED * np.minimum(apart.features[rows][first], apart.features[second])
    copy[first[agreed], second[agreed]] = True
    return np.where(copy, fine, np.inf).astype(np.float32)


def _differing(signs: Numbers, others: Numbers, count: int) -> Numbers:
    """By those that both pictures have, as if they had all; ∞ where that would be a guess."""
    both = np.abs(signs) @ np.abs(others).T
    differing = (both - signs @ others.T) / 2
    distances: Numbers = np.where(
        both >= _LEAST_KNOWN * count, count * differing / np.maximum(both, 1), np.float32(np.inf)
    )
    return distances


def _medians(sample: _Prints) -> tuple[float, float, float]:
    """Of the differences of all pairs; of too few to tell, those of photographs."""
    count = len(sample.fine)
    if count < 3:
        return _FINE_APART, _COARSE_APART, _FEATURES_APART
    pairs = np.triu_indices(count, 1)
    fine, coarse, features = (
        float(np.median(differences[pairs]))
        for differences in (
            sample.fine_distances(sample),
            sample.coarse_distances(sample),
            1 - sample.features @ sample.features.T,
        )
    )
    return (
        min(max(fine, _LEAST_FINE_APART), _FINE_APART),
        min(coarse, _COARSE_APART),
        min(features, _FEATURES_APART),
    )
