"""Whether training goes well, as a section of the report."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from cyclegan_style.runs.health import DETECTORS, PREFIX, Finding, findings, keys_of
from cyclegan_style.runs.report_charts import Chart, build_chart, chart_html
from cyclegan_style.runs.tracking import Row


def health_charts(rows: Sequence[Row]) -> list[Chart]:
    """A chart with its limit for each detector that has measured something."""
    charts = []
    for detector in DETECTORS:
        if keys := keys_of(detector, rows):
            chart = build_chart(PREFIX + detector.name, keys, rows)
            charts.append(replace(chart, title=detector.title, limit=detector.limit))
    return charts


def health_html(charts: Sequence[Chart], rows: Sequence[Row], total_steps: int) -> str:
    """What is wrong in one sentence each, and the number that tells it."""
    if not charts:
        return '<p class="card soft">Measured at each sample; nothing yet.</p>'
    found = findings(rows, total_steps)
    speaking = sum(each.speaks for each in found)
    summary = (
        f"{speaking} of {len(found)} numbers should be looked at."
        if speaking
        else f"None of {len(found)} numbers speaks against this training."
    )
    cards = [
        chart_html(chart, note_html([each for each in found if named(each) == chart.name]))
        for chart in charts
    ]
    return (
        f'<p class="soft note">{summary} Dashed: the limit of what is healthy.</p>'
        f'<div class="charts">{"".join(cards)}</div>'
    )


def named(found: Finding) -> str:
    """The name of a finding's chart."""
    return PREFIX + found.detector.name


def note_html(found: Sequence[Finding]) -> str:
    """One word on a detector's numbers, where they should lie, and a sentence for what ails."""
    detector = found[0].detector
    if any(each.speaks for each in found):
        kind, word = "bad", "look at this"
    elif any(each.is_beyond for each in found):
        kind, word = "other", "too early to say"
    else:
        kind, word = "good", "healthy"
    sentences = "".join(
        f'<p class="ails">{escape(each.sentence)}</p>' for each in found if each.speaks
    )
    return (
        f'<p class="soft"><span class="badge {kind}">{word}</span>'
        f" healthy {detector.healthy} {detector.limit:.2g}</p>{sentences}"
    )
