"""The tables of a sweep, and the last samples of each of its runs."""

from datetime import datetime
from html import escape
from pathlib import Path

from cyclegan_style.benchmarks.sweep_grid import text_of
from cyclegan_style.benchmarks.sweep_table import Spread, Standing, SweepTable
from cyclegan_style.benchmarks.tables import ARROWS, Cell, Row, html, markdown, number
from cyclegan_style.config import value_of
from cyclegan_style.runs.best import direction_of_improvement
from cyclegan_style.runs.report import duration
from cyclegan_style.runs.report_page import page_of, template, tiles_of
from cyclegan_style.runs.report_pictures import figure_html, read_samples
from cyclegan_style.system.whole_files import write_durably

PAGE_FILE, DOCUMENT_FILE = "sweep.html", "sweep.md"
TEMPLATE_FILE = "report_sweep.html"
TITLE = "Sweep"
MOST_SHOWN = 60
"""Runs whose samples are on the page; more make it slow to open."""


def write_tables(folder: Path, table: SweepTable) -> None:
    """Write the document and the page of what is finished."""
    write_durably(folder / DOCUMENT_FILE, document(table).encode())
    write_durably(folder / PAGE_FILE, page(folder, table).encode("utf-8", "replace"))


# What is said


def summary(table: SweepTable) -> str:
    """What is swept, and how far it is, in a sentence."""
    swept = "; ".join(
        f"{name} {', '.join(map(text_of, values))}" for name, values in table.grid.values.items()
    )
    return f"{swept}. {table.finished} of {table.wanted} runs are over."


def notes(table: SweepTable) -> str:
    """How to read the table of configurations."""
    by = (
        f"by {table.chosen}"
        if table.chosen
        else "by the mean of their ranks by each score that chooses a model of best/"
    )
    return (
        f"Configurations are ranked {by}. ↓: less is better, ↑: more is better. A score is the mean"
        " over seeds of those at the last step; ± is the deviation of the single runs, from which"
        " a difference of means has to stand out."
    )


def score_names(table: SweepTable) -> list[str]:
    """Scores in the order of the columns: the one that ranks first."""
    first = [table.chosen] if table.chosen else []
    return [*first, *(name for name in table.scores if name != table.chosen)]


def score_heads(table: SweepTable) -> list[Cell]:
    """Titles of the columns of scores."""
    return [Cell(f"{name}{ARROWS[direction_of_improvement(name)]}") for name in score_names(table)]


def ranking_rows(table: SweepTable) -> list[Row]:
    """The configurations, best first."""
    heads = ["", *(table.grid.titles[field] for field in table.grid.fields), "runs"]
    if table.chosen is None:
        heads.append("mean rank ↓")
    rows = [[*map(Cell, heads), *score_heads(table)]]
    for standing in table.ranking():
        cells = [
            "–" if standing.place is None else f"{standing.place}.",
            *map(text_of, standing.combination.values()),
            str(standing.runs),
        ]
        if table.chosen is None:
            cells.append("–" if standing.mean_rank is None else f"{standing.mean_rank:.2f}")
        rows.append([*map(Cell, cells), *score_cells(table, standing)])
    return rows


def score_cells(table: SweepTable, standing: Standing) -> list[Cell]:
    """The scores of a configuration."""
    return [Cell(spread_text(name, standing.scores.get(name))) for name in score_names(table)]


def spread_text(name: str, found: Spread | None) -> str:
    """A mean, with the deviation where there is one."""
    if found is None:
        return "–"
    mean = score_text(name, found.mean)
    return mean if found.deviation is None else f"{mean} ± {score_text(name, found.deviation)}"


def score_text(name: str, value: float | None) -> str:
    """A score such as ``kid_ab`` as it is written."""
    return "–" if value is None else number(name.rpartition("_")[0], value)


def run_rows(table: SweepTable) -> list[Row]:
    """Every run that is over, those of the best configurations first."""
    fields = list(table.grid.values)
    titles = [table.grid.titles[field] for field in fields]
    rows = [[Cell(""), *map(Cell, [*titles, "steps", "time"]), *score_heads(table), Cell("")]]
    configs = {run.name: run.config for run in table.grid.runs}
    for name in runs_by_rank(table):
        outcome = table.outcomes[name]
        texts = [
            name,
            *(text_of(value_of(configs[name], field)) for field in fields),
            f"{outcome.steps:,}",
            duration(outcome.seconds),
            *(score_text(score, table.score(name, score)) for score in score_names(table)),
        ]
        failure = Cell(outcome.failure or "", "worse" if outcome.failure else "")
        rows.append([*map(Cell, texts), failure])
    return rows


def runs_by_rank(table: SweepTable) -> list[str]:
    """Names of the runs that are over, those of the best configurations first."""
    order = [standing.name for standing in table.ranking()]
    runs = [run for run in table.grid.runs if run.name in table.outcomes]
    return [run.name for run in sorted(runs, key=lambda run: order.index(run.configuration))]


# Markdown


def document(table: SweepTable) -> str:
    """The tables as Markdown."""
    ranking, runs = markdown(ranking_rows(table)), markdown(run_rows(table))
    parts = [f"# {TITLE}", summary(table), ranking, notes(table), "## Runs", runs]
    return "\n\n".join(parts) + "\n"


# HTML


def page(folder: Path, table: SweepTable) -> str:
    """The page that shows the sweep, in one file that needs no network."""
    done = table.finished == table.wanted
    badge = ("good", "finished") if done else ("training", "unfinished")
    main = template("cyclegan_style.benchmarks", TEMPLATE_FILE).substitute(
        title=TITLE,
        badge=f'<span class="badge {badge[0]}">{badge[1]}</span>',
        updated=escape(f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}."),
        tiles=tiles_of(tiles(table)),
        ranking=html(ranking_rows(table)),
        notes=escape(notes(table)),
        samples=samples_html(folder, table),
        runs=html(run_rows(table)),
    )
    return page_of(f"{TITLE} · {folder.name}", main, [], [])


def tiles(table: SweepTable) -> list[tuple[str, str, str]]:
    """The few facts that a person looks for first."""
    swept = [
        (escape(table.grid.titles[name]), str(len(values)), escape(", ".join(map(text_of, values))))
        for name, values in table.grid.values.items()
    ]
    return [("Runs", str(table.finished), f"of {table.wanted} are over"), *swept]


def samples_html(folder: Path, table: SweepTable) -> str:
    """The last sheet of each run, those of the best configurations first."""
    names = runs_by_rank(table)
    figures = []
    for name in names[:MOST_SHOWN]:
        for step, picture in read_samples(folder / name / "samples", most=1).items():
            figures.append(figure_html(picture, f"{name}, step {step:,}"))
    if len(names) > MOST_SHOWN:
        figures.append(f'<p class="soft">and those of {len(names) - MOST_SHOWN} more runs</p>')
    return "".join(figures) or '<p class="soft">No samples yet.</p>'
