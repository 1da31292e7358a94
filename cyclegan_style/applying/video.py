"""Moving pictures, frame by frame: animations and videos, each by its own library."""

from collections.abc import Iterable
from pathlib import Path

from cyclegan_style.applying.animation import timed_image, translate_gif, write_gif
from cyclegan_style.applying.frames import Translate
from cyclegan_style.data.images import ImageError, Pixels

VIDEO_ENDINGS = frozenset({".gif", ".mp4", ".webm"})
"""Endings, in lower case, of files that are translated frame by frame and keep their format."""

NEEDS_PYAV = "needs PyAV: pip install 'cyclegan-style[video]'"


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
        from cyclegan_style.applying.video_stream import translate_stream
    except ImportError:
        raise ImageError(source, NEEDS_PYAV) from None
    return translate_stream(
        source, target, translate, batch_size, metadata=metadata, progress=progress
    )


def write_animation(target: Path, frames: Iterable[Pixels], frames_per_second: int) -> None:
    """Write a gif that begins again at its end, or an mp4 without sound."""
    if target.suffix.lower() == ".gif":
        milliseconds = 1000 // frames_per_second
        write_gif(target, (timed_image(each, milliseconds) for each in frames), {"loop": 0})
        return
    try:
        from cyclegan_style.applying.video_stream import write_frames
    except ImportError:
        raise ImageError(target, NEEDS_PYAV) from None
    write_frames(target, frames, frames_per_second)
