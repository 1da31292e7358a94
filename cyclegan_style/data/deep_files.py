"""Files of more than 8 bits or four channels ⇄ their values as they stand: PNG, TIFF and .npy.

Values are H×W×C arrays of the file's own type, upright. A colour profile is not applied to them,
but handed on. Files of 8 bits are read as ever, in the colours of sRGB.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from cyclegan_style.data.images import (
    MAX_PIXELS,
    ImageError,
    Pixels,
    TooManyPixelsError,
    eight_bits,
    from_pillow,
    opened_image,
    read_image,
    read_size,
    reason_of,
    refuse_irregular,
    write_image,
)
from cyclegan_style.data.levels import (
    Range,
    Values,
    unclamped_levels,
    usual_range,
    with_channels,
)
from cyclegan_style.data.metadata import (
    Metadata,
    kept_metadata,
    lies,
    orientation_of,
    turned,
    upright,
)
from cyclegan_style.data.png_16 import is_png_16, read_png_16, write_png_16
from cyclegan_style.errors import UserError
from cyclegan_style.system.whole_files import whole_file

ARRAY_ENDING = ".npy"
MOST_VALUES = 4 * MAX_PIXELS
"""Values of all channels together beyond which a file is refused."""

_ARRAY_SIGNATURE = b"\x93NUMPY"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_ENDINGS = (".tif", ".tiff")
_TIFF_PROFILE = 34675
_COMPRESSIONS = (1, 8, 32946)
"""None and deflate, in its two numbers, which tifffile reads by itself."""
_ALPHA = (1, 2)
"""What a TIFF calls samples that are alpha."""
_UNSIGNED = 1
"""What a TIFF calls whole numbers without a sign."""
_AXES = {"YX": (0, 1), "YXS": (0, 1, 2), "SYX": (1, 2, 0)}
"""Orders in which a TIFF holds rows, columns and samples, and where those of H×W×C are then."""
_GREY_MODES = ("I;16", "I;16B", "F")
"""Modes of Pillow that hold a file's values as they are."""

for _reader in ("PIL.TiffImagePlugin", "tifffile"):  # which log what they raise, on many lines
    logging.getLogger(_reader).setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Stored:
    """What a file holds."""

    values: Values
    metadata: Metadata
    """What a translation keeps of it."""
    alpha: bool = False
    """Whether the last channel is one."""
    white: float | None = None
    """The value of white, if it is not the type's largest."""

    @property
    def usual_range(self) -> Range | None:
        """Values of black and white, where they are known."""
        if self.white is not None:
            return 0.0, self.white
        return usual_range(self.values.dtype)

    def levels(self, channels: int, values_range: Range | None = None) -> Pixels:
        """Levels with so many channels, by this range or from black to white; or a UserError."""
        scale = values_range or self.usual_range
        if scale is None:
            raise UserError(
                f"which of its {self.values.dtype} values is white is not known: set data.range in"
                " training"
            )
        levels = self.unclamped_levels(scale).clip(0, 255).astype(np.float32)
        return with_channels(levels, channels, alpha=self.alpha)

    def unclamped_levels(self, values_range: Range) -> NDArray[np.float64]:
        """Levels by a range, those beyond it, too; alpha is no value of the range."""
        levels = unclamped_levels(self.values, values_range)
        if self.alpha:
            opaque = usual_range(self.values.dtype) or (0.0, 1.0)
            levels[:, :, -1] = unclamped_levels(self.values[:, :, -1], opaque)
        return levels


def is_deep(path: Path) -> bool:
    """Whether a file holds more than a picture of 8 bits, and can be read as it is.

    Of TIFF files those of 16-bit whole numbers count, of which white is known. Pillow reads others,
    and those in colours where what reads them whole is missing, as 8 bits.
    """
    with _errors_of(path):
        beginning = _beginning(path)
    if is_png_16(beginning) or beginning.startswith(_ARRAY_SIGNATURE):
        return True
    if not beginning.startswith(_TIFF_SIGNATURES):
        return False
    try:
        with opened_image(path) as image:
            bits = _tag(image, ExifTags.Base.BitsPerSample, (1,))
            unsigned = set(_tag(image, ExifTags.Base.SampleFormat, (_UNSIGNED,))) == {_UNSIGNED}
            readable = len(bits) == 1 or _is_read_by_tifffile(image)
            return max(bits) == 16 and unsigned and _is_picture(image) and readable
    except ImageError:
        return False


def read_stored(path: Path) -> Stored:
    """What a file of any kind holds; an ImageError tells in one line what is wrong with it."""
    with _errors_of(path):
        beginning = _beginning(path)
        if beginning.startswith(_ARRAY_SIGNATURE):
            stored = Stored(np.array(_mapped(path)), {})
        elif is_png_16(beginning):
            stored = _stored_png(path)
        elif beginning.startswith(_TIFF_SIGNATURES):
            stored = _stored_tiff(path)
        else:
            with opened_image(path) as image:
                stored = _eight_bit(image)
        if stored.values.dtype.kind == "f" and not np.isfinite(stored.values).all():
            raise ImageError(path, "some of its values are no numbers (NaN or infinite)")
        return stored


def read_picture(
    path: Path, channels: int, values_range: Range | None = None, enough: int | None = None
) -> Pixels:
    """Pixels of a file: levels with fractions where a range is given, and otherwise 8 bits.

    Of 8 bits, a large JPEG is reduced if so many pixels are enough, as by ``read_image``.
    """
    if values_range is None and path.suffix.lower() != ARRAY_ENDING:
        return read_image(path, channels, enough=enough)
    stored = read_stored(path)
    with _errors_of(path):
        levels = stored.levels(channels, values_range)
    return eight_bits(levels) if values_range is None else levels


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright picture, by what is said before its pixels."""
    with _errors_of(path):
        if path.suffix.lower() == ARRAY_ENDING and _beginning(path).startswith(_ARRAY_SIGNATURE):
            height, width = _mapped(path).shape[:2]
            return height, width
        try:
            return read_size(path)
        except TooManyPixelsError:
            raise
        except ImageError:
            if path.suffix.lower() not in _TIFF_ENDINGS or not _has_tifffile():
                raise
        with _opened_tiff(path) as page:
            size: tuple[int, int] = (page.imagelength, page.imagewidth)
            return size[::-1] if lies(_orientation_of(page)) else size


def write_values(
    path: Path,
    values: Values,
    levels: Pixels,
    quality: int = 95,
    metadata: Metadata | None = None,
) -> None:
    """Write values in the format of the path's ending.

    JPEG and WebP hold 8 bits: they get the levels, unless the values have no more.
    """
    ending, channels = path.suffix.lower(), values.shape[2]
    in_eight_bits = values.dtype == np.uint8 and channels <= 4
    holds_all = ending == ARRAY_ENDING or (ending in _TIFF_ENDINGS and not in_eight_bits)
    if holds_all or (ending == ".png" and values.dtype == np.uint16 and channels <= 4):
        _write_deep(path, values, metadata or {})
    elif channels > 4 or (ending == ".png" and not in_eight_bits):
        what = f"{channels} channels of {values.dtype}"
        raise ImageError(path, f"{ending[1:]} does not hold {what}: choose tif as the format")
    else:
        write_image(path, cast(Pixels, values if in_eight_bits else levels), quality, metadata)


def _write_deep(path: Path, values: Values, metadata: Metadata) -> None:
    with _errors_of(path, "cannot be written: "), whole_file(path) as stream:
        match path.suffix.lower():
            case ".png":
                write_png_16(stream, values.astype(np.uint16, copy=False), metadata)
            case ".npy":
                np.save(stream, values, allow_pickle=False)
            case _:
                _write_tiff(stream, values, metadata)


@contextmanager
def _errors_of(path: Path, prefix: str = "") -> Iterator[None]:
    """Whatever goes wrong with a file is an ImageError of one line."""
    try:
        yield
    except ImageError:
        raise
    except UserError as error:
        raise ImageError(path, prefix + str(error)) from error
    except Exception as error:  # readers of TIFF files answer damaged ones with almost any
        reason = reason_of(error).partition("\n")[0]
        raise ImageError(path, prefix + reason) from error


def _beginning(path: Path) -> bytes:
    refuse_irregular(path)
    with path.open("rb") as stream:
        return stream.read(32)


def _mapped(path: Path) -> Values:
    """The array of a .npy file as H×W×C, of which nothing is read before it is asked for."""
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise UserError("a .npy file of a version that only holds structured arrays")
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(stream)
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        kind = "Python objects" if dtype.hasobject else str(dtype)
        raise UserError(f"an array of {kind}, not of numbers of up to 64 bits")
    if len(shape) not in (2, 3) or 0 in shape:
        raise UserError(f"an array of {'×'.join(map(str, shape)) or 'one value'}, not H×W or H×W×C")
    _refuse_size(path, *shape)
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.asarray(mapped).reshape(*shape[:2], -1)


def _refuse_size(path: Path, height: int, width: int, channels: int = 1) -> None:
    if height * width > MAX_PIXELS or height * width * channels > MOST_VALUES:
        size = f"{width} × {height} pixels of {channels} channels"
        raise TooManyPixelsError(path, f"{size} are more than the limit of {MAX_PIXELS:,}")


def _stored_png(path: Path) -> Stored:
    values, alpha = read_png_16(path)
    with opened_image(path) as image:
        metadata = _metadata_of(image)
        values = turned(values, orientation_of(image))
    return Stored(values, metadata, alpha)


def _stored_tiff(path: Path) -> Stored:
    """By Pillow what it reads as it stands, of any compression; the rest by tifffile."""
    try:
        with opened_image(path) as image:
            bits = _tag(image, ExifTags.Base.BitsPerSample, (1,))
            if max(bits) <= 8 and _is_picture(image):
                return _eight_bit(image)
            if image.mode in _GREY_MODES:
                metadata = _metadata_of(image)
                image.load()
                values = np.asarray(upright(image))[:, :, None]
                white = None if bits[0] >= 16 else float(2 ** bits[0] - 1)
                return Stored(values.astype(values.dtype.newbyteorder("=")), metadata, white=white)
    except TooManyPixelsError:
        raise
    except ImageError:  # more channels than a picture has, for example
        if not _has_tifffile():
            raise
    return _stored_by_tifffile(path)


def _stored_by_tifffile(path: Path) -> Stored:
    with _opened_tiff(path) as page:
        order = _AXES.get(page.axes)
        if order is None:
            raise UserError(f"a TIFF of axes {page.axes}, not of rows, columns and channels")
        _refuse_size(path, page.imagelength, page.imagewidth, page.samplesperpixel)
        if page.dtype is None or page.dtype.kind not in "uif":
            raise UserError(f"a TIFF of {page.dtype} values")
        values = page.asarray().transpose(order)
        values = values[:, :, None] if values.ndim == 2 else values
        metadata: Metadata = {}
        if _TIFF_PROFILE in page.tags:
            metadata["icc_profile"] = bytes(page.tags[_TIFF_PROFILE].value)
        alpha = values.shape[2] in (2, 4) and page.extrasamples[-1:] in [(each,) for each in _ALPHA]
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        return Stored(turned(values, _orientation_of(page)), metadata, alpha)


def _orientation_of(page: Any) -> int:
    tag = page.tags.get(int(ExifTags.Base.Orientation))
    return int(tag.value) if tag else 1


def _is_picture(image: Image.Image) -> bool:
    """Whether a TIFF has no samples but colours and alpha; Pillow drops others."""
    return set(_tag(image, ExifTags.Base.ExtraSamples, ())) <= set(_ALPHA)


def _eight_bit(image: Image.Image) -> Stored:
    alpha = image.has_transparency_data
    channels = 4 if alpha else 1 if image.mode in ("1", "L") else 3
    return Stored(from_pillow(image, channels), kept_metadata(image), alpha)


def _metadata_of(image: Image.Image) -> Metadata:
    """What is kept of a file whose colours stay as they are: its profile still holds."""
    metadata = kept_metadata(image)
    if "icc_profile" in metadata:
        metadata["icc_profile"] = image.info["icc_profile"]
    return metadata


def _tag(image: Image.Image, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of a TIFF's tag."""
    values: tuple[int, ...] = getattr(image, "tag_v2", {}).get(tag, default)
    return values


def _has_tifffile() -> bool:
    return find_spec("tifffile") is not None


def _is_read_by_tifffile(image: Image.Image) -> bool:
    """Whether a TIFF's compression needs nothing that is not installed."""
    compression = getattr(image, "tag_v2", {}).get(ExifTags.Base.Compression, 1)
    return _has_tifffile() and (
        compression in _COMPRESSIONS or find_spec("imagecodecs") is not None
    )


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError:
        raise UserError(
            "a TIFF of more than 8 bits or four channels: pip install 'cyclegan-style[tiff]'"
        ) from None
    return tifffile


@contextmanager
def _opened_tiff(path: Path) -> Iterator[Any]:
    """The first page of a TIFF file."""
    with _tifffile().TiffFile(path, _multifile=False) as file:
        yield file.pages.first


def _write_tiff(stream: BinaryIO, values: Values, metadata: Metadata) -> None:
    channels = values.shape[2]
    _tifffile().imwrite(
        stream,
        values[:, :, 0] if channels == 1 else values,
        photometric="rgb" if channels in (3, 4) else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        compression="zlib",
        iccprofile=metadata.get("icc_profile"),
        metadata=None,
        software=False,
    )
