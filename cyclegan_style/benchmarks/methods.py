"""Ways to change a picture's style, side by side on the demo domains, whose truth is known."""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.benchmarks.timing import device_name
from cyclegan_style.config import DataConfig
from cyclegan_style.data.images import Pixels, read_image, to_pixels, to_tensor, write_image
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.intervals import Interval
from cyclegan_style.evaluation.model import structure_similarity
from cyclegan_style.evaluation.pairs import evaluate_pairs
from cyclegan_style.evaluation.scores import EvaluationOptions
from cyclegan_style.stylizing.recipe import Recipe
from cyclegan_style.stylizing.stylizer import StyleSource, Stylizer
from cyclegan_style.synthetic import demo_folder
from cyclegan_style.system.processes import say
from cyclegan_style.training.demo import (
    KnownTranslations,
    known_translations,
    transfer_color_statistics,
    with_color_statistics,
)
from cyclegan_style.training.samples import sheet

DOCUMENT, STRIP = "comparison.md", "comparison.jpg"
BEGIN, END = "<!-- written by scripts/compare.py -->", "<!-- end -->"
FEWEST = 3
"""Pictures: all but the one whose style is taken are scored against, which takes two."""
SHOWN = 2
"""Pictures of either direction in the strip."""

Painter = Callable[[Sequence[Pixels]], list[Pixels]]


@dataclass(frozen=True)
class Task:
    """One direction: pictures, what they truly become, and pictures of the target domain."""

    known: KnownTranslations
    style: Pixels
    """The one target picture for ways that take no more."""
    others: list[Pixels]
    """Of the target domain, of other landscapes; those against which sets are scored."""

    @cached_property
    def inputs(self) -> list[Pixels]:
        """Pictures to be changed."""
        return [to_pixels(tensor) for tensor in self.known.inputs]

    @cached_property
    def truths(self) -> list[Pixels]:
        """What they truly become."""
        return [to_pixels(tensor) for tensor in self.known.truths]


@dataclass(frozen=True)
class Method:
    """A way to change pictures."""

    title: str
    needs: str
    paint: Painter


@dataclass(frozen=True)
class Outcome:
    """What a method made, and how good it is."""

    method: Method
    outputs: list[Pixels]
    scores: dict[str, float]
    intervals: dict[str, Interval]
    seconds: float
    """For one picture."""


def compare_methods(model: str, output: Path, recipe: Recipe, count: int | None, seed: int) -> None:
    """Write tables into the document of a folder, and the strip beside it."""
    predictors = {name: Predictor.load(model, name) for name in ("ab", "ba")}
    stylizer = Stylizer(recipe)
    tasks = demo_tasks(count, seed)
    outcomes = []
    for task in tasks:
        say(f"{task.known.title}: {len(task.inputs)} pictures")
        methods = methods_for(task, predictors[task.known.direction.name], stylizer)
        outcomes.append(score_methods(task, methods))
    output.mkdir(parents=True, exist_ok=True)
    write_image(output / STRIP, strip(tasks, outcomes))
    write_tables(output / DOCUMENT, tables(tasks, outcomes))


def demo_tasks(count: int | None, seed: int) -> list[Task]:
    """Both directions with so many of the demo's test pictures, by default all."""
    if count is not None and count < FEWEST:
        raise UserError(f"--pictures must be at least {FEWEST}, not {count}")
    tasks = []
    for known in known_translations(DataConfig(a="demo:photo", b="demo:painting")):
        targets = [read_image(path) for path in sorted(demo_folder(known.target, "test").iterdir())]
        targets = targets[:count]
        style = targets.pop(int(np.random.default_rng(seed).integers(len(targets))))
        part = replace(known, inputs=known.inputs[:count], truths=known.truths[:count])
        tasks.append(Task(part, style, targets))
    return tasks


def methods_for(task: Task, predictor: Predictor, stylizer: Stylizer) -> list[Method]:
    """What is compared, from the least to the most."""
    source, target = task.known.source, task.known.target
    return [
        Method("doing nothing", "nothing", list),
        Method(
            "colour statistics",
            f"one {target}",
            lambda pictures: [with_colors_of(each, task.style) for each in pictures],
        ),
        Method(
            "colour statistics, told the truth's",
            "the answers' statistics",
            lambda _: [to_pixels(each) for each in transfer_color_statistics(task.known)],
        ),
        Method(
            "`stylize`",
            f"one {target}",
            lambda pictures: [
                stylizer.paint(each, [StyleSource(task.style)]).pixels for each in pictures
            ],
        ),
        Method(
            "CycleGAN",
            f"a folder of {source}s, one of {target}s, minutes of training",
            lambda pictures: [predictor.translate_pixels([each])[0] for each in pictures],
        ),
        Method("the truth", "–", lambda _: task.truths),
    ]


def with_colors_of(picture: Pixels, style: Pixels) -> Pixels:
    """The picture with each channel's mean and deviation those of the style."""
    return to_pixels(with_color_statistics(to_tensor(picture)[None], to_tensor(style)[None])[0])


def score_methods(task: Task, methods: Sequence[Method]) -> list[Outcome]:
    """Every method's pictures, scored as the files that they would be saved as."""
    options = EvaluationOptions(metrics=("fd", "kid", "swd"), cache=False)
    evaluator = Evaluator(options)
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = evaluator.load(saved(task.others, folder / "real"), "real")
        truth = saved(task.truths, folder / "truth")
        for number, method in enumerate(methods):
            say(f"  {method.title}")
            started = time.perf_counter()
            outputs = method.paint(task.inputs)
            seconds = (time.perf_counter() - started) / len(outputs)
            fake = saved(outputs, folder / str(number))
            scores = evaluator.compare(real, evaluator.load(fake, "fake"))
            values = {
                name: float(np.mean(each))
                for name, each in evaluate_pairs(truth, fake).values.items()
            }
            pairs = zip(task.inputs, outputs, strict=True)
            values["structure"] = float(np.mean([structure_similarity(*pair) for pair in pairs]))
            outcomes.append(
                Outcome(method, outputs, values | scores.values, scores.intervals, seconds)
            )
    return outcomes


def saved(pictures: Sequence[Pixels], folder: Path) -> str:
    """The folder, with these pictures as files in it."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        write_image(folder / f"{number:04}.png", picture)
    return str(folder)


def strip(tasks: Sequence[Task], outcomes: Sequence[Sequence[Outcome]]) -> Pixels:
    """Rows of both directions: the picture, the style, what some methods made, and the truth."""
    columns: list[tuple[str, list[Pixels]]] = [
        ("input", [each for task in tasks for each in task.inputs[:SHOWN]]),
        ("one style", [task.style for task in tasks for _ in task.inputs[:SHOWN]]),
    ]
    for same in zip(*outcomes, strict=True):
        title = same[0].method.title.strip("`")
        if title != "doing nothing" and "," not in title:
            columns.append((title, [each for one in same for each in one.outputs[:SHOWN]]))
    return sheet(columns)


def tables(tasks: Sequence[Task], outcomes: Sequence[Sequence[Outcome]]) -> str:
    """A table for every direction, as Markdown."""
    parts = [f"![The demo's test pictures, changed in every way]({STRIP})"]
    for task, found in zip(tasks, outcomes, strict=True):
        title = task.known.title.capitalize()
        parts.append(f"## {title}")
        parts.append("\n".join(table(found)))
    parts.append(
        f"{len(tasks[0].inputs)} test pictures in each direction. PSNR and SSIM to the truth;"
        f" `fd_squeezenet`, `kid` (95 % intervals) and `swd` to the {len(tasks[0].others)} test"
        " pictures of the target domain that are not the one style; `structure` to the input."
        f" Seconds a picture on {device_name()}, torch {torch.__version__.partition('+')[0]}."
    )
    return "\n\n".join(parts)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of Markdown."""
    lines = [
        "| | needs | PSNR | SSIM | `fd_squeezenet` | `kid` | `swd` | `structure` | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        scores = outcome.scores
        cells = [
            outcome.method.title,
            outcome.method.needs,
            f"{scores['psnr']:.2f}" if np.isfinite(scores["psnr"]) else "–",
            f"{scores['ssim']:.3f}",
            with_interval(outcome, "fd_squeezenet", 1),
            with_interval(outcome, "kid", 3),
            f"{scores['swd']:.1f}",
            f"{scores['structure']:.3f}",
            f"{outcome.seconds:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def with_interval(outcome: Outcome, name: str, digits: int) -> str:
    """A score and, where one is known, its interval."""
    value = f"{outcome.scores[name]:.{digits}f}"
    if name not in outcome.intervals:
        return value
    low, high = outcome.intervals[name]
    return f"{value} ({low:.{digits}f} … {high:.{digits}f})"


def write_tables(path: Path, text: str) -> None:
    """Put the text between the marks of a document, or begin one with it."""
    part = f"{BEGIN}\n\n{text}\n\n{END}"
    document = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}{END}\n"
    marked = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not marked.search(document):
        raise UserError(f"--output: {path}: there is no {BEGIN} … {END} in it to write between")
    path.write_text(marked.sub(lambda _: part, document), encoding="utf-8")
