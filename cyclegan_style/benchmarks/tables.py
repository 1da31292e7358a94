"""Tables of scores, as Markdown and as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

DIGITS = {"fd_squeezenet": 1, "swd": 1, "grid": 2, "psnr": 2, "sharpness": 2}
"""After the point; the others have three."""
ARROWS = {1: " ↑", -1: " ↓", 0: ""}


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    """In lines, of which Markdown makes one."""
    kind: str = ""
    """better or worse, which are shown as such."""


Row = list[Cell]


def number(name: str, value: float, sign: str = "") -> str:
    """A score as it is written."""
    return f"{value:{sign}.{DIGITS.get(name, 3)}f}".replace("-", "−")


def markdown(rows: Sequence[Row]) -> str:
    """A table whose first row is its head."""
    lines = ["| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def markdown_text(cell: Cell) -> str:
    """A cell in which nothing ends the cell."""
    text = " ".join(cell.text.split()).replace("|", "\\|")
    return f"**{text}**" if cell.kind in ("better", "worse") else text


def html(rows: Sequence[Row]) -> str:
    """A table whose first row is its head."""
    head, *others = rows
    titles = "".join(f"<th>{escape(cell.text)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(map(cell_html, row))}</tr>" for row in others)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def cell_html(cell: Cell) -> str:
    """A cell with the look of what it says."""
    look = f' class="{cell.kind}"' if cell.kind in ("better", "worse", "soft") else ""
    text = escape(cell.text).replace("\n", "<br>")
    return f"<td{look}>{text}</td>"
