"""One set of pictures compared with another: the value of every score, and its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cyclegan_style.evaluation.definitions import Definition
from cyclegan_style.evaluation.frechet import (
    frechet_distance,
    frechet_of_features,
    gaussian_of_features,
)
from cyclegan_style.evaluation.image_sets import ImageSet
from cyclegan_style.evaluation.intervals import GROUPS, Interval, Kept, jackknife_interval
from cyclegan_style.evaluation.kid import KernelDistance, kernel_distance, squared_mmd
from cyclegan_style.evaluation.precision_recall import precision_recall
from cyclegan_style.evaluation.sliced_wasserstein import part_of, sliced_wasserstein
from cyclegan_style.features.inception import FEATURES

_WITHOUT_INTERVALS = {"kid_std", "fid_infinity"}

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """A set of fakes beside the real pictures; all processes ask it for the same."""

    real: ImageSet
    fake: ImageSet
    definition: Definition

    def scores(
        self, metrics: Sequence[str], intervals: bool
    ) -> tuple[dict[str, float], dict[str, Interval]]:
        """Values and, where they are wanted and known, intervals of these metrics."""
        values: dict[str, float] = {}
        known: dict[str, Interval] = {}
        always = ("structure",) if "structure" in self.fake.nearness else ()
        for metric in (*metrics, *always):
            scored = self._score(metric)
            new = [name for name in scored if name not in (*values, *_WITHOUT_INTERVALS)]
            for name in new if intervals else ():
                interval = self.interval(scored[name], partial(self.value_of_part, name))
                if interval is not None:
                    known[name] = interval
            values |= scored
        return values, known

    def value(self, metric: str) -> float:
        """One score whose name is the metric's."""
        return self._score(metric)[metric]

    def value_of_part(self, metric: str, i: Kept, j: Kept) -> float:
        """A score of these pictures alone, for the spread; kid is that over all of them."""
        if metric in self.fake.nearness:
            return float(self.fake.nearness[metric][j].mean())
        if metric == "art_fid":
            lpips, fid = (self.value_of_part(each, i, j) for each in ("lpips", "fid"))
            return art_fid(lpips, fid)
        # From here on in a quicker way, since it is only the spread that is asked for.
        if metric == "swd":
            parts = part_of(self.real.descriptors, i), part_of(self.fake.descriptors, j)
            return sliced_wasserstein(*parts, projections=64)
        x, y = self.real.pictures().features[i], self.fake.pictures().features[j]
        if metric == self.definition.frechet:
            return frechet_of_features(x, y)
        if metric == "kid":
            return squared_mmd(x.astype(np.float64), y.astype(np.float64))
        shares = precision_recall(x, y, exact=False)
        return shares.precision if metric == "precision" else shares.recall

    def interval(self, value: float, score: Callable[[Kept, Kept], float]) -> Interval | None:
        """Interval of a score, or of a difference of scores, where single pictures are known."""
        sets = (self.real.collected, self.fake.collected)
        known = [pictures for pictures in sets if pictures and pictures.moments is None]
        if len(known) < len(sets):
            return None
        counts = len(known[0]), len(known[1])
        # Beyond the features' dimensions, each group left out costs a large decomposition.
        groups = GROUPS if max(counts) <= FEATURES else 8
        return jackknife_interval(value, score, *counts, groups)

    def _score(self, metric: str) -> dict[str, float]:
        if metric in self.fake.nearness:
            return {metric: float(self.fake.nearness[metric].mean())}
        if metric == self.definition.frechet:
            return {metric: frechet_distance(self.real.gaussian(), self.fake.gaussian())}
        if metric == "art_fid":
            parts = self._score("lpips") | self._score("fid")
            return parts | {"art_fid": art_fid(parts["lpips"], parts["fid"])}
        if metric == "swd":
            return {"swd": sliced_wasserstein(self.real.descriptors, self.fake.descriptors)}
        first, second = self.real.pictures().features, self.fake.pictures().features
        if metric == "kid":
            distance = kernel(first, second, self.definition)
            return {"kid": distance.mean, "kid_std": distance.deviation}
        if metric == "fid_infinity":
            return {"fid_infinity": frechet_at_infinity(first, second)}
        shares = precision_recall(first, second)
        return {"precision": shares.precision, "recall": shares.recall}


def art_fid(lpips: float, fid: float) -> float:
    """Both distances, to the inputs and to the style, as one (Wright and Ommer 2022)."""
    return (1 + lpips) * (1 + fid)


def frechet_at_infinity(real: Features, fake: Features, sizes: int = 15, seed: int = 0) -> float:
    """FID extrapolated to infinitely many fakes (Chong and Forsyth 2020): its bias is in 1/n."""
    chance = np.random.default_rng(seed)
    reference = gaussian_of_features(real)
    counts = np.linspace(max(2, len(fake) // 4), len(fake), sizes).astype(int)
    values = [
        frechet_distance(
            reference, gaussian_of_features(fake[chance.choice(len(fake), n, replace=False)])
        )
        for n in counts
    ]
    slope_and_offset = np.polynomial.polynomial.polyfit(1 / counts, values, 1)
    return float(slope_and_offset[0])


def kernel(real: Features, fake: Features, definition: Definition) -> KernelDistance:
    """Kernel distance whose subsets are drawn in the definition's order."""
    in_order = (real, fake) if definition.kid_sets == "real first" else (fake, real)
    return kernel_distance(*in_order)
