"""The frames of a moving picture on their way through the network."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from cyclegan_style.data.images import Pixels

Translate = Callable[[Sequence[Pixels]], list[Pixels]]
Moment = TypeVar("Moment")
Item = TypeVar("Item")


def translated(
    frames: Iterator[tuple[Pixels, Moment]], translate: Translate, batch_size: int
) -> Generator[tuple[Pixels, Moment], None, None]:
    """Frames translated in batches, the next of which is decoded meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        upcoming = reader.submit(list, islice(frames, batch_size))
        while batch := upcoming.result():
            upcoming = reader.submit(list, islice(frames, batch_size))
            outputs = translate([pixels for pixels, _ in batch])
            yield from zip(outputs, (moment for _, moment in batch), strict=True)


def frame_bar(
    frames: Iterator[Item], source: Path, count: int | None, progress: bool
) -> "tqdm[Item]":
    """Show how far a file is, below the bar of all files."""
    options: dict[str, Any] = {"unit": "frame", "leave": False, "position": 1}
    return tqdm(frames, source.name, count, disable=None if progress else True, **options)
