"""The colours of the sets as drawings of the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cyclegan_style.evaluation.checking.examined import Examined
from cyclegan_style.evaluation.checking.looks import BINS, Look, Shares

COLOURS = {"a": "c0", "b": "c1", "test_a": "c2", "test_b": "c3"}


@dataclass(frozen=True)
class Quantity:
    """One that is distributed over the pixels of a picture."""

    title: str
    of: Callable[[Look], Shares]
    low: str
    high: str
    """What the ends of the axis are."""


QUANTITIES = (
    Quantity("Brightness", lambda look: look.brightness, "black", "white"),
    Quantity("Chroma", lambda look: look.chroma, "grey", "pure colours"),
    Quantity("Hue", lambda look: look.hue, "red", "red"),
)
_HUES = (("yellow", 1 / 6), ("green", 1 / 3), ("cyan", 1 / 2), ("blue", 2 / 3), ("magenta", 5 / 6))


def distributions_html(sets: Sequence[Examined]) -> str:
    """A drawing for each quantity, all sets in it."""
    drawn = [part for part in sets if len(part)]
    if not drawn:
        return '<p class="card soft">No picture could be read.</p>'
    cards = "".join(_card(quantity, drawn) for quantity in QUANTITIES)
    return f'<div class="charts">{cards}</div>'


def _card(quantity: Quantity, sets: Sequence[Examined]) -> str:
    means = [np.mean([quantity.of(look) for look in part.looks], axis=0) for part in sets]
    highest = max(float(mean.max()) for mean in means) or 1.0
    curves = "".join(
        f'<g class="{COLOURS[part.name]}">{_curve(part.name, mean, highest)}</g>'
        for part, mean in zip(sets, means, strict=True)
    )
    legend = "".join(
        f'<li class="{COLOURS[part.name]}">{part.title}{_mean_of(quantity, mean)}</li>'
        for part, mean in zip(sets, means, strict=True)
    )
    ticks = [(quantity.low, 0.0), (quantity.high, 1.0)]
    if quantity.title == "Hue":
        ticks[1:1] = _HUES
    labels = "".join(
        f'<span class="x" style="left:{100 * place:.1f}%;'
        f'transform:translateX({_shift(place)}%)">{name}</span>'
        for name, place in ticks
    )
    return (
        f'<section class="card"><h3>{quantity.title}</h3><ul class="legend">{legend}</ul>'
        '<div class="plot still"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none"'
        f' aria-hidden="true"><path class="grid" d="M0 1000H1000"/>{curves}</svg>{labels}</div>'
        "</section>"
    )


def _curve(name: str, mean: Shares, highest: float) -> str:
    """The bins' centres joined; for training sets filled down to the axis."""
    points = [
        f"{1000 * (place + 0.5) / BINS:.1f} {1000 - 960 * float(share) / highest:.1f}"
        for place, share in enumerate(mean)
    ]
    line = "L".join(points)
    start, end = 500 / BINS, 1000 - 500 / BINS
    area = f'<path class="area" d="M{start:.1f} 1000L{line}L{end:.1f} 1000Z"/>'
    return f'{area if name in ("a", "b") else ""}<path class="bold" d="M{line}"/>'


def _mean_of(quantity: Quantity, mean: Shares) -> str:
    """The mean level in words; that of a circle of hues says nothing."""
    if quantity.title == "Hue":
        return ""
    level = float(mean @ (np.arange(BINS) + 0.5)) / BINS
    return f" <b>{level:.0%}</b>"


def _shift(place: float) -> int:
    """How far a label moves, in percent of its width, to stay below the axis."""
    return {0.0: 0, 1.0: -100}.get(place, -50)
