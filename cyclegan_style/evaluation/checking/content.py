"""What pictures show, as far as features tell: the odd ones of a domain, and what only one has."""

import numpy as np
from numpy.typing import NDArray

from cyclegan_style.data.training_data import spread
from cyclegan_style.evaluation.checking.examined import Features

FEWEST = 20
"""Pictures of a domain below which nothing is said of its neighbourhoods."""
FENCE = 2.0
"""How many interquartile ranges beyond the third quartile a picture is an odd one."""
MOST_COMPARED = 500
"""Pictures of a domain that others look for neighbours among."""

_NEIGHBOURS = 3
_ROWS = 512

Numbers = NDArray[np.float32]


def odd_ones(features: Features) -> list[int]:
    """Places of the pictures whose nearest neighbours are unusually far, the farthest first."""
    if len(features) < FEWEST:
        return []
    distances = 1 - np.concatenate(
        [
            _nearness(features[start : start + _ROWS], features, start)
            for start in range(0, len(features), _ROWS)
        ]
    )
    first, third = np.quantile(distances, (0.25, 0.75))
    order = np.argsort(-distances, kind="stable")
    return [int(place) for place in order if distances[place] > third + FENCE * (third - first)]


def neighbours_share(own: Features, other: Features) -> float | None:
    """Share of the own pictures that are as near to the other domain as 90 % are to the own one.

    By features less the domain's mean, over its deviations, so that a style common to all
    pictures of a domain does not count; None with too few pictures.
    """
    if min(len(own), len(other)) < FEWEST:
        return None
    count = min(len(own), len(other), MOST_COMPARED)
    judged = spread(range(len(own)), MOST_COMPARED)
    own, other = _standardised(own), _standardised(other)
    reference = spread(judged, count)
    similar = own[judged] @ own[reference].T
    similar[np.array(judged)[:, None] == np.array(reference)[None]] = -np.inf
    within = _mean_of_largest(similar)
    across = _mean_of_largest(own[judged] @ other[spread(range(len(other)), count)].T)
    return float((across >= np.quantile(within, 0.1)).mean())


def _nearness(rows: Features, features: Features, start: int) -> Numbers:
    similar = rows @ features.T
    places = np.arange(len(rows))
    similar[places, start + places] = -np.inf
    return _mean_of_largest(similar)


def _mean_of_largest(similar: Numbers) -> Numbers:
    largest: Numbers = np.partition(similar, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:].mean(1)
    return largest


def _standardised(features: Features) -> Features:
    deviations = features.std(0)
    centred = (features - features.mean(0)) / (deviations + 0.05 * deviations.mean() + 1e-12)
    standardised: Features = centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-12)
    return standardised
