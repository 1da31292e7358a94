"""One image file ⇄ one array of pixels ⇄ one tensor in [-1, 1].

Pixels are uint8 arrays of height × width × channels: 1 grey, 2 grey with alpha, 3 RGB, 4 RGB with
alpha, in the colours of sRGB. What has more than 8 bits is float32 with fractions of the same
levels from 0 to 255, and any number of channels (``data/levels.py``). Whatever is wrong with a file
is said in one line, by ImageError.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image

from cyclegan_style.data.metadata import Metadata, in_srgb, upright, upright_size
from cyclegan_style.errors import UserError, printable
from cyclegan_style.system.constants import constant
from cyclegan_style.system.whole_files import whole_file

Pixels = NDArray[np.uint8 | np.float32]
EightBits = NDArray[np.uint8]
Picture = str | Path | Image.Image | Pixels
"""What a user may hand over as one: a path, a Pillow image or pixels."""

MAX_PIXELS = 500_000_000
"""Files of more pixels are refused: a few kilobytes can claim to hold terabytes."""

_FORMATS_BY_ENDING = {
    ".bmp": "BMP",
    ".jfif": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
WRITABLE_ENDINGS = frozenset(_FORMATS_BY_ENDING)
"""Endings, in lower case, of the files that can be written."""
IMAGE_ENDINGS = WRITABLE_ENDINGS | {".avif", ".heic", ".heif", ".jp2", ".ppm"}
"""Endings, in lower case, of the files that count as images in a folder."""

PNG_COMPRESSION = 3
"""Files of photographs are 0.3 % larger than at Pillow's 6, in two fifths of the time."""

# Formats that are recognised by content, whatever the ending says. Pillow knows more, among them
# EPS, for which it would start Ghostscript.
_READABLE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class ImageError(UserError):
    """An image file that cannot be read or written, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(printable(f"{path}: {reason}"))
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path, str]]:
        """Travel between processes, which exceptions of two arguments do not by themselves."""
        return type(self), (self.path, self.reason)


class TooManyPixelsError(ImageError):
    """An image whose header tells of more pixels than are allowed."""


def read_image(
    path: str | Path, channels: int = 3, content: bytes | None = None, enough: int | None = None
) -> Pixels:
    """Decode the first picture of a file, upright, as 8-bit pixels of the given channels.

    A file whose ``content`` is given is only called by its path. A JPEG whose sides are
    divisible by 8, 4 or 2 is decoded at that part of its size if its shorter side then has
    ``enough`` pixels.
    """
    with opened_image(Path(path), content) as image:
        if enough is not None:
            _reduce_jpeg(image, enough)
        return from_pillow(image, channels)


def read_stored_rgb(path: str | Path) -> Pixels:
    """Decode a file the way the public evaluation tools do, for numbers that agree with theirs.

    Neither is it turned upright nor is alpha laid on white, and 16-bit grey is clipped at 255.
    """
    with opened_image(Path(path)) as image:
        return np.array(image.convert("RGB"))


def read_size(path: str | Path, content: bytes | None = None) -> tuple[int, int]:
    """Height and width of the upright picture, by what its file says before the pixels."""
    with opened_image(Path(path), content) as image:
        return upright_size(image)


def write_image(
    path: str | Path, pixels: Pixels, quality: int = 95, metadata: Metadata | None = None
) -> None:
    """Write pixels in the format of the path's ending; the file appears whole or not at all.

    JPEG and BMP hold no alpha: transparency is laid on white.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE_ENDINGS:
        known = ", ".join(sorted(WRITABLE_ENDINGS))
        raise ImageError(path, f"unknown ending; known are {known}")
    try:
        with whole_file(path) as stream:
            save_image(stream, path.suffix, pixels, quality, metadata)
    except (OSError, ValueError) as error:
        raise ImageError(path, f"cannot be written: {reason_of(error)}") from error


def save_image(
    stream: BinaryIO,
    ending: str,
    pixels: Pixels,
    quality: int = 95,
    metadata: Metadata | None = None,
) -> None:
    """Write pixels to a stream in the format of an ending, one of ``WRITABLE_ENDINGS``."""
    image_format = _FORMATS_BY_ENDING[ending.lower()]
    image = to_pillow(pixels, metadata)
    options: dict[str, Any] = {name: image.info.get(name, b"") for name in ("exif", "icc_profile")}
    if image_format in ("JPEG", "BMP") and image.mode in ("LA", "RGBA"):
        image = _on_white(image)
    if image_format in ("JPEG", "WEBP"):
        options["quality"] = quality
    if image_format == "PNG":
        options["compress_level"] = PNG_COMPRESSION
    image.save(stream, image_format, **options)


def pixels_of(picture: Picture, channels: int = 3) -> Pixels:
    """8-bit pixels, upright and of the given channels, of a path, a Pillow image or an array."""
    if isinstance(picture, str | Path):
        return read_image(picture, channels)
    if isinstance(picture, Image.Image):
        return from_pillow(picture, channels)
    if not isinstance(picture, np.ndarray):
        raise UserError(
            "a picture must be a path, a Pillow image or an array of pixels, not"
            f" {type(picture).__name__}"
        )
    if picture.dtype != "uint8" or picture.ndim != 3 or picture.shape[2] not in (1, 2, 3, 4):
        raise UserError(
            "pixels must be H×W×C of uint8 with 1 to 4 channels, not"
            f" {'×'.join(map(str, picture.shape))} of {picture.dtype}"
        )
    if 0 in picture.shape:
        raise UserError("pixels must be at least 1×1")
    return from_pillow(to_pillow(picture), channels)


def from_pillow(image: Image.Image, channels: int = 3) -> EightBits:
    """Pixels of a Pillow image of any mode and colour profile, upright and in sRGB.

    1 and 3 channels lay alpha on white.
    """
    image.load()
    profile = image.info.get("icc_profile")
    image = upright(image)
    if image.mode == "LA":  # whose profile is one of grey, which knows no alpha
        alpha = image.getchannel("A")
        image = in_srgb(image.getchannel("L"), profile).convert("RGB")
        image.putalpha(alpha)
    else:
        image = in_srgb(_eight_bits(image), profile)
    if image.mode == "RGBA" and channels in (1, 3):
        image = _on_white(image)
    if image.mode != _MODES[channels]:
        image = image.convert(_MODES[channels])
    return np.array(image).reshape(image.height, image.width, channels)


def to_pillow(pixels: Pixels, metadata: Metadata | None = None) -> Image.Image:
    """The Pillow image of mode L, LA, RGB or RGBA with these pixels."""
    pixels = eight_bits(pixels)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.info.update(metadata or {})
    if pixels.shape[2] < 3:
        image.info.pop("icc_profile", None)  # it is one of colours
    return image


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize to (height, width) with Pillow's antialiased bicubic filter, as the reference does.

    Colours of transparent pixels are weighted by their alpha, so they do not bleed.
    """
    height, width = size
    return by_pillow(pixels, lambda image: image.resize((width, height), Image.Resampling.BICUBIC))


def by_pillow(pixels: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    """The picture changed by Pillow, which changes each channel of levels with fractions alone."""
    if pixels.dtype == np.uint8:
        image = change(to_pillow(pixels))
        return np.array(image).reshape(image.height, image.width, pixels.shape[2])
    channels = [change(Image.fromarray(channel)) for channel in pixels.transpose(2, 0, 1)]
    return np.stack([np.asarray(image) for image in channels], axis=2).clip(0, 255)


def eight_bits(pixels: Pixels) -> EightBits:
    """The nearest whole levels."""
    if pixels.dtype == np.uint8:
        return cast(EightBits, pixels)
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


def to_tensor(pixels: Pixels) -> torch.Tensor:
    """Pixels as a float32 tensor of channels × height × width in [-1, 1].

    (x / 255 − 0.5) / 0.5 is bit for bit what torchvision's ToTensor and Normalize(0.5, 0.5) make of
    it in the reference; x / 127.5 − 1 rounds differently.
    """
    # By NumPy, because torch would start its threads for so little, and because this copy also
    # takes what torch.from_numpy does not: read-only and mirrored views.
    values = np.array(pixels.transpose(2, 0, 1), dtype=np.float32, order="C")
    values /= 255
    values -= 0.5
    values /= 0.5
    return torch.from_numpy(values)


def to_pixels(tensor: torch.Tensor) -> Pixels:
    """Pixels nearest to a channels × height × width tensor, values beyond [-1, 1] clamped."""
    pixels: Pixels = quantised(tensor.detach()).permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def normalised(levels: torch.Tensor) -> torch.Tensor:
    """Levels from 0 to 255 as ``to_tensor`` makes them, in any order and on any device."""
    return levels.to(torch.float32, copy=True).div_(255).sub_(0.5).div_(0.5)


def quantised(values: torch.Tensor) -> torch.Tensor:
    """The nearest levels to values in [-1, 1], those beyond clamped, as uint8 on their device."""
    return values.float().add(1).mul_(127.5).round_().clamp_(0, 255).byte()


def levels_with_fractions(values: torch.Tensor) -> torch.Tensor:
    """The same of what has more than 8 bits, not rounded."""
    return values.float().add(1).mul_(127.5).clamp_(0, 255)


def luminance(images: torch.Tensor) -> torch.Tensor:
    """N×1×H×W brightness of N×3×H×W colours: 0.299 R + 0.587 G + 0.114 B (BT.601, as in JPEG)."""
    weights = constant((0.299, 0.587, 0.114), images).view(3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


@contextmanager
def opened_image(
    path: Path, content: bytes | None = None, most_pixels: int = MAX_PIXELS
) -> Iterator[Image.Image]:
    """Open an image file, its header read; what goes wrong until it is closed is an ImageError.

    A file whose ``content`` is given is only called by its path.
    """
    try:
        with _opened_file(path) if content is None else io.BytesIO(content) as stream:
            yield _header_read(stream, path, most_pixels)
    except ImageError:
        raise
    except UserError as error:  # a refusal of ours, not damage
        raise ImageError(path, str(error)) from error
    except Exception as error:  # Pillow's decoders answer damaged files with almost any exception
        raise ImageError(path, reason_of(error)) from error


def _opened_file(path: Path) -> BinaryIO:
    refuse_irregular(path)
    return path.open("rb")


def _header_read(stream: BinaryIO, path: Path, most_pixels: int) -> Image.Image:
    image = _identify(stream)
    if image is None:
        empty = stream.seek(0, os.SEEK_END) == 0
        raise ImageError(path, "the file is empty" if empty else "not an image of a known kind")
    if image.width * image.height > most_pixels:
        size = f"{image.width} × {image.height} pixels"
        raise TooManyPixelsError(path, f"{size} are more than the limit of {most_pixels:,}")
    return image


def refuse_irregular(path: Path) -> None:
    """Raise an ImageError for pipes and devices, whose opening may wait for ever."""
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise ImageError(path, "not a regular file")


def _reduce_jpeg(image: Image.Image, enough: int) -> None:
    """Let a JPEG, of which only the header was read, be decoded without its highest frequencies.

    Sides that a factor does not divide would be rounded up, and the picture be shrunk by as much.
    """
    for times in (8, 4, 2) if image.format == "JPEG" else ():
        divisible = not (image.width % times or image.height % times)
        if divisible and min(image.size) >= times * enough:
            image.draft(image.mode, (image.width // times, image.height // times))
            return


def _identify(stream: BinaryIO) -> Image.Image | None:
    """Do as Image.open does, without its own limit on pixels.

    That one warns from 89 megapixels on, and can only be moved for the whole process, which is not
    ours to do. Two of Pillow's readers, uncompressed TIFF and WebP, keep to it nonetheless: they
    refuse twice as many.
    """
    prefix = stream.read(16)
    # The first imports the commonest readers, the second dozens.
    is_heif = prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS
    for import_readers in (Image.preinit, Image.init, *([_import_heif] if is_heif else [])):
        import_readers()
        for name in _READABLE_FORMATS:
            factory, accepts = Image.OPEN.get(name, (None, None))
            # A reader that was compiled without its library accepts with a message, not True.
            if factory is None or accepts is None or accepts(prefix) is not True:
                continue
            stream.seek(0)
            # A SyntaxError is how readers say that the rest of the header is not theirs after all.
            with suppress(SyntaxError):
                return factory(stream, "")
    return None


def _import_heif() -> None:
    """Let Pillow read what phones write."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise UserError("a HEIC picture: pip install 'cyclegan-style[heic]'") from None
    register_heif_opener()


def reason_of(error: Exception) -> str:
    """What went wrong with a file, on one line."""
    match error:
        case FileNotFoundError():
            return "no such file or folder"
        case IsADirectoryError():
            return "is a folder"
        case PermissionError():
            return "permission denied"
        case MemoryError():
            return "too large for the memory that is free"
        case OSError(strerror=str(message)):
            return message
    return f"damaged or unsupported ({str(error) or type(error).__name__})"


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as L, RGB, RGBA or CMYK."""
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled_to_eight_bits(image)
    if image.mode == "CMYK":
        return image
    if image.mode == "La":  # the one alpha mode that Pillow does not convert to RGBA
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _scaled_to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floats as 8 bits; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    white = _white_level(image, values)
    scaled = np.rint(np.clip(np.nan_to_num(values), 0, white) * (255 / white))
    grey = Image.fromarray(scaled.astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
        return Image.merge("LA", (grey, alpha)).convert("RGBA")
    return grey


def _white_level(image: Image.Image, values: NDArray[np.generic]) -> float:
    """The value that means white.

    16-bit files say it. 32-bit integers and floats do not, so it is guessed from the largest value:
    integers fill the least of 8 and 16 bits that holds it, floats fill 0 to 1, and beyond that the
    largest value itself is white.
    """
    if image.mode.startswith("I;16"):
        twelve_bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample) == (12,)
        return 4095 if twelve_bits else 65535
    finite = values[np.isfinite(values)]
    largest = float(finite.max()) if finite.size else 1.0
    usual = (1,) if image.mode == "F" else (255, 65535)
    return next((level for level in usual if largest <= level), largest)


def _on_white(image: Image.Image) -> Image.Image:
    opaque = image.convert("RGB" if image.mode == "RGBA" else "L")
    canvas = Image.new(opaque.mode, image.size, "white")
    canvas.paste(opaque, mask=image.getchannel("A"))
    return canvas
