"""The sample sheets of a run as pictures within the report."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

from PIL import Image

from cyclegan_style.data.images import ImageError, read_image, to_pillow

MAX_SAMPLES = 12
SAMPLE_WIDTHS = (1000, 800, 640, 500, 360)
SAMPLE_BYTES = 220_000
THUMBNAIL_SIZE = (280, 90)


@dataclass(frozen=True)
class Picture:
    """A picture, and a small one for the strip, as data URIs."""

    uri: str
    thumbnail: str
    width: int
    height: int


def read_samples(folder: Path, most: int = MAX_SAMPLES) -> dict[int, Picture]:
    """A few sample sheets by step, from the first to the newest; of one, the newest."""
    found = {}
    for path in folder.glob("step-*.png"):
        if match := re.fullmatch(r"step-(\d{1,15})\.png", path.name):
            found[int(match[1])] = path
    samples = {}
    for step in spread(sorted(found), most):
        try:
            status = found[step].stat()
            samples[step] = encode_sample(found[step], status.st_mtime_ns, status.st_size)
        except (OSError, ImageError):
            continue
    return samples


def spread(steps: Sequence[int], count: int) -> list[int]:
    """At most so many of the steps, evenly spread, the first and the last among them."""
    if len(steps) <= count:
        return list(steps)
    if count == 1:
        return [steps[-1]]
    return [steps[round(place * (len(steps) - 1) / (count - 1))] for place in range(count)]


@lru_cache(maxsize=128)  # each sample was once the newest, so later reports decode only one
def encode_sample(path: Path, _modified: int, _size: int) -> Picture:
    """A sample sheet for the report."""
    image = to_pillow(read_image(path)).convert("RGB")
    return encode(image, top_left(image))


def encode(image: Image.Image, thumbnail: Image.Image) -> Picture:
    """An RGB image as JPEG, narrowed until it is small enough for the report."""
    for width in SAMPLE_WIDTHS:
        size = (width, max(1, round(image.height * width / image.width)))
        scaled = image.resize(size, reducing_gap=2.0) if width < image.width else image
        content = jpeg(scaled)
        if len(content) <= SAMPLE_BYTES:
            break
    return Picture(data_uri(content), data_uri(jpeg(thumbnail)), scaled.width, scaled.height)


def top_left(image: Image.Image) -> Image.Image:
    """The first pictures of a sheet, small."""
    width, height = THUMBNAIL_SIZE
    right = max(1, image.width // 2)
    bottom = max(1, min(image.height, right * height // width))
    return image.resize(THUMBNAIL_SIZE, box=(0, 0, right, bottom), reducing_gap=2.0)


def jpeg(image: Image.Image) -> bytes:
    """A picture's JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return file.getvalue()


def data_uri(content: bytes) -> str:
    """A JPEG file as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def figure_html(picture: Picture, caption: str) -> str:
    """A picture with what it is below it."""
    text = escape(caption)
    return (
        f'<figure><img src="{picture.uri}" width="{picture.width}" height="{picture.height}"'
        f' alt="{text}"><figcaption class="soft">{text}</figcaption></figure>'
    )


def samples_html(samples: Mapping[int, Picture], what: str) -> str:
    """The pictures of steps, the newest shown, with a slider and a strip to choose another."""
    if not samples:
        return '<p class="soft">No samples yet.</p>'
    newest = max(samples)
    sheets, strip = [], []
    for step, picture in samples.items():
        shown = step == newest
        sheets.append(
            f'<figure class="sample{" shown" if shown else ""}">'
            f'<img src="{picture.uri}" width="{picture.width}" height="{picture.height}"'
            f' alt="{what} at step {step:,}">'
            f'<figcaption class="hidden">Step {step:,}</figcaption></figure>'
        )
        strip.append(
            f'<button type="button" aria-pressed="{str(shown).lower()}"'
            f' aria-label="Show the sample of step {step:,}">'
            f'<img src="{picture.thumbnail}" alt="">{step:,}</button>'
        )
    last = len(samples) - 1
    return (
        f'<div class="sheets">{"".join(sheets)}</div>'
        '<div class="slide"><label for="slider">Step</label>'
        f'<input type="range" id="slider" min="0" max="{last}" value="{last}"'
        f' aria-valuetext="step {newest:,}">'
        f'<output for="slider" id="shown">step {newest:,}</output></div>'
        f'<div class="strip">{"".join(strip)}</div>'
    )
