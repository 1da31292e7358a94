"""Files and folders of pictures and videos through one predictor.

Decoding, the network and encoding overlap: threads read ahead and write behind, a bounded number of
pictures each. A file that cannot be read, translated or written is named and costs no other.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from cyclegan_style.applying.jobs import Job, is_finished
from cyclegan_style.applying.predictor import Predictor
from cyclegan_style.applying.video import is_video, translate_video
from cyclegan_style.data.deep_files import write_values
from cyclegan_style.data.images import ImageError, Pixels, from_pillow, to_pillow, write_image
from cyclegan_style.data.levels import with_channels, written_values
from cyclegan_style.data.metadata import Metadata
from cyclegan_style.errors import UserError, printable
from cyclegan_style.system.hardware import fair_share_of_cores
from cyclegan_style.system.memory import trim_heap
from cyclegan_style.system.whole_files import remove_leftovers

PICTURES_BETWEEN_TRIMS = 32
FEWEST_THREADS = 2
"""Threads that read and threads that write; Pillow does both without Python's lock."""
WORTH_COMPILING = 120.0
"""Seconds of work that must be left; compiling takes a sixth of it or less."""

Part = TypeVar("Part")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A picture as it was read."""

    job: Job
    pixels: Pixels
    metadata: Metadata
    dtype: np.dtype[Any]
    """Of the values in its file."""


@dataclass(frozen=True)
class Output:
    """How translations are written."""

    quality: int = 95
    """Of JPEG and WebP."""
    side_by_side: bool = False
    """Write the input to the left of its translation."""
    metadata: bool = True
    """Hand on what the files say about the pictures."""


@dataclass(frozen=True)
class Failure:
    """A picture that was not translated, and why."""

    path: str
    error: str


@dataclass
class Summary:
    """What became of a list of files."""

    translated: int = 0
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0
    """Translated pictures and frames of videos."""

    @property
    def images_per_second(self) -> float:
        """Translated pictures and frames per second."""
        return self.images / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Values by name, the speed among them."""
        return asdict(self) | {"images_per_second": self.images_per_second}


def parts_of_all(part: Part) -> list[Part]:
    """What every process has done, on each of them."""
    if PartialState().num_processes == 1:
        return [part]
    try:
        parts: list[Part] = gather_object([part])
    except RuntimeError:
        raise UserError(
            "another process ended before its files were done; run the same command again to do"
            " those"
        ) from None
    return parts


def gathered(summary: Summary) -> Summary:
    """The summary of all processes together."""
    parts = parts_of_all(summary)
    return Summary(
        sum(part.translated for part in parts),
        sum(part.skipped for part in parts),
        sorted((failure for part in parts for failure in part.failed), key=lambda f: f.path),
        max(part.seconds for part in parts),
        sum(part.images for part in parts),
    )


def translate_files(
    predictor: Predictor,
    jobs: Sequence[Job],
    output: Output | None = None,
    *,
    batch_size: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Summary:
    """Translate what is not finished yet."""
    started = time.perf_counter()
    predictor.require_picture_channels()
    for folder in {job.target.parent for job in jobs}:
        remove_leftovers(folder)
    waiting = [job for job in jobs if overwrite or not is_finished(job)]
    summary = Summary(skipped=len(jobs) - len(waiting))
    size = batch_size or default_batch_size(predictor.device)
    bar = tqdm(total=len(waiting), unit="image", disable=None if progress else True)
    pipeline = _Pipeline(predictor, output or Output(), size, summary, bar)
    with bar:
        pipeline.run([job for job in waiting if not is_video(job.source)])
        for job in waiting:
            if is_video(job.source):
                pipeline.run_video(job)
    summary.seconds = time.perf_counter() - started
    return summary


def default_batch_size(device: torch.device) -> int:
    """GPUs need several pictures to be busy; a CPU is with one, and its caches prefer that."""
    return 1 if device.type == "cpu" else 8


def default_threads(device: torch.device) -> int:
    """A GPU outruns few threads: a PNG of 256 × 256 takes 14 ms. On a CPU the network needs it."""
    return FEWEST_THREADS if device.type == "cpu" else max(FEWEST_THREADS, fair_share_of_cores())


class CompilationChoice:
    """Compiles the network once enough pictures of one size are left to pay for it."""

    def __init__(self, predictor: Predictor, count: int) -> None:
        self.predictor = predictor
        self.left = count
        self.due = predictor.working_size is None
        self.usual: tuple[int, ...] | None = None
        self.began = 0.0
        self.done = 0

    def consider(self, pictures: Sequence[Pixels]) -> None:
        """Called before each batch; two batches of one shape in a row tell how long they take."""
        shape = (len(pictures), *pictures[0].shape)
        now = time.perf_counter()
        if shape != self.usual:
            self.usual, self.began, self.done = shape, now, 0
        elif self.due and self.done >= 2 * len(pictures):
            self.due = False
            if self.left * (now - self.began) / self.done > WORTH_COMPILING:
                self.predictor.core.compile_if_faster(*shape[:3])
        self.done += len(pictures)
        self.left -= len(pictures)


class _Pipeline:
    """Readers, the network, writers; the middle runs in the calling thread."""

    def __init__(
        self,
        predictor: Predictor,
        output: Output,
        batch_size: int,
        summary: Summary,
        bar: "tqdm[Any]",
    ) -> None:
        self.predictor = predictor
        self.output = output
        self.batch_size = batch_size
        self.summary = summary
        self.bar = bar
        self.threads = default_threads(predictor.device)
        self.queued = 2 * batch_size + self.threads
        self.until_trim = PICTURES_BETWEEN_TRIMS

    def run(self, jobs: Sequence[Job]) -> None:
        readers, writers = ThreadPoolExecutor(self.threads), ThreadPoolExecutor(self.threads)
        writing: deque[tuple[Job, Future[None]]] = deque()
        chooser = CompilationChoice(self.predictor, len(jobs))
        try:
            for batch in self.batches(self.decoded(readers, jobs)):
                chooser.consider([picture.pixels for picture in batch])
                for picture, output in self.translated(batch):
                    writing.append((picture.job, writers.submit(self.write, picture, output)))
                    if len(writing) > self.queued:
                        self.finish(*writing.popleft())
            while writing:
                self.finish(*writing.popleft())
        finally:
            for pool in (readers, writers):
                pool.shutdown(cancel_futures=True)

    def decoded(self, readers: ThreadPoolExecutor, jobs: Iterable[Job]) -> Iterator[Picture]:
        """Pictures in order, some of them read ahead."""
        reading: deque[tuple[Job, Future[Picture]]] = deque()
        remaining = iter(jobs)
        while True:
            while len(reading) < self.queued and (job := next(remaining, None)):
                reading.append((job, readers.submit(self.read, job)))
            if not reading:
                return
            job, future = reading.popleft()
            try:
                yield future.result()
            except (UserError, OSError, MemoryError) as error:
                self.fail(job, error)

    def read(self, job: Job) -> Picture:
        pixels, metadata, dtype = self.predictor.read_file(job.source)
        return Picture(job, pixels, metadata if self.output.metadata else {}, dtype)

    def batches(self, pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
        """Pictures of one size together, as long as not too many others have to wait for it."""
        groups: dict[tuple[int | str, ...], list[Picture]] = {}
        for picture in pictures:
            shape = (*picture.pixels.shape, picture.pixels.dtype.kind)
            group = groups.setdefault(shape, [])
            group.append(picture)
            if len(group) == self.batch_size:
                yield groups.pop(shape)
            elif sum(map(len, groups.values())) > self.queued:
                yield groups.pop(max(groups, key=lambda shape: len(groups[shape])))
        yield from groups.values()

    def translated(self, batch: Sequence[Picture]) -> Iterator[tuple[Picture, Pixels]]:
        """Pictures with their translations; if a batch fails, each of it is tried alone."""
        try:
            outputs = self.predict([picture.pixels for picture in batch])
        except (UserError, RuntimeError, MemoryError) as error:
            if len(batch) == 1:
                self.fail(batch[0].job, error)
                return
            for picture in batch:
                yield from self.translated([picture])
            return
        yield from zip(batch, outputs, strict=True)

    def predict(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        self.until_trim -= len(pictures)
        if self.until_trim < 0:
            self.until_trim = PICTURES_BETWEEN_TRIMS
            trim_heap()
        return self.predictor.translate_pixels(pictures)

    def write(self, picture: Picture, output: Pixels) -> None:
        if self.output.side_by_side:
            output = side_by_side(picture.pixels, output)
        target = picture.job.target
        target.parent.mkdir(parents=True, exist_ok=True)
        if output.dtype == np.uint8:
            write_image(target, output, self.output.quality, picture.metadata)
            return
        ranges = (self.predictor.out_range, self.predictor.in_range)
        values = written_values(output, picture.dtype, *ranges)
        write_values(target, values, output, self.output.quality, picture.metadata)

    def run_video(self, job: Job) -> None:
        try:
            self.predictor.require_eight_bits("videos are")
            job.target.parent.mkdir(parents=True, exist_ok=True)
            images = translate_video(
                job.source,
                job.target,
                self.translated_frames,
                self.batch_size,
                metadata=self.output.metadata,
                progress=not self.bar.disable,
            )
        except Exception as error:  # PyAV, too, answers damaged files with almost any
            self.fail(job, error)
        else:
            self.succeed(images)

    def translated_frames(self, frames: Sequence[Pixels]) -> list[Pixels]:
        inputs = [self.predictor.read(frame) for frame in frames]
        outputs = self.predict(inputs)
        if self.output.side_by_side:
            return [side_by_side(*pair) for pair in zip(inputs, outputs, strict=True)]
        return outputs

    def finish(self, job: Job, future: "Future[None]") -> None:
        try:
            future.result()
        except (UserError, OSError, MemoryError) as error:
            self.fail(job, error)
        else:
            self.succeed(1)

    def succeed(self, images: int) -> None:
        self.summary.translated += 1
        self.summary.images += images
        self.bar.update()

    def fail(self, job: Job, error: Exception) -> None:
        reason = reason_of_failure(error)
        self.summary.failed.append(Failure(str(job.source), reason))
        with self.bar.external_write_mode():
            logger.error("error: %s", printable(f"{job.source}: {reason}"))
        self.bar.update()


def side_by_side(pixels: Pixels, output: Pixels) -> Pixels:
    """The input to the left of its translation, both in the richer of their modes."""
    channels = max(pixels.shape[2], output.shape[2])
    if pixels.dtype != np.uint8:
        return np.concatenate([with_channels(part, channels) for part in (pixels, output)], axis=1)
    return np.concatenate(
        [from_pillow(to_pillow(part), channels) for part in (pixels, output)], axis=1
    )


def reason_of_failure(error: Exception) -> str:
    """What is wrong, on one line and without the path."""
    if isinstance(error, ImageError):
        return printable(error.reason)
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        return "too large for the memory that is free"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(" ".join(str(error).split()))
