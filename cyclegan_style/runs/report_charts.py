"""The curves of a run's metrics as drawings of the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan_style.runs.health import PREFIX
from cyclegan_style.runs.tracking import Row

MAX_POINTS = 600
FEW_POINTS = 16
COLOURS = 6

FIRST_GROUPS = ("adversarial", "discriminator", "cycle", "identity", "paired", "content", "style")
LAST_GROUPS = ("lr", "images_per_second")
FROM_ZERO = LAST_GROUPS
TITLES = {
    "adversarial": "Adversarial loss",
    "discriminator": "Discriminator loss",
    "cycle": "Cycle loss",
    "identity": "Identity loss",
    "paired": "Distance to the truth of known pairs",
    "content": "Content loss",
    "style": "Style loss",
    "variation": "Total variation",
    "lr": "Learning rate",
    "images_per_second": "Speed, images/s",
    "psnr": "PSNR, dB (higher is better)",
    "ssim": "SSIM (higher is better)",
    "sharpness": "Sharpness against the truth (1 is right)",
    "fid": "FID (lower is better)",
    "fd_squeezenet": "Fréchet distance, SqueezeNet (lower is better)",
    "kid": "KID (lower is better)",
    "swd": "SWD (lower is better)",
    "art_fid": "ArtFID (lower is better)",
    "lpips": "LPIPS to the input",
    "squeezenet_distance": "SqueezeNet distance to the input",
    "precision": "Precision (higher is better)",
    "recall": "Recall (higher is better)",
    "structure": "Structure kept (SSIM of edges)",
}
LABELS = {"ab": "A → B", "ba": "B → A", "a": "A", "b": "B", "lr": "rate"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One key of metrics.jsonl; None where a step lacks it."""

    key: str
    label: str
    values: list[float | None]
    smooth: list[float | None]


@dataclass(frozen=True)
class Chart:
    """Curves that share their axes."""

    name: str
    title: str
    steps: list[int]
    curves: list[Curve]
    limit: float | None = None
    """Where a line is drawn that values should not cross."""


@dataclass(frozen=True)
class Axes:
    """Steps from 0 and values as places on a square of 1000 × 1000."""

    end: int
    low: float
    high: float

    def x(self, step: float) -> float:
        """Distance from the left."""
        return 1000 * step / self.end

    def y(self, value: float) -> float:
        """Distance from the top."""
        return 1000 * (self.high - value) / (self.high - self.low)

    def path(self, kind: str, points: Sequence[tuple[int, float]], joined: bool = True) -> str:
        """The points as a line, or each as a dot."""
        places = [f"{self.x(step):.1f} {self.y(value):.1f}" for step, value in points]
        drawn = "M" + "L".join(places) if joined else "".join(f"M{place}h0" for place in places)
        return f'<path class="{kind}" d="{drawn}"/>'


# What is measured


def build_charts(rows: Sequence[Row]) -> list[Chart]:
    """A chart for each group of keys: losses, then scores, learning rate and speed."""
    groups: dict[str, list[str]] = {name: [] for name in FIRST_GROUPS}
    for key in dict.fromkeys(key for row in rows for key in row):
        if key in ("step", "epoch") or key.startswith(PREFIX):
            continue
        if group_of(key) in FIRST_GROUPS and not any(row.get(key) for row in rows):
            continue  # a loss without a weight
        groups.setdefault(group_of(key), []).append(key)
    for name in LAST_GROUPS:
        groups[name] = groups.pop(name, [])
    return [build_chart(name, sorted(keys), rows) for name, keys in groups.items() if keys]


def group_of(key: str) -> str:
    """Keys that differ only after their last underscore are drawn together."""
    return key if key in LAST_GROUPS else key.rpartition("_")[0] or key


def build_chart(name: str, keys: Sequence[str], rows: Sequence[Row]) -> Chart:
    """The curves of a group at the steps that have any of its keys, thinned if there are many."""
    rows = [row for row in rows if not row.keys().isdisjoint(keys)]
    steps = [int(row["step"]) for row in rows]
    values = np.array([[row.get(key, math.nan) for row in rows] for key in keys], float)
    kept = thinned(values, MAX_POINTS)
    curves = [
        Curve(key, label_of(key), plain(series[kept]), plain(smoothed(series)[kept]))
        for key, series in zip(keys, values, strict=True)
    ]
    title = TITLES.get(name, name.replace("_", " ").capitalize())
    return Chart(name, title, [steps[place] for place in kept], curves)


def label_of(key: str) -> str:
    """What tells a key from the others of its chart."""
    if key == "images_per_second":
        return "images/s"
    ending = key.rpartition("_")[2]
    return LABELS.get(ending, ending)


def thinned(values: Floats, limit: int) -> list[int]:
    """Places to draw: both ends, and each curve's lowest and highest point in every stretch."""
    curves, count = values.shape
    if count <= limit:
        return list(range(count))
    lows = np.where(np.isnan(values), np.inf, values)
    highs = np.where(np.isnan(values), -np.inf, values)
    kept = {0, count - 1}
    for stretch in np.array_split(np.arange(1, count - 1), max(1, (limit - 2) // (2 * curves))):
        kept.update(stretch[lows[:, stretch].argmin(1)].tolist())
        kept.update(stretch[highs[:, stretch].argmax(1)].tolist())
    return sorted(kept)


def smoothed(series: Floats) -> Floats:
    """Centred moving average, taken twice, of 4 % to either side and a tenth of it at the ends."""
    present = ~np.isnan(series)
    known = series[present]
    places = np.arange(len(known))
    reach = np.clip(np.minimum(places, places[::-1]), len(known) // 250, len(known) // 25)
    begins, ends = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(known))
    for _ in range(2):
        sums = np.concatenate([[0.0], np.cumsum(known)])
        known = (sums[ends] - sums[begins]) / (ends - begins)
    result = np.full_like(series, math.nan)
    result[present] = known
    return result


def plain(series: Floats) -> list[float | None]:
    """Numbers as JSON has them."""
    return [None if math.isnan(value) else value for value in series.tolist()]


# How it is drawn


def charts_html(charts: Sequence[Chart]) -> str:
    """All curves, or that there are none."""
    if not charts:
        return '<p class="card soft">No metrics yet.</p>'
    return (
        '<p class="soft note">Faint: as measured. Bold: moving average.</p>'
        f'<div class="charts">{"".join(map(chart_html, charts))}</div>'
    )


def chart_html(chart: Chart, note: str = "") -> str:
    """One chart: a note, its legend, which doubles as read-out, and its plot."""
    title, last = escape(chart.title), chart.steps[-1]
    legend = "".join(
        f'<li class="c{place % COLOURS}" title="{escape(curve.key)}">{escape(curve.label)}'
        f" <b>{number(curve.values[-1])}</b></li>"
        for place, curve in enumerate(chart.curves)
    )
    return (
        f'<section class="card chart"><header><h3>{title}</h3>'
        f'<span class="soft at">step {last:,}</span></header>{note}<ul class="legend">{legend}</ul>'
        f'<p class="hidden">{escape(summary_of(chart))}</p>'
        f'<div class="plot" tabindex="0" role="slider" aria-label="{title} by step"'
        f' aria-valuemin="{chart.steps[0]}" aria-valuemax="{last}" aria-valuenow="{last}">'
        f"{plot_html(chart)}<i hidden></i></div></section>"
    )


def summary_of(chart: Chart) -> str:
    """The curves in words."""
    parts = []
    for curve in chart.curves:
        known = [value for value in curve.values if value is not None]
        parts.append(
            f"{curve.label}: first {number(known[0])}, last {number(known[-1])},"
            f" lowest {number(min(known))}, highest {number(max(known))}"
        )
    return "; ".join(parts) + "."


def plot_html(chart: Chart) -> str:
    """Grid, curves and tick labels; the drawing stretches while lines and letters keep size."""
    axes = axes_of(chart)
    grid, labels = [], []
    for tick in ticks(axes.low, axes.high, 4):
        top = axes.y(tick)
        grid.append(f'<path class="grid" d="M0 {top:.1f}H1000"/>')
        labels.append(f'<span class="y" style="top:{top / 10:.2f}%">{number(tick)}</span>')
    for tick in ticks(0, axes.end, 5):
        left = axes.x(tick) / 10
        labels.append(f'<span class="x" style="left:{left:.2f}%">{short(tick)}</span>')
    if chart.limit is not None:
        grid.append(f'<path class="limit" d="M0 {axes.y(chart.limit):.1f}H1000"/>')
    layers = [paths_of(axes, chart.steps, curve) for curve in chart.curves]
    curves = [
        f'<g class="c{place % COLOURS}">{layer}</g>'
        for level in zip(*layers, strict=True)  # no curve's measurements above another's average
        for place, layer in enumerate(level)
    ]
    return (
        '<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(grid + curves)}</svg>{''.join(labels)}"
    )


def paths_of(axes: Axes, steps: Sequence[int], curve: Curve) -> tuple[str, str]:
    """What was measured, faint, and its moving average; few measurements as dots, joined."""
    raw = drawable(steps, curve.values)
    if len(raw) <= FEW_POINTS:
        return "", axes.path("bold", raw) + axes.path("dots", raw, joined=False)
    if curve.key == "lr":
        return "", axes.path("bold", raw)
    return axes.path("raw", raw), axes.path("bold", drawable(steps, curve.smooth))


def drawable(steps: Sequence[int], values: Sequence[float | None]) -> list[tuple[int, float]]:
    """The steps that have a value, with it."""
    return [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]


def axes_of(chart: Chart) -> Axes:
    """Axes on which all values of a chart have room."""
    values = [value for curve in chart.curves for value in curve.values if value is not None]
    values += [] if chart.limit is None else [chart.limit]
    low, high = min(values), max(values)
    if chart.name in FROM_ZERO:
        low = min(low, 0.0)
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # a constant lies in the middle
        room = abs(high) / 2 or 1.0
    else:
        room = (high - low) / 20
    below = 0.0 if low == 0.0 and high > 0 else room
    return Axes(max(chart.steps[-1], 1), low - below, high + room)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About so many round numbers between two numbers."""
    wanted = (high - low) / count
    power = 10.0 ** math.floor(math.log10(wanted))
    distance = next(m * power for m in (1, 2, 2.5, 5, 10, 20) if m * power >= wanted)
    first, last = math.ceil(low / distance), math.floor(high / distance + 1e-9)
    return [place * distance for place in range(first, last + 1)]


def number(value: float | None) -> str:
    """A measured number with four digits, as the page's script writes it."""
    if value is None:
        return "–"
    rounded = float(f"{value:.4g}")
    return f"{rounded:.9f}".rstrip("0") if 1e-6 <= abs(rounded) < 1e-4 else f"{rounded:.15g}"


def short(step: float) -> str:
    """A step for an axis: 500, 2.5k, 1M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if step >= size:
            return f"{step / size:g}{letter}"
    return f"{step:g}"


def chart_data(chart: Chart) -> dict[str, Any]:
    """What the page's script needs of a chart."""
    curves = [{"key": c.key, "label": c.label, "values": c.values} for c in chart.curves]
    return {"name": chart.name, "end": axes_of(chart).end, "steps": chart.steps, "curves": curves}
