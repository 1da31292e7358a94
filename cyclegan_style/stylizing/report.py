"""The page about a painting: how it came about, in one file that needs no network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path

from PIL import Image

from cyclegan_style.data.images import Pixels, to_pillow, to_pixels
from cyclegan_style.runs.report import duration
from cyclegan_style.runs.report_charts import Chart, build_chart, charts_html
from cyclegan_style.runs.report_page import page_of, section_html, template, tiles_of
from cyclegan_style.runs.report_pictures import (
    MAX_SAMPLES,
    THUMBNAIL_SIZE,
    Picture,
    encode,
    figure_html,
    samples_html,
    spread,
)
from cyclegan_style.stylizing.painting import Moment
from cyclegan_style.stylizing.recipe import LayerWeights, Recipe
from cyclegan_style.stylizing.stylizer import Painting, StyleSource
from cyclegan_style.system.whole_files import write_durably

TEMPLATE_FILE = "report_painting.html"
PARTS = ("content", "style", "variation")
"""Of the loss."""


class Previews:
    """Pictures of a few steps, evenly spread, the first and the last among them."""

    def __init__(self, steps: int) -> None:
        self.wanted = set(spread(range(1, steps + 1), MAX_SAMPLES))
        self.pictures: dict[int, Picture] = {}

    def note(self, moment: Moment) -> None:
        """Keep the picture if it is one of the few."""
        if moment.step in self.wanted:
            self.pictures[moment.step] = encoded(to_pixels(moment.picture[0]))


@dataclass(frozen=True)
class Sitting:
    """All that there is to tell about a painting."""

    recipe: Recipe
    name: str
    """Of the content."""
    content: Pixels
    styles: Sequence[tuple[str, StyleSource]]
    """With their names."""
    painting: Painting
    previews: dict[int, Picture] = field(default_factory=dict)
    seconds: float = 0.0


def write_report(path: Path, sitting: Sitting) -> None:
    """Write the page about a painting."""
    painting = sitting.painting
    styles = ", ".join(name for name, _ in sitting.styles)
    charts = build_loss_charts(painting.history)
    badge = ("bad", "stopped") if painting.problem else ("good", "finished")
    main = template("cyclegan_style.stylizing", TEMPLATE_FILE).substitute(
        name=escape(f"{sitting.name} in the style of {styles}"),
        badge=f'<span class="badge {badge[0]}">{badge[1]}</span>',
        written=escape(
            f"Painted {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}. {painting.problem or ''}"
        ),
        tiles=tiles_html(sitting),
        pictures=pictures_html(sitting),
        previews=samples_html(sitting.previews, "The painting"),
        charts=charts_html(charts),
        layers=layers_html(painting),
        recipe=section_html("All of it", asdict(sitting.recipe), asdict(Recipe())),
    )
    text = page_of(f"{sitting.name} · {styles}", main, charts, list(sitting.previews))
    write_durably(path, text.encode("utf-8", "replace"))


def build_loss_charts(history: Sequence[Moment]) -> list[Chart]:
    """A chart for each part of the loss that is more than nothing."""
    rows = [
        {"step": moment.step, **{part: getattr(moment, part) for part in PARTS}}
        for moment in history
    ]
    return [
        build_chart(f"{part}_loss", [part], rows)
        for part in PARTS
        if any(row[part] for row in rows)
    ]


def encoded(pixels: Pixels) -> Picture:
    """A picture and a small one for the strip."""
    image = to_pillow(pixels).convert("RGB")
    small = image.copy()
    small.thumbnail((THUMBNAIL_SIZE[0], THUMBNAIL_SIZE[0]), Image.Resampling.BICUBIC)
    return encode(image, small)


# HTML


def tiles_html(sitting: Sitting) -> str:
    """The few facts that a person looks for first."""
    history = sitting.painting.history
    height, width = sitting.painting.pixels.shape[:2]
    tiles = [
        ("Steps", f"{len(history):,}", f"of {sitting.recipe.steps:,}"),
        ("Time", duration(sitting.seconds), ""),
        ("Size", f"{width} × {height}", "pixels"),
    ]
    if history:
        last = history[-1]
        tiles[2] = ("Size", f"{width} × {height}", f"painted at {last.width} × {last.height}")
        tiles.append(("Loss", f"{last.total:.4g}", f"{history[0].total:.4g} at first"))
    return tiles_of(tiles)


def pictures_html(sitting: Sitting) -> str:
    """Content, styles with their masks, and the result, side by side."""
    figures = [figure_html(encoded(sitting.content), f"Content: {sitting.name}")]
    shares = sum(style.weight for _, style in sitting.styles)
    for name, style in sitting.styles:
        share = f", {style.weight / shares:.0%}" if len(sitting.styles) > 1 else ""
        figures.append(figure_html(encoded(style.pixels), f"Style: {name}{share}"))
        if style.mask is not None:
            figures.append(figure_html(encoded(style.mask), f"Where {name} is wanted"))
    figures.append(figure_html(encoded(sitting.painting.pixels), "Result"))
    return f'<div class="pictures">{"".join(figures)}</div>'


def layers_html(painting: Painting) -> str:
    """Which layers were compared, and why."""
    reasons = escape("\n".join(painting.reasons))
    measured = f'<p class="soft reasons">{reasons}</p>' if reasons else ""
    uses: Sequence[tuple[str, LayerWeights]] = (
        ("Content layers", painting.content_layers),
        ("Style layers", painting.style_layers),
    )
    sections = "".join(section_html(name, layers, layers) for name, layers in uses)
    return f'{measured}<div class="setup">{sections}</div>'
