"""The tables of recipes that were trained for the same time, and pictures by each of them."""

from datetime import datetime
from html import escape
from pathlib import Path

from cyclegan_style.benchmarks.recipe_scores import (
    HeldOut,
    Score,
    sign_of,
)
from cyclegan_style.benchmarks.recipe_table import Difference, Estimate, RecipeTable
from cyclegan_style.benchmarks.tables import ARROWS, Cell, Row, html, markdown, number
from cyclegan_style.config import to_dict
from cyclegan_style.config.directions import Direction
from cyclegan_style.data.images import Pixels, to_pillow, write_image
from cyclegan_style.evaluation.intervals import Interval
from cyclegan_style.runs.report import duration
from cyclegan_style.runs.report_page import page_of, template, tiles_of
from cyclegan_style.runs.report_pictures import encode
from cyclegan_style.runs.tracking import flatten
from cyclegan_style.system.whole_files import write_durably
from cyclegan_style.training.samples import sheet

PAGE_FILE, DOCUMENT_FILE = "recipes.html", "recipes.md"
TEMPLATE_FILE = "report_recipes.html"
TITLE = "Which recipe suits these pictures"
SHOWN = 6
"""Pictures of each direction in the strip."""
LEAST_SHOWN_SIDE = 128
"""Pixels; smaller pictures are enlarged in the strip."""
LETTER_WIDTH = 8
"""Pixels of a strip's titles, about."""
NOTES = (
    "↓: less is better, ↑: more is better. `structure` is that of the input's edges, all of which"
    " doing nothing keeps; of `grid`, a pattern of four pixels that strides leave, real pictures"
    " have about 1; of `sharpness`, against the truth, 1 is right.",
    "± is half of Student's 95 % interval of the mean over seeds. Where there is one seed, and for"
    " doing nothing and real pictures, which have none, the interval in brackets tells how far the"
    " score moves with other pictures, and nothing about other seeds.",
    "A recipe is called better or worse than the first only if the 95 % interval of the"
    " difference, in pairs of the same seed, excludes zero. Of many such words, one in twenty is"
    " chance.",
    "Real pictures are those that were trained on, as many as there are translations, against the"
    " test pictures; where there are no test pictures of their own, one half against the other. A"
    " Fréchet distance is larger of fewer pictures: compare it within a table only.",
    "Seconds are those of training, its start included, without checkpoints and samples.",
)


def write_tables(folder: Path, table: RecipeTable, held_out: HeldOut) -> None:
    """Write the strips, the document and the page of what is finished."""
    strips: dict[str, Pixels] = {}
    for direction in table.directions:
        strips[direction.name] = strip(folder, table, held_out, direction)
        write_image(folder / strip_file(direction), strips[direction.name])
    write_durably(folder / DOCUMENT_FILE, document(table).encode())
    write_durably(folder / PAGE_FILE, page(table, strips).encode("utf-8", "replace"))


def strip(folder: Path, table: RecipeTable, held_out: HeldOut, direction: Direction) -> Pixels:
    """The same test pictures by every recipe with its first seed."""
    runs = {
        name: folder / name / f"seed-{min(scored)}"
        for name, outcomes in table.outcomes.items()
        if (scored := [seed for seed, each in outcomes.items() if direction.name in each.scores])
    }
    columns = []
    for title, images in held_out.examples(direction, runs, SHOWN):
        shown = [large_enough(each) for each in images]
        columns.append((end_of(title, shown[0].shape[1] // LETTER_WIDTH), shown))
    return sheet(columns)


def large_enough(pixels: Pixels) -> Pixels:
    """A small picture with each pixel as a square of them."""
    times = -(-LEAST_SHOWN_SIDE // min(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)


def end_of(title: str, letters: int) -> str:
    """A title for which there is room; names of recipes often begin alike."""
    return title if len(title) <= letters else "…" + title[1 - letters :]


def strip_file(direction: Direction) -> str:
    """The name of a direction's strip."""
    return f"recipes-{direction.name}.png"


# What is said


def title_of(direction: Direction) -> str:
    """A direction for people."""
    return f"{direction.source.upper()} to {direction.target.upper()}"


def summary(table: RecipeTable) -> str:
    """What was done, in a sentence."""
    recipes = "one recipe" if len(table.recipes) == 1 else f"{len(table.recipes)} recipes"
    seeds = "one seed" if table.seeds == 1 else f"{table.seeds} seeds"
    return (
        f"{recipes}, {duration(60 * table.minutes)} of training with each of"
        f" {seeds}, on {table.device}; {table.finished} of {table.wanted} runs are finished."
    )


def score_rows(table: RecipeTable, direction: Direction) -> list[Row]:
    """Recipes and what they are held against, with all scores of a direction."""
    names = table.scores_shown(direction.name)
    rows = [[Cell(""), *(Cell(f"{name}{ARROWS[sign_of(name)]}") for name in names)]]
    for recipe in table.recipes:
        estimates = [table.estimate(recipe, direction.name, name) for name in names]
        cells = [estimate_text(*pair) for pair in zip(names, estimates, strict=True)]
        rows.append([Cell(recipe), *map(Cell, cells)])
    for title, scores in table.yardsticks.items():
        found = [scores[direction.name].get(name) for name in names]
        cells = [score_text(*pair) for pair in zip(names, found, strict=True)]
        rows.append([Cell(title, "soft"), *map(Cell, cells)])
    return rows


def difference_rows(table: RecipeTable, direction: Direction) -> list[Row]:
    """The other recipes' differences to the first."""
    names = table.scores_shown(direction.name)
    rows = [[Cell(f"minus {table.first}"), *(Cell(f"{n}{ARROWS[sign_of(n)]}") for n in names)]]
    for recipe in list(table.recipes)[1:]:
        cells = [
            difference_cell(name, table.difference(recipe, direction.name, name)) for name in names
        ]
        rows.append([Cell(recipe), *cells])
    return rows


def run_rows(table: RecipeTable) -> list[Row]:
    """How long every run was."""
    rows = [[Cell(each) for each in ("", "seed", "steps", "seconds", "")]]
    for recipe, outcomes in table.outcomes.items():
        for seed, outcome in sorted(outcomes.items()):
            numbers = (f"{seed}", f"{outcome.steps:,}", f"{outcome.seconds:.1f}")
            rows.append([Cell(recipe), *map(Cell, numbers), Cell(outcome.failure or "")])
    return rows


def field_rows(table: RecipeTable) -> list[Row]:
    """Fields that are not the same in all recipes; where a run lies is none of them."""
    fields = {name: flatten(to_dict(config)) for name, config in table.recipes.items()}
    names = next(iter(fields.values()))
    differing = [
        name
        for name in names
        if len({str(of[name]) for of in fields.values()}) > 1 and not name.startswith("run.")
    ]
    rows = [[Cell(""), *map(Cell, fields)]]
    rows += [[Cell(name), *(Cell(str(of[name])) for of in fields.values())] for name in differing]
    return rows


def estimate_text(name: str, found: Estimate | None) -> str:
    """A recipe's score with its uncertainty."""
    if found is None:
        return "–"
    if found.seeds == 1:
        return score_text(name, Score(found.value, found.interval))
    if found.interval is None:
        return number(name, found.value)
    half = (found.interval[1] - found.interval[0]) / 2
    return f"{number(name, found.value)} ± {number(name, half)}"


def score_text(name: str, found: Score | None) -> str:
    """A score with its own interval."""
    if found is None:
        return "–"
    return number(name, found.value) + brackets(name, found.interval)


def difference_cell(name: str, found: Difference | None) -> Cell:
    """A difference, its interval and what is to be thought of it."""
    if found is None:
        return Cell("–")
    text = number(name, found.value, sign="+") + brackets(name, found.interval, sign="+")
    return Cell(f"{text}\n{found.verdict}".strip(), found.verdict)


def brackets(name: str, interval: Interval | None, sign: str = "") -> str:
    """An interval, if there is one."""
    if interval is None:
        return ""
    low, high = (number(name, end, sign) for end in interval)
    return f"\n({low} … {high})"


# Markdown


def document(table: RecipeTable) -> str:
    """The tables as Markdown."""
    parts = [f"# {TITLE}", summary(table)]
    for direction in table.directions:
        title = title_of(direction)
        parts += [f"## {title}", markdown(score_rows(table, direction))]
        if len(table.recipes) > 1:
            parts.append(markdown(difference_rows(table, direction)))
        parts.append(f"![Test pictures, {title}, by each recipe]({strip_file(direction)})")
    parts += ["## How to read it", *NOTES]
    parts += ["## Runs", markdown(run_rows(table))]
    if len(field_rows(table)) > 1:
        parts += ["## What the recipes differ in", markdown(field_rows(table))]
    return "\n\n".join(parts) + "\n"


# HTML


def page(table: RecipeTable, strips: dict[str, Pixels]) -> str:
    """The page that shows the comparison, in one file that needs no network."""
    done = table.finished == table.wanted
    badge = ("good", "finished") if done else ("training", "unfinished")
    main = template("cyclegan_style.benchmarks", TEMPLATE_FILE).substitute(
        title=TITLE,
        badge=f'<span class="badge {badge[0]}">{badge[1]}</span>',
        updated=escape(
            f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}; trained on {table.device}."
        ),
        tiles=tiles_of(tiles(table)),
        directions="".join(
            direction_html(table, direction, strips[direction.name])
            for direction in table.directions
        ),
        notes="".join(f'<p class="soft">{escape(note.replace("`", ""))}</p>' for note in NOTES),
        runs=html(run_rows(table)),
        fields=html(field_rows(table)),
    )
    return page_of(TITLE, main, [], [])


def tiles(table: RecipeTable) -> list[tuple[str, str, str]]:
    """The few facts that a person looks for first."""
    return [
        ("Recipes", str(len(table.recipes)), escape(f"held against {table.first}")),
        ("Time", duration(60 * table.minutes), "of training for each run"),
        ("Seeds", str(table.seeds), "of each recipe"),
        ("Runs", str(table.finished), f"of {table.wanted}"),
    ]


def direction_html(table: RecipeTable, direction: Direction, pixels: Pixels) -> str:
    """Both tables of a direction and its pictures."""
    title = title_of(direction)
    differences = difference_rows(table, direction)
    tables = [score_rows(table, direction), *([differences] if len(differences) > 1 else [])]
    cards = "".join(f'<section class="card tables">{html(rows)}</section>' for rows in tables)
    image = to_pillow(pixels).convert("RGB")
    picture = encode(image, image.resize((1, 1)))
    return (
        f'<h2>{title}</h2>{cards}<section class="card"><img class="whole" src="{picture.uri}"'
        f' width="{picture.width}" height="{picture.height}"'
        f' alt="Test pictures, {title}, by each recipe"></section>'
    )
