"""What pages of every report share: a file that needs no network, and parts of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from cyclegan_style.runs.report_charts import Chart, chart_data

PAGE_FILE = "report_page.html"


def page_of(title: str, main: str, charts: Sequence[Chart], samples: Sequence[int]) -> str:
    """The whole page around its main part, with the script that its charts and samples need."""
    return template("cyclegan_style.runs", PAGE_FILE).substitute(
        page_title=escape(title), main=main, data=embedded_json(charts, samples)
    )


def template(package: str, file: str) -> Template:
    """A template that lies beside the modules of a package."""
    return Template(files(package).joinpath(file).read_text(encoding="utf-8"))


def tiles_of(tiles: Iterable[tuple[str, str, str]]) -> str:
    """The few facts that a person looks for first: name, value and a note."""
    return "".join(
        f'<div class="card"><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>'
        for name, value, note in tiles
    )


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
    data = {"charts": [chart_data(chart) for chart in charts], "samples": samples}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
