"""Files of a page: what was uploaded, and what is shown and downloaded.

Gradio hands out every file below one folder to whoever knows its name. Here that folder is this
process's alone, names in it cannot be guessed, and Gradio deletes what has become old.
"""

import atexit
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from cyclegan_style.data.images import (
    ImageError,
    Pixels,
    from_pillow,
    opened_image,
    to_pillow,
    write_image,
)
from cyclegan_style.errors import UserError, printable

MOST_SHOWN = 1600
"""Longest side in pixels of a preview; what is downloaded has all of them."""
LONGEST_NAME = 80
"""Characters of a file's name that are kept."""
MOST_KEPT_BYTES = 2 * 2**30
MOST_KEPT_FILES = 20_000
"""Of everybody's files together; Gradio deletes those that have become old."""
FOLDER_VARIABLE = "GRADIO_TEMP_DIR"


@cache
def own_folder() -> Path:
    """The folder of all files of this process, deleted when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="cyclegan-style-page-")).resolve()  # for its user alone
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[FOLDER_VARIABLE] = str(folder)  # Gradio looks there with every request
    return folder


def is_full() -> bool:
    """Whether there is room for no other upload."""
    files = size = 0
    for place, _, names in os.walk(own_folder()):
        files += len(names)
        for name in names:
            with suppress(OSError):  # it has just been deleted
                size += Path(place, name).stat().st_size
    return files >= MOST_KEPT_FILES or size >= MOST_KEPT_BYTES


def new_file(name: str) -> Path:
    """Where a file of this name can be written."""
    folder = own_folder() / secrets.token_hex(16)
    folder.mkdir()
    return folder / name


class UploadedFile:
    """A file that a browser has sent."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self.path = Path(str(payload.get("path"))).resolve()
        if not self.path.is_relative_to(own_folder()):
            raise UserError("upload the file")
        name = Path(str(payload.get("orig_name") or self.path.name))
        self.name = printable(name.name)[:LONGEST_NAME]
        self.stem = printable(name.stem)[:LONGEST_NAME] or "picture"

    def read(self, most_pixels: int) -> Image.Image:
        """The decoded picture; a UserError in one line if it is none, or too large."""
        try:
            with opened_image(self.path) as image:
                width, height = image.size
                if width * height > most_pixels:
                    raise UserError(
                        f"{width} × {height} pixels are more than the {most_pixels:,} taken here"
                    )
                image.load()
                return image
        except ImageError as error:
            raise UserError(printable(f"{self.name}: {error.reason}")) from None


def uploaded(payload: Mapping[str, Any] | None) -> UploadedFile:
    """The file in an input of the page; a UserError if it is empty."""
    if not payload:
        raise UserError("choose a picture first")
    return UploadedFile(payload)


def save_preview(picture: Image.Image, name: str) -> str:
    """A file that shows the picture upright and no larger than a screen."""
    pixels = from_pillow(picture)
    image = to_pillow(pixels)
    image.thumbnail((MOST_SHOWN, MOST_SHOWN))
    path = new_file(f"{name}.webp")
    image.save(path, "WEBP", quality=90, method=2)
    return str(path)


def save_download(picture: Image.Image, name: str) -> str:
    """A PNG file of exactly these pixels."""
    path = new_file(f"{name}.png")
    picture.save(path, "PNG", compress_level=3)
    return str(path)


def save_pixels(pixels: Pixels, name: str) -> str:
    """A PNG file of pixels."""
    path = new_file(f"{name}.png")
    write_image(path, pixels)
    return str(path)


def save_archive(files: Sequence[str], name: str) -> str:
    """A ZIP file of files, as they are."""
    path = new_file(f"{name}.zip")
    taken: set[str] = set()
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(map(Path, files), 1):
            own = file.name if file.name not in taken else f"{file.stem}-{number}{file.suffix}"
            taken.add(own)
            archive.write(file, own)
    return str(path)
