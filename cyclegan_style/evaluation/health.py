"""Numbers that tell a training that went wrong, of a few pictures and what networks make of them.

Pictures are N×C×H×W in [-1, 1], all of a call of one size; inputs are of the source domain,
targets of the one that translations imitate. Where too little is given for a number, such as one
picture to tell apart, it is NaN.
"""

import math
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_style.data.images import luminance
from cyclegan_style.evaluation.grid import FEWEST_PERIODS, grid_strength

GRID_PERIOD = 4
"""What two doublings leave, and half of it, which one does."""
SPOT_SIDE = 128
"""About the least side that pictures are reduced to before spots are looked for."""
NOISE = 2 * 2 / 255
"""Deviation of two levels of 255, which nobody sees."""


def change(inputs: Tensor, translations: Tensor, targets: Tensor) -> float:
    """How far translations are from their inputs, between 0 and that of unrelated pictures, 1:

    mean |G(aᵢ) − aᵢ| / mean over i and j of |bⱼ − aᵢ|
    """
    shown, wanted = in_colours(translations), in_colours(targets)
    pictures = in_colours(inputs)
    unrelated = torch.stack([(wanted - picture).abs().mean() for picture in pictures]).mean()
    return float((shown - pictures).abs().mean() / unrelated)


def variety(inputs: Tensor, translations: Tensor, targets: Tensor) -> float:
    """How unlike each other translations are, where pictures of the domains are 1:

    d(G(a)) / min(d(a), d(b)), with d the mean |xᵢ − xⱼ| over pairs of pictures
    """
    usual = min(mean_distance(in_colours(inputs)), mean_distance(in_colours(targets)))
    return mean_distance(in_colours(translations)) / usual if usual else math.nan


def mean_distance(pictures: Tensor) -> float:
    """Mean |xᵢ − xⱼ| over pairs of pictures."""
    if len(pictures) < 2:
        return math.nan
    pairs = combinations(pictures, 2)
    return float(torch.stack([(first - second).abs().mean() for first, second in pairs]).mean())


def brightness_order(inputs: Tensor, translations: Tensor) -> float:
    """Whether what is bright stays bright: 1, and -1 for a negative.

    The correlation of brightness within pictures, Σ x y / √(Σ x² Σ y²) over all pixels, with x
    and y brightness less its mean over the picture.
    """
    before, after = (luminance(in_colours(each)).double() for each in (inputs, translations))
    before = before - before.mean((1, 2, 3), keepdim=True)
    after = after - after.mean((1, 2, 3), keepdim=True)
    spread = (before.square().sum() * after.square().sum()).sqrt()
    return float((before * after).sum() / spread)


def grid(translations: Tensor, targets: Tensor) -> float:
    """Strength of a pattern of four pixels in translations over that in real pictures."""
    if min(*translations.shape[2:], *targets.shape[2:]) < FEWEST_PERIODS * GRID_PERIOD:
        return math.nan
    painted, real = (
        grid_strength(in_colours(each), GRID_PERIOD).mean() for each in (translations, targets)
    )
    return float(painted / real)


def spots(inputs: Tensor, translations: Tensor, targets: Tensor) -> float:
    """How far the worst new spot stands out, where the most striking one of a real picture is 1.

    New is what stands out of a translation by more than its input varies thereabouts.
    """
    least = min(*translations.shape[2:], *targets.shape[2:])
    radius = max(2, min(least, SPOT_SIDE) // 16)
    pictures, painted, real = (
        blurred(F.avg_pool2d(in_colours(each), max(1, least // SPOT_SIDE)), radius)
        for each in (inputs, translations, targets)
    )
    highest, lowest = (
        F.max_pool2d(each, 2 * radius + 1, stride=1) for each in (pictures, -pictures)
    )
    varies = (highest + lowest).amax(1, keepdim=True)
    new = (lonely(painted, radius) - varies).clamp_min(0).amax((1, 2, 3))
    return float(new.mean() / lonely(real, radius).amax((1, 2, 3)).mean())


def blurred(pictures: Tensor, radius: int) -> Tensor:
    """Means over about half a radius."""
    return F.avg_pool2d(pictures, radius // 2 | 1, stride=1)


def lonely(pictures: Tensor, radius: int) -> Tensor:
    """How far each place is brighter or darker, in any colour, than all eight places around it.

    Those are ``radius`` pixels away, so that neither edges nor lines count; places without
    surroundings are left out.
    """
    height, width = (side - 2 * radius for side in pictures.shape[2:])
    shifts = (0, radius, 2 * radius)
    views = [pictures[..., y : y + height, x : x + width] for y in shifts for x in shifts]
    centre = views.pop(4)
    around = torch.stack(views)
    beyond = torch.maximum(centre - around.amax(0), around.amin(0) - centre)
    return beyond.clamp_min(0).amax(1, keepdim=True)


def hidden(inputs: Tensor, reconstructions: Tensor, from_noisy: Tensor, noise: Tensor) -> float:
    """What noise that nobody sees costs the way back; 1 or less for networks that pass it on:

    mean |F(G(a) + n) − a| / (mean |F(G(a)) − a| + mean |n|)
    """
    clean, noisy = ((each - inputs).abs().mean() for each in (reconstructions, from_noisy))
    return float(noisy / (clean + noise.abs().mean()))


def preference(first: Tensor, second: Tensor) -> float:
    """How often a verdict of the first is higher than one of the second; ties count half.

    1/2 where they cannot be told apart (Mann and Whitney, 1947).
    """
    ordered = second.flatten().double().sort().values
    chosen = first.flatten().double()
    below = torch.searchsorted(ordered, chosen, right=False)
    not_above = torch.searchsorted(ordered, chosen, right=True)
    return float((below + not_above).double().mean() / (2 * len(ordered)))


def in_colours(pictures: Tensor) -> Tensor:
    """Pictures as N×3×H×W: grey three times, and without alpha."""
    channels = pictures.shape[1]
    return pictures[:, :1].expand(-1, 3, -1, -1) if channels < 3 else pictures[:, :3]
