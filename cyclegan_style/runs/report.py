"""``report.html``: all that a run has shown so far in one file that needs no network."""

import base64
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, cast

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from cyclegan_style.config import Config, to_dict
from cyclegan_style.models.export import CONFIG_FILE
from cyclegan_style.data.images import ImageError, read_image, to_pillow
from cyclegan_style.runs.tracking import METRICS_FILE
from cyclegan_style.system.whole_files import write_durably

REPORT_FILE = "report.html"
TEMPLATE_FILE = "report_template.html"

MAX_POINTS = 600
MAX_SAMPLES = 12
SAMPLE_WIDTHS = (1000, 800, 640, 500, 360)
SAMPLE_BYTES = 220_000
THUMBNAIL_SIZE = (280, 90)
FEW_POINTS = 16
LARGEST_STEP = 2**53
SLOWEST = 1e-9
COLOURS = 6
LARGEST_NUMBER = 1e100
"""Beyond it a number is drawn like a missing one."""

FIRST_GROUPS = ("adversarial", "discriminator", "cycle", "identity")
LAST_GROUPS = ("lr", "images_per_second")
FROM_ZERO = LAST_GROUPS
TITLES = {
    "adversarial": "Adversarial loss",
    "discriminator": "Discriminator loss",
    "cycle": "Cycle loss",
    "identity": "Identity loss",
    "lr": "Learning rate",
    "images_per_second": "Speed, images/s",
    "psnr": "PSNR, dB (higher is better)",
    "ssim": "SSIM (higher is better)",
    "fid": "FID (lower is better)",
    "kid": "KID (lower is better)",
    "swd": "SWD (lower is better)",
    "art_fid": "ArtFID (lower is better)",
    "lpips": "LPIPS to the input",
    "precision": "Precision (higher is better)",
    "recall": "Recall (higher is better)",
    "structure": "Structure kept (SSIM of edges)",
}
LABELS = {"ab": "A → B", "ba": "B → A", "a": "A", "b": "B", "lr": "rate"}
BADGES = {"training": "training", "finished": "good", "diverged": "bad"}

Floats = NDArray[np.float64]
Row = dict[str, float]


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


@dataclass(frozen=True)
class Picture:
    """A sample sheet, and a small one for the strip, as data URIs."""

    uri: str
    thumbnail: str
    width: int
    height: int


def write_report(
    run: Path,
    total_steps: int,
    hardware: str,
    state: str = "training",
    images_per_step: int | None = None,
) -> Path:
    """Write the report of a run's folder as it is now.

    ``images_per_step`` counts all processes and turns speeds into durations; without it, the
    configuration's batch size for one process does.
    """
    config = read_config(run / CONFIG_FILE)
    rows = read_metrics(run / METRICS_FILE)
    charts = build_charts(rows)
    samples = read_samples(run / "samples")
    name = run.resolve().name or str(run)
    step = int(rows[-1]["step"]) if rows else max(samples, default=0)
    percent = min(100, 100 * step // max(total_steps, 1))
    seconds = line_seconds(rows, images_per_step or images_in_step(config))
    page = Template(files("cyclegan_style.runs").joinpath(TEMPLATE_FILE).read_text(encoding="utf-8"))
    text = page.substitute(
        page_title=escape(f"{percent} % · {name} · {state}"),
        name=escape(name),
        badge=f'<span class="badge {BADGES.get(state, "other")}">{escape(state)}</span>',
        updated=written_at(state),
        percent=percent,
        tiles=tiles_html(rows, step, total_steps, state, seconds),
        samples=samples_html(samples),
        charts=charts_html(charts),
        hardware=escape(hardware) or "not known",
        config=config_html(config),
        data=embedded_json(charts, list(samples)),
    )
    path = run / REPORT_FILE
    write_durably(path, text.encode("utf-8", "replace"))
    return path


def written_at(state: str) -> str:
    """When the report was written, and when there will be a newer one."""
    time = f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
    return time + (" and again at each sample; reload to see it." if state == "training" else ".")


# What the run folder holds


def read_config(path: Path) -> dict[str, Any]:
    """The sections of config.yaml, none if there is no such file."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def read_metrics(path: Path) -> list[Row]:
    """Numbers of the logged steps in order; what is no line of metrics is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    by_step: dict[int, Row] = {}
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            continue  # cut off when the run was killed
        if not isinstance(values, dict):
            continue
        row = {key: value for key, value in values.items() if is_number(value)}
        if 0 <= row.get("step", -1) < LARGEST_STEP:
            by_step[int(row["step"])] = row
    return [by_step[step] for step in sorted(by_step)]


def is_number(value: object) -> bool:
    """Whether a value of metrics.jsonl can be drawn."""
    # Exact types, as JSON gives them: a truth value is an int, too.
    return type(value) in (float, int) and abs(cast(float, value)) < LARGEST_NUMBER


def read_samples(folder: Path) -> dict[int, Picture]:
    """A few sample sheets by step, from the first to the newest."""
    found = {}
    for path in folder.glob("step-*.png"):
        if match := re.fullmatch(r"step-(\d{1,15})\.png", path.name):
            found[int(match[1])] = path
    samples = {}
    for step in spread(sorted(found), MAX_SAMPLES):
        try:
            status = found[step].stat()
            samples[step] = encode_sample(found[step], status.st_mtime_ns, status.st_size)
        except (OSError, ImageError):
            continue
    return samples


def spread(steps: Sequence[int], count: int) -> list[int]:
    """At most so many of the steps, evenly spread, the first and the last among them."""
    if len(steps) <= count:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (count - 1))] for place in range(count)]


@lru_cache(maxsize=128)  # each sample was once the newest, so later reports decode only one
def encode_sample(path: Path, _modified: int, _size: int) -> Picture:
    """A sample sheet as JPEG, narrowed until it is small enough for the report."""
    image = to_pillow(read_image(path)).convert("RGB")
    for width in SAMPLE_WIDTHS:
        size = (width, max(1, round(image.height * width / image.width)))
        scaled = image.resize(size, reducing_gap=2.0) if width < image.width else image
        content = jpeg(scaled)
        if len(content) <= SAMPLE_BYTES:
            break
    small = jpeg(top_left(image))
    return Picture(data_uri(content), data_uri(small), scaled.width, scaled.height)


def top_left(image: Image.Image) -> Image.Image:
    """The first pictures of a sheet, small."""
    width, height = THUMBNAIL_SIZE
    right = max(1, image.width // 2)
    bottom = max(1, min(image.height, right * height // width))
    return image.resize(THUMBNAIL_SIZE, box=(0, 0, right, bottom), reducing_gap=2.0)


def jpeg(image: Image.Image) -> bytes:
    """A picture's JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return file.getvalue()


def data_uri(content: bytes) -> str:
    """A JPEG file as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


# Curves


def build_charts(rows: Sequence[Row]) -> list[Chart]:
    """A chart for each group of keys: losses, then scores, learning rate and speed."""
    groups: dict[str, list[str]] = {name: [] for name in FIRST_GROUPS}
    for key in dict.fromkeys(key for row in rows for key in row):
        if key not in ("step", "epoch"):
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


# Durations


def images_in_step(config: Mapping[str, Any]) -> int:
    """Images of one process's step by the configuration."""
    try:
        return int(config["train"]["batch_size"]) * int(config["train"]["accumulation_steps"])
    except (KeyError, TypeError, ValueError):
        return 1


def line_seconds(rows: Sequence[Row], images_per_step: int) -> list[float]:
    """How long the steps behind each line of metrics took."""
    befores = [0.0, *(row["step"] for row in rows)]
    return [
        (row["step"] - before) * images_per_step / row["images_per_second"]
        if row.get("images_per_second", 0) > SLOWEST
        else 0.0
        for row, before in zip(rows, befores, strict=False)
    ]


def remaining_seconds(rows: Sequence[Row], seconds: Sequence[float], total_steps: int) -> float:
    """Time to the last step at the speed of the last ten lines."""
    before = rows[-11]["step"] if len(rows) > 10 else 0
    last = rows[-1]["step"]
    return max(0, total_steps - last) * sum(seconds[-10:]) / max(1, last - before)


def duration(seconds: float) -> str:
    """A duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# HTML


def tiles_html(
    rows: Sequence[Row], step: int, total_steps: int, state: str, seconds: Sequence[float]
) -> str:
    """The few facts that a person looks for first."""
    tiles = [("Step", f"{step:,}", f"of {total_steps:,}")]
    if rows:
        tiles.append(("Epoch", f"{rows[-1].get('epoch', 0):.1f}", ""))
        tiles.append(("Elapsed", duration(sum(seconds)), "in training"))
        if state == "training" and step < total_steps:
            left = remaining_seconds(rows, seconds, total_steps)
            tiles.append(("Remaining", duration(left), "at the present speed"))
        speed = rows[-1].get("images_per_second", 0)
        tiles.append(("Speed", f"{speed:.3g}", "images/s, last measured"))
        tiles.append(("Learning rate", f"{rows[-1].get('lr', 0):.3g}", ""))
    return "".join(
        f'<div class="card"><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>'
        for name, value, note in tiles
    )


def samples_html(samples: Mapping[int, Picture]) -> str:
    """The sample sheets, the newest shown, with a slider and a strip to choose another."""
    if not samples:
        return '<p class="soft">No samples yet.</p>'
    newest = max(samples)
    sheets, strip = [], []
    for step, picture in samples.items():
        shown = step == newest
        sheets.append(
            f'<figure class="sample{" shown" if shown else ""}">'
            f'<img src="{picture.uri}" width="{picture.width}" height="{picture.height}"'
            f' alt="Test pictures of both domains and their translations at step {step:,}">'
            f'<figcaption class="hidden">Step {step:,}</figcaption></figure>'
        )
        strip.append(
            f'<button type="button" aria-pressed="{str(shown).lower()}"'
            f' aria-label="Show the sample of step {step:,}">'
            f'<img src="{picture.thumbnail}" alt="">{step:,}</button>'
        )
    last = len(samples) - 1
    return (
        f'<div class="sheets">{"".join(sheets)}</div>'
        '<div class="slide"><label for="slider">Step</label>'
        f'<input type="range" id="slider" min="0" max="{last}" value="{last}"'
        f' aria-valuetext="step {newest:,}">'
        f'<output for="slider" id="shown">step {newest:,}</output></div>'
        f'<div class="strip">{"".join(strip)}</div>'
    )


def charts_html(charts: Sequence[Chart]) -> str:
    """All curves, or that there are none."""
    if not charts:
        return '<p class="card soft">No metrics yet.</p>'
    return (
        '<p class="soft note">Faint: as measured. Bold: moving average.</p>'
        f'<div class="charts">{"".join(map(chart_html, charts))}</div>'
    )


def chart_html(chart: Chart) -> str:
    """One chart: its legend, which doubles as read-out, and its plot."""
    title, last = escape(chart.title), chart.steps[-1]
    legend = "".join(
        f'<li class="c{place % COLOURS}" title="{escape(curve.key)}">{escape(curve.label)}'
        f" <b>{number(curve.values[-1])}</b></li>"
        for place, curve in enumerate(chart.curves)
    )
    return (
        f'<section class="card chart"><header><h3>{title}</h3>'
        f'<span class="soft at">step {last:,}</span></header><ul class="legend">{legend}</ul>'
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


def config_html(config: Mapping[str, Any]) -> str:
    """The configuration by sections, what differs from the defaults in bold."""
    if not config:
        return '<p class="soft">No configuration found.</p>'
    defaults = to_dict(Config())
    sections = [
        section_html(str(name), fields, defaults.get(name, {}))
        for name, fields in config.items()
        if isinstance(fields, Mapping)
    ]
    return f'<p class="soft">Bold: not the default.</p><div class="setup">{"".join(sections)}</div>'


def section_html(name: str, fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """A section of the configuration."""
    entries = []
    for key, value in fields.items():
        chosen = ' class="chosen"' if key not in defaults or defaults[key] != value else ""
        text = value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)
        entries.append(f"<div{chosen}><dt>{escape(str(key))}</dt><dd>{escape(text)}</dd></div>")
    return f"<section><h3>{escape(name)}</h3><dl>{''.join(entries)}</dl></section>"


def embedded_json(charts: Sequence[Chart], samples: Sequence[int]) -> str:
    """The data of the page's script, in which no text can end the script element."""
    data = {
        "charts": [
            {
                "name": chart.name,
                "end": axes_of(chart).end,
                "steps": chart.steps,
                "curves": [
                    {"key": curve.key, "label": curve.label, "values": curve.values}
                    for curve in chart.curves
                ],
            }
            for chart in charts
        ],
        "samples": samples,
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
