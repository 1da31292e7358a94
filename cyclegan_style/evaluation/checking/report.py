"""The page about a check: what was found, with the pictures, in one file that needs no network."""

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TypeVar

from PIL import Image

from cyclegan_style.data.images import ImageError, read_image, to_pillow
from cyclegan_style.data.training_data import spread
from cyclegan_style.evaluation.checking.distributions import distributions_html
from cyclegan_style.evaluation.checking.examined import NAMES, Examined
from cyclegan_style.evaluation.checking.findings import NO_NEIGHBOURS, Findings, Pair
from cyclegan_style.runs.report_page import page_of, template, tiles_of
from cyclegan_style.runs.report_pictures import data_uri, jpeg
from cyclegan_style.system.whole_files import write_durably

TEMPLATE_FILE = "report_check.html"
MOST_SHOWN = 24
"""Pictures or pairs of a kind; the JSON names all."""

_SIDE = 160
_AT_A_GLANCE = 8

Thumbnails = dict[Path, str]
Item = TypeVar("Item")


def write_report(path: Path, findings: Findings) -> None:
    """Write the page about a check."""
    thumbnails = read_thumbnails(findings)
    names = [short_name(part.spec) for part in findings.sets if part.name in ("a", "b")]
    count = len(findings.problems)
    badge = ("bad", "1 problem" if count == 1 else f"{count} problems")
    main = template("cyclegan_style.evaluation.checking", TEMPLATE_FILE).substitute(
        name=escape(" and ".join(names)),
        badge='<span class="badge {}">{}</span>'.format(*(badge if count else ("good", "clean"))),
        written=f"Checked {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}.",
        tiles=tiles_html(findings),
        problems=sentences_html(findings.problems) or "<p>None found.</p>",
        remarks=remarks_html(findings.remarks),
        glance=glance_html(findings.sets, thumbnails),
        distributions=distributions_html(findings.sets),
        neighbours=neighbours_html(findings),
        found=found_html(findings, thumbnails),
    )
    text = page_of(f"{badge[1] if count else 'clean'} · {' and '.join(names)}", main, [], [])
    write_durably(path, text.encode("utf-8", "replace"))


def short_name(spec: str) -> str:
    """The end of a path, as much as tells what it is."""
    return spec if spec.startswith("demo:") else "/".join(Path(spec).parts[-2:])


def read_thumbnails(findings: Findings) -> Thumbnails:
    """Small ones of all pictures that the page shows, as data URIs."""
    wanted = [path for part in findings.sets for path in _glance_of(part)]
    for paths in (findings.blank, findings.grey, findings.borders, findings.outliers):
        wanted += paths[:MOST_SHOWN]
    for pairs in (findings.duplicates, findings.leaks, findings.shared):
        wanted += [path for pair in pairs[:MOST_SHOWN] for path in (pair.first, pair.second)]
    wanted = list(dict.fromkeys(wanted))
    with ThreadPool(4) as pool:
        return dict(zip(wanted, pool.map(thumbnail_of, wanted), strict=True))


def thumbnail_of(path: Path) -> str:
    """A small picture as a data URI; of a file that has gone bad since, nothing."""
    try:
        image = to_pillow(read_image(path))
    except ImageError:
        return ""
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return data_uri(jpeg(image))


def _glance_of(part: Examined) -> list[Path]:
    return [] if part.name.startswith("test_") else spread(part.paths, _AT_A_GLANCE)


# HTML


def tiles_html(findings: Findings) -> str:
    """How many pictures of which size each set has."""
    tiles = []
    for part in findings.sets:
        widths = [look.width for look in part.looks] or [0]
        heights = [look.height for look in part.looks] or [0]
        low, high = (f"{end(widths)} × {end(heights)}" for end in (min, max))
        sizes = low if low == high else f"{low} to {high}"
        title = f"{part.title[0].upper()}{part.title[1:]}"
        tiles.append((title, f"{len(part):,}", f"pictures, {sizes}"))
    copies = len(findings.duplicates) + len(findings.shared)
    tiles.append(("Copies", f"{copies:,}", "within and between domains"))
    if any(part.name.startswith("test_") for part in findings.sets):
        tiles.append(("Leaks", f"{len(findings.leaks):,}", "between training and test"))
    return tiles_of(tiles)


def sentences_html(sentences: Sequence[str]) -> str:
    """A list of sentences, nothing if there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="sentences">{items}</ul>' if items else ""


def remarks_html(remarks: Sequence[str]) -> str:
    """What may well be right, and is worth a look."""
    if not remarks:
        return ""
    return (
        '<h2 id="remarks">Worth a look</h2><section class="card" aria-labelledby="remarks">'
        f"{sentences_html(remarks)}</section>"
    )


def glance_html(sets: Sequence[Examined], thumbnails: Thumbnails) -> str:
    """A few pictures of each domain."""
    rows = []
    for part in sets:
        if paths := _glance_of(part):
            figures = "".join(f"<figure>{_image(path, thumbnails)}</figure>" for path in paths)
            title = f"<h3>{part.title}: {escape(part.spec)}</h3>"
            rows.append(f'<div class="card">{title}<div class="finds small">{figures}</div></div>')
    return f'<div class="stack">{"".join(rows)}</div>'


def neighbours_html(findings: Findings) -> str:
    """Whether the domains show the same things."""
    shares = {name: share for name, share in findings.neighbours.items() if share is not None}
    if not shares:
        return ""
    bars = []
    for name, share in shares.items():
        one, other = (NAMES[each] for each in name.split("_in_"))
        bars.append(
            f"<div><p>{one} in {other} <b>{share:.0%}</b></p>"
            f'<div class="bar" role="img" aria-label="{share:.0%}">'
            f'<div style="width:{100 * share:.0f}%"></div></div></div>'
        )
    return (
        '<h2 id="content">Do they show the same things?</h2>'
        '<section class="card" aria-labelledby="content"><p class="soft">Share of the pictures of'
        " one domain that find neighbours in the other as near as 90 % of them find in their own,"
        " by what SqueezeNet sees, the mean of each domain taken away. Domains of like content and"
        f" different styles reach 35 to 95 %; below {NO_NEIGHBOURS:.0%} a translation has to"
        f' invent.</p><div class="pair-of-bars">{"".join(bars)}</div></section>'
    )


def found_html(findings: Findings, thumbnails: Thumbnails) -> str:
    """Everything that was found, by kind."""
    errors = [error for part in findings.sets for error in part.errors]
    rows = "".join(
        f"<tr><td>{escape(str(error.path))}</td><td>{escape(error.reason)}</td></tr>"
        for error in errors[: 10 * MOST_SHOWN]
    )
    table = f'<div class="tables"><table class="files">{rows}</table></div>'
    parts = [_section("Unreadable files", table, len(errors), 10 * MOST_SHOWN)] if errors else []
    for title, pairs in (
        ("Leaks: the same picture in training and test", findings.leaks),
        ("The same picture in both domains", findings.shared),
        ("Copies within a set", findings.duplicates),
    ):
        parts += _section_of(title, pairs, lambda pair: _pair_html(pair, thumbnails), "pairs")
    for title, paths in (
        ("Blank", findings.blank),
        ("Greyscale", findings.grey),
        ("Framed", findings.borders),
        ("Farthest from the others", findings.outliers),
    ):
        parts += _section_of(title, paths, lambda path: _figure(path, thumbnails), "")
    return "".join(parts)


def _section_of(
    title: str, items: Sequence[Item], html: Callable[[Item], str], kind: str
) -> list[str]:
    if not items:
        return []
    shown = "".join(html(item) for item in items[:MOST_SHOWN])
    return [_section(title, f'<div class="finds {kind}">{shown}</div>', len(items), MOST_SHOWN)]


def _section(title: str, html: str, count: int, most: int) -> str:
    more = f'<p class="soft">and {count - most:,} more, which --json names.</p>'
    left = more if count > most else ""
    return (
        f'<h2>{title} <span class="soft">{count:,}</span></h2><div class="card">{html}{left}</div>'
    )


def _pair_html(pair: Pair, thumbnails: Thumbnails) -> str:
    first, second = (
        f"<figure>{_image(path, thumbnails)}{_caption(path, owner)}</figure>"
        for path, owner in zip((pair.first, pair.second), pair.sets, strict=True)
    )
    mirrored = '<span class="badge">mirrored</span>' if pair.mirrored else ""
    return f'<div class="two">{first}{second}{mirrored}</div>'


def _figure(path: Path, thumbnails: Thumbnails) -> str:
    return f"<figure>{_image(path, thumbnails)}{_caption(path)}</figure>"


def _image(path: Path, thumbnails: Thumbnails) -> str:
    name = escape(str(path), quote=True)
    return f'<img src="{thumbnails.get(path, "")}" alt="{name}" title="{name}" loading="lazy">'


def _caption(path: Path, owner: str = "") -> str:
    place = f"{owner}: " if owner else ""
    return f'<figcaption class="soft">{escape(place + path.name)}</figcaption>'
