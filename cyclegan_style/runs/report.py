"""``report.html``: all that a run has shown so far in one file that needs no network."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import yaml

from cyclegan_style.config import Config, from_yaml, to_dict
from cyclegan_style.models.export import CONFIG_FILE
from cyclegan_style.runs.report_charts import build_charts, charts_html
from cyclegan_style.runs.report_health import health_charts, health_html
from cyclegan_style.runs.report_page import page_of, section_html, template, tiles_of
from cyclegan_style.runs.report_pictures import read_samples, samples_html
from cyclegan_style.runs.tracking import METRICS_FILE, Row, read_metrics
from cyclegan_style.system.whole_files import write_durably

REPORT_FILE = "report.html"
TEMPLATE_FILE = "report_run.html"
SAMPLES_SHOW = "Test pictures of both domains and their translations"
SLOWEST = 1e-9
BADGES = {"training": "training", "finished": "good", "diverged": "bad"}


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
    ails, charts = health_charts(rows), build_charts(rows)
    samples = read_samples(run / "samples")
    name = run.resolve().name or str(run)
    step = int(rows[-1]["step"]) if rows else max(samples, default=0)
    percent = min(100, 100 * step // max(total_steps, 1))
    seconds = line_seconds(rows, images_per_step or images_in_step(config))
    main = template("cyclegan_style.runs", TEMPLATE_FILE).substitute(
        name=escape(name),
        badge=f'<span class="badge {BADGES.get(state, "other")}">{escape(state)}</span>',
        updated=written_at(state),
        percent=percent,
        tiles=tiles_html(rows, step, total_steps, state, seconds),
        samples=samples_html(samples, SAMPLES_SHOW),
        health=health_html(ails, rows, total_steps),
        charts=charts_html(charts),
        hardware=escape(hardware) or "not known",
        config=config_html(config),
    )
    text = page_of(f"{percent} % · {name} · {state}", main, [*ails, *charts], list(samples))
    path = run / REPORT_FILE
    write_durably(path, text.encode("utf-8", "replace"))
    return path


def written_at(state: str) -> str:
    """When the report was written, and when there will be a newer one."""
    time = f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
    return time + (" and again at each sample; reload to see it." if state == "training" else ".")


def read_config(path: Path) -> dict[str, Any]:
    """The sections of config.yaml, none if there is no such file."""
    try:
        config = from_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


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
    return tiles_of(tiles)


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
    task = escape(str(config.get("task", Config.task)))
    said = f'<p class="soft">Task {task}. Bold: not the default.</p>'
    return f'{said}<div class="setup">{"".join(sections)}</div>'
