"""GIF by Pillow, frame by frame."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image, ImageSequence

from cyclegan_style.applying.frames import Translate, frame_bar, translated
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
        write_gif(target, shown, options)
    return count


def write_gif(target: Path, images: Iterator[Image.Image], options: Mapping[str, Any]) -> None:
    """Write an animation of one image or more; each tells how long it is shown."""
    first = next(images)
    try:
        with whole_file(target) as stream:
            first.save(stream, "GIF", save_all=True, append_images=images, **options)
    except OSError as error:
        raise ImageError(target, f"cannot be written: {reason_of(error)}") from error


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
