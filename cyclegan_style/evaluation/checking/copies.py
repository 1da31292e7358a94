"""Copies of one picture: found by a perceptual hash, and where that wavers, by SqueezeNet.

The hash is the signs of a picture's lowest frequencies. Those of 16 × 16 frequencies agree by
themselves for copies that were stored anew, made smaller or larger, lighter or grey. Where a border
was cut off, only those of 8 × 8 still resemble each other; so do some unrelated pictures', unless
the network sees the same in both. How often either errs is told in docs/data.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cyclegan_style.evaluation.checking.examined import Examined
from cyclegan_style.evaluation.checking.looks import COEFFICIENTS

CERTAIN = 48.0
"""Of 255 signs, how many may differ in a copy by the hash alone; of unrelated pictures about 128
do, in the nearest of 700,000 pairs 84."""
LIKELY = 18.0
"""Of 63 signs, how many may differ in a copy if the network agrees."""
LEAST_COSINE = 0.9
"""Between the features of such a copy and of its original."""

_COARSE = 8
_ROWS = 256

Signs = NDArray[np.float32]


@dataclass(frozen=True)
class Copy:
    """A picture that shows what an earlier one shows; both as places among all pictures."""

    original: int
    copy: int
    mirrored: bool


@dataclass(frozen=True)
class _Hashes:
    """The signs of some pictures: all, and those of the lowest frequencies."""

    fine: Signs
    coarse: Signs

    @classmethod
    def of(cls, signs: NDArray[np.int8]) -> "_Hashes":
        coarse = signs[:, :_COARSE, :_COARSE].reshape(len(signs), -1)
        return cls(
            signs.reshape(len(signs), -1).astype(np.float32), np.ascontiguousarray(coarse, "f4")
        )

    def distances(self, rows: "_Hashes", end: int) -> tuple[Signs, Signs]:
        """Of rows to the first pictures: signs that differ; one that is missing counts half."""
        fine = (COEFFICIENTS**2 - 1 - rows.fine @ self.fine[:end].T) / 2
        return fine, (_COARSE**2 - 1 - rows.coarse @ self.coarse[:end].T) / 2


def find_copies(sets: Sequence[Examined], progress: bool = True) -> list[Copy]:
    """Each picture that shows what an earlier one of its set shows, and one of each other set.

    Blank pictures, which all look alike, are left out. What is a copy within its set is nobody's
    original, so that of many copies of one picture each is named once.
    """
    looks = [look for part in sets for look in part.looks]
    if not looks:
        return []
    features = np.concatenate([part.features for part in sets if len(part)])
    set_of = np.repeat(np.arange(len(sets)), [len(part) for part in sets])
    seen: dict[bytes, int] = {}
    digests = np.array([seen.setdefault(look.digest, len(seen)) for look in looks])
    signs = np.stack([look.signs for look in looks])
    original = np.array([not look.blank for look in looks])
    parity = np.where(np.arange(COEFFICIENTS) % 2, -1, 1).astype(np.int8)
    plain, mirrored = _Hashes.of(signs), _Hashes.of(signs * parity)
    copies: list[Copy] = []
    for rows in _blocks(len(looks), progress):
        end = rows.stop
        likeness = np.full((2, end - rows.start, end), np.inf, np.float32)
        for way, hashes in enumerate((plain, mirrored)):
            block = _Hashes(hashes.fine[rows], hashes.coarse[rows])
            likeness[way] = _likeness(block, plain, features, rows)
        same = digests[rows, None] == digests[None, :end]
        likeness[0][same] = 0
        best = likeness.min(0)
        for place in np.flatnonzero(np.isfinite(best).any(1)):
            index = rows.start + int(place)
            if original[index]:
                matches = np.flatnonzero(np.isfinite(best[place, :index]) & original[:index])
                for number in np.unique(set_of[matches]):
                    among = matches[set_of[matches] == number]
                    nearest = int(among[best[place, among].argmin()])
                    way = bool(likeness[1, place, nearest] < likeness[0, place, nearest])
                    copies.append(Copy(nearest, index, way))
                    if number == set_of[index]:
                        original[index] = False
    return copies


def _likeness(rows: _Hashes, plain: _Hashes, features: Signs, places: slice) -> Signs:
    """Distance of rows to all pictures up to them; infinite where it is no copy."""
    fine, coarse = plain.distances(rows, places.stop)
    copy = fine <= CERTAIN
    first, second = np.nonzero((coarse <= LIKELY) & ~copy)
    agree = np.einsum("nd,nd->n", features[places.start + first], features[second]) >= LEAST_COSINE
    copy[first[agree], second[agree]] = True
    return np.where(copy, fine, np.inf).astype(np.float32)


def _blocks(count: int, progress: bool) -> Iterator[slice]:
    starts = range(0, count, _ROWS)
    hidden = None if progress else True
    for start in tqdm(starts, "comparing images", delay=1, disable=hidden, leave=False):
        yield slice(start, min(start + _ROWS, count))
