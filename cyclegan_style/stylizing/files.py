"""Files and folders of contents in the style of other files.

A content that cannot be read, painted or written is named and costs no other.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from cyclegan_style.applying.jobs import Job, is_finished, plan
from cyclegan_style.applying.translate import Failure, parts_of_all, reason_of_failure
from cyclegan_style.applying.video import VIDEO_ENDINGS
from cyclegan_style.data.images import (
    IMAGE_ENDINGS,
    WRITABLE_ENDINGS,
    ImageError,
    Pixels,
    from_pillow,
    opened_image,
    read_image,
    to_pixels,
    write_image,
)
from cyclegan_style.data.listing import list_images
from cyclegan_style.data.metadata import Metadata, kept_metadata
from cyclegan_style.errors import UserError, printable
from cyclegan_style.stylizing.network import NETWORKS
from cyclegan_style.stylizing.painting import Moment
from cyclegan_style.stylizing.recipe import Recipe
from cyclegan_style.stylizing.report import Previews, Sitting, write_report
from cyclegan_style.stylizing.stylizer import Painting, StyleSource, Stylizer, check_styles
from cyclegan_style.system.whole_files import checksum, remove_leftovers

EVERYWHERE = ("all", "-")
"""What stands for a mask where a style has none."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StyleFile:
    """A style as it was read."""

    path: Path
    source: StyleSource
    mask: Path | None


@dataclass(frozen=True)
class Output:
    """What is written of a painting."""

    quality: int = 95
    """Of JPEG and WebP."""
    metadata: bool = True
    """Hand on what the content's file says about it."""
    save_every: int | None = None
    """Steps between previews, which lie in a folder beside the painting."""
    report: bool = False
    """Write a page about the painting beside it."""


@dataclass
class Summary:
    """What became of a list of contents."""

    outputs: list[str] = field(default_factory=list)
    """The paintings that are there now, also those that were before."""
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """The last of each painting."""
    steps: int = 0
    """Of all paintings together."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Values by name, of the losses their mean."""
        return {
            "outputs": self.outputs,
            "loss": fmean(self.losses) if self.losses else None,
            "steps": self.steps,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "failed": [asdict(failure) for failure in self.failed],
        }


def gathered(summary: Summary) -> Summary:
    """The summary of all processes together."""
    parts = parts_of_all(summary)
    return Summary(
        sorted(output for part in parts for output in part.outputs),
        sum(part.skipped for part in parts),
        sorted((failure for part in parts for failure in part.failed), key=lambda f: f.path),
        [loss for part in parts for loss in part.losses],
        sum(part.steps for part in parts),
        max(part.seconds for part in parts),
    )


# Which files


def names_a_picture(output: Path) -> bool:
    """Whether the output is a file; a UserError if it is one that cannot be written."""
    ending = output.suffix.lower()
    if ending not in IMAGE_ENDINGS | VIDEO_ENDINGS or output.is_dir():
        return False
    if ending not in WRITABLE_ENDINGS:
        known = " ".join(sorted(WRITABLE_ENDINGS))
        raise UserError(printable(f"--output: {output}: {ending} is not written, but {known}"))
    return True


def plan_paintings(contents: Sequence[str], output: Path, ending: str) -> list[Job]:
    """Which content becomes which file: the output itself, or files in it."""
    if not names_a_picture(output):
        return plan(contents, output, ending, "--content", videos=False)
    found = [
        file for spec in contents for file in list_images(spec, "test", "--content", progress=False)
    ]
    if len(found) > 1:
        raise UserError(
            printable(f"--output: {output} is one picture for {len(found)} contents; name a folder")
        )
    refuse_overwritten([Job(found[0], output)], found)
    return [Job(found[0], output)]


def refuse_overwritten(jobs: Sequence[Job], inputs: Sequence[Path]) -> None:
    """Raise a UserError if a painting would take the place of what it is made from."""
    read = {path.resolve() for path in inputs}
    for job in jobs:
        if job.target.resolve() in read:
            raise UserError(
                printable(f"--output: {job.target} is itself an input; choose another name")
            )


def read_styles(
    paths: Sequence[Path], weights: Sequence[float] | None, masks: Sequence[str] | None
) -> list[StyleFile]:
    """The styles with their weights and masks, of which there are none or one each."""
    for option, values in (("--style-weights", weights), ("--mask", masks)):
        if values is not None and len(values) != len(paths):
            raise UserError(f"{option}: {len(values)} for {len(paths)} styles; give one for each")
    wanted = [1.0] * len(paths) if weights is None else weights
    places: list[Path | None] = [None] * len(paths)
    if masks is not None:
        places = [None if mask in EVERYWHERE else Path(mask) for mask in masks]
    styles = []
    for path, weight, place in zip(paths, wanted, places, strict=True):
        mask = None if place is None else read_mask(place)
        styles.append(
            StyleFile(path, StyleSource(read_input(path, "--style"), weight, mask), place)
        )
    check_styles([style.source for style in styles])
    return styles


def read_mask(path: Path) -> Pixels:
    """Where a style is wanted, in white."""
    mask = read_input(path, "--mask", channels=1)
    if not mask.any():
        raise UserError(
            printable(f"--mask: {path} is black everywhere, which leaves its style no place")
        )
    return mask


def read_input(path: Path, option: str, channels: int = 3) -> Pixels:
    """Pixels of a file without which nothing can be painted."""
    try:
        return read_image(path.expanduser(), channels)
    except ImageError as error:
        raise UserError(f"{option}: {error}") from error


def origin_of_paintings(recipe: Recipe, styles: Sequence[StyleFile]) -> dict[str, Any]:
    """What paintings depend on beside their contents."""
    network = NETWORKS[recipe.features]
    return asdict(recipe) | {
        "weights": checksum(network.find(recipe.weights)),
        "styles": checksum_of_all([style.path for style in styles]),
        "style_weights": [style.source.weight for style in styles],
        "masks": checksum_of_all([style.mask for style in styles]),
    }


def checksum_of_all(paths: Sequence[Path | None]) -> str | None:
    """One checksum of several files, if there are any."""
    if not any(paths):
        return None
    each = ("" if path is None else checksum(path.expanduser()) for path in paths)
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


# Painting them


def stylize_files(
    stylizer: Stylizer,
    jobs: Sequence[Job],
    styles: Sequence[StyleFile],
    output: Output,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Summary:
    """Paint what is not finished yet."""
    started = time.perf_counter()
    for folder in {job.target.parent for job in jobs}:
        remove_leftovers(folder)
    waiting = [job for job in jobs if overwrite or not is_finished(job)]
    summary = Summary([str(job.target) for job in jobs if job not in waiting])
    summary.skipped = len(jobs) - len(waiting)
    with logging_redirect_tqdm():
        for number, job in enumerate(waiting, 1):
            name = printable(job.source.name)
            if len(jobs) > 1:
                name = f"{number}/{len(waiting)} {name}"
                logger.info("%s", name)
            bar = tqdm(
                total=stylizer.recipe.steps,
                desc=name,
                unit="step",
                disable=None if progress else True,
            )
            with bar:
                paint_job(stylizer, job, styles, output, bar, summary)
    summary.outputs.sort()
    summary.seconds = time.perf_counter() - started
    return summary


def paint_job(
    stylizer: Stylizer,
    job: Job,
    styles: Sequence[StyleFile],
    output: Output,
    bar: "tqdm[Any]",
    summary: Summary,
) -> None:
    """Paint one content and note what became of it."""
    try:
        painting = paint_file(stylizer, job, styles, output, bar)
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        fail(summary, job, reason_of_failure(error))
        return
    summary.outputs.append(str(job.target))
    summary.steps += len(painting.history)
    if painting.history:
        summary.losses.append(painting.history[-1].total)
    if painting.problem is not None:
        fail(summary, job, painting.problem)


def fail(summary: Summary, job: Job, reason: str) -> None:
    """Name a content that was not painted, or not to the end."""
    summary.failed.append(Failure(str(job.source), reason))
    logger.error("error: %s", printable(f"{job.source}: {reason}"))


def paint_file(
    stylizer: Stylizer,
    job: Job,
    styles: Sequence[StyleFile],
    output: Output,
    bar: "tqdm[Any]",
) -> Painting:
    """Paint one content, and write the painting and what is wanted beside it."""
    began = time.perf_counter()
    content, metadata = read_content(job.source)
    previews = Previews(stylizer.recipe.steps) if output.report else None

    def watch(moment: Moment) -> None:
        bar.set_postfix(content=f"{moment.content:.3g}", style=f"{moment.style:.3g}", refresh=False)
        bar.update()
        if output.save_every is not None and moment.step % output.save_every == 0:
            write_preview(job.target, moment)
        if previews is not None:
            previews.note(moment)

    sources = [style.source for style in styles]
    painting = stylizer.paint(content, sources, watch)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    if previews is not None:
        sitting = Sitting(
            stylizer.recipe,
            job.source.name,
            content,
            [(style.path.name, style.source) for style in styles],
            painting,
            previews.pictures,
            time.perf_counter() - began,
        )
        write_report(job.target.with_suffix(".html"), sitting)
    # Last, since a painting that is there counts as finished.
    write_image(job.target, painting.pixels, output.quality, metadata if output.metadata else None)
    return painting


def read_content(path: Path) -> tuple[Pixels, Metadata]:
    """Pixels of a content, and what its painting keeps of the file's metadata."""
    with opened_image(path) as image:
        return from_pillow(image), kept_metadata(image)


def write_preview(target: Path, moment: Moment) -> None:
    """The picture of a step, at the size at which it is painted then."""
    folder = target.with_name(f"{target.stem}-previews")
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / f"{target.stem}-step-{moment.step:05}.png", to_pixels(moment.picture[0]))
