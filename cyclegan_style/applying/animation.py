"""Moving pictures, frame by frame; GIF by Pillow, the others by ``video.py``."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, ImageSequence
from tqdm import tqdm

from cyclegan_style.data.images import (
    MAX_PIXELS,
    ImageError,
    Pixels,
    from_pillow,
    opened_image,
    reason_of,
    to_pillow,
)
from cyclegan_style.system.whole_files import whole_file

VIDEO_ENDINGS = frozenset({".gif", ".mp4", ".webm"})
"""Endings, in lower case, of files that are translated frame by frame and keep their format."""

Translate = Callable[[Sequence[Pixels]], list[Pixels]]
Moment = TypeVar("Moment")
Item = TypeVar("Item")


def is_video(path: Path) -> bool:
    """Whether the file's name is that of an animation or a video."""
    return path.suffix.lower() in VIDEO_ENDINGS


def translate_video(
    source: Path,
    target: Path,
    translate: Translate,
    batch_size: int,
    *,
    metadata: bool = True,
    progress: bool = False,
) -> int:
    """Translate every frame of a file in batches of at most so many; return their number.

    Without ``metadata``, titles, places and the like are not handed on.
    """
    if source.suffix.lower() == ".gif":
        return translate_gif(source, target, translate, batch_size, progress)
    try:
        from cyclegan_style.applying.video import translate_stream
    except ImportError:
        raise ImageError(source, "needs PyAV: pip install 'cyclegan-style[video]'") from None
    return translate_stream(
        source, target, translate, batch_size, metadata=metadata, progress=progress
    )


def translate_gif(
    source: Path, target: Path, translate: Translate, batch_size: int, progress: bool
) -> int:
    """Translate an animation that goes on as often and as fast as before."""
    with opened_image(source) as image:
        count = getattr(image, "n_frames", 1)
        if count * image.width * image.height > MAX_PIXELS:
            # Pillow keeps all frames, of one byte per pixel, until it writes them.
            raise ImageError(source, f"{count} frames are more than {MAX_PIXELS:,} pixels")
        options = {"loop": image.info["loop"]} if "loop" in image.info else {}
        if any(frame.has_transparency_data for frame in ImageSequence.Iterator(image)):
            options["disposal"] = 2  # or frames would show through the next one's holes
    with (
        closing(gif_frames(source)) as frames,
        closing(translated(frames, translate, batch_size)) as outputs,
    ):
        shown = (timed_image(*frame) for frame in frame_bar(outputs, source, count, progress))
        first = next(shown)
        try:
            with whole_file(target) as stream:
                first.save(stream, "GIF", save_all=True, append_images=shown, **options)
        except OSError as error:
            raise ImageError(target, f"cannot be written: {reason_of(error)}") from error
    return count


def gif_frames(path: Path) -> Generator[tuple[Pixels, int], None, None]:
    """Frames of an animation, each with the milliseconds for which it is shown."""
    with opened_image(path) as image:
        for frame in ImageSequence.Iterator(image):
            yield from_pillow(frame, 4), int(frame.info.get("duration", 0))


def timed_image(pixels: Pixels, milliseconds: int) -> Image.Image:
    """A frame as Pillow writes it."""
    image = to_pillow(pixels)
    image.info["duration"] = milliseconds
    return image


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
