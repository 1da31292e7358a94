"""What a picture's file says beside its pixels: how to turn it, its colours, and its making."""

import io
from contextlib import suppress
from functools import cache, lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

Number = TypeVar("Number", bound=np.generic)

Metadata = dict[str, bytes]
"""What is kept of a file beside its pixels, by Pillow's names: ``exif`` and ``icc_profile``."""

_TURN_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_SAME_COLOUR = 2
"""Levels by which profiles that all mean sRGB differ: a rounding of the curve here and there."""

# What describes the scene or its maker. Others describe how the file stores its pixels, or, like
# the preview and the maker's note, hold a copy of the picture before its translation.
_KEPT_TAGS = frozenset(
    {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.XResolution,
        ExifTags.Base.YResolution,
        ExifTags.Base.ResolutionUnit,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.HostComputer,
        ExifTags.Base.Copyright,
        ExifTags.Base.Rating,
        ExifTags.Base.XPTitle,
        ExifTags.Base.XPComment,
        ExifTags.Base.XPAuthor,
        ExifTags.Base.XPKeywords,
        ExifTags.Base.XPSubject,
    }
)
_DROPPED_CAMERA_TAGS = frozenset(
    {
        ExifTags.Base.MakerNote,
        ExifTags.Base.ExifImageWidth,
        ExifTags.Base.ExifImageHeight,
        ExifTags.Base.ExifInteroperabilityOffset,
    }
)
_EXIF_SRGB = 1
_PNG_METADATA = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
_MAX_EXIF_BYTES = 65533
"""What a JPEG file has room for."""


def upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation would have it shown."""
    # ImageOps.exif_transpose also rewrites the metadata, which fails on odd ones, and copies.
    turn = _TURN_OF_ORIENTATION.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def orientation_of(image: Image.Image) -> int:
    """The number by which EXIF tells how to turn an image."""
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata must not cost a sound picture
        return 1
    return orientation


def lies(orientation: int) -> bool:
    """Whether what is stored with an orientation lies on its side."""
    return orientation in (5, 6, 7, 8)


def turned(values: NDArray[Number], orientation: int) -> NDArray[Number]:
    """The same of H×W×C values."""
    if lies(orientation):
        values = values.transpose(1, 0, 2)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return values[::down, ::across]


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of ``upright(image)``, by what a file says before its pixels."""
    size = image.height, image.width
    if image.format == "TIFF":  # which Pillow itself turns
        return size
    if image.format == "PNG" and not _PNG_METADATA & image.info.keys():  # Pillow would decode it
        return size
    return size[::-1] if lies(orientation_of(image)) else size


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of mode L, RGB, RGBA or CMYK, as L, RGB or RGBA and in the colours of sRGB.

    A profile that cannot be used is ignored.
    """
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ImportError):
            transform = _transform_to_srgb(profile, image.mode)
            if transform is not None:
                return transform.apply(image)
    return image.convert("RGB") if image.mode == "CMYK" else image


def kept_metadata(image: Image.Image) -> Metadata:
    """What a file says that still holds for its picture's translation.

    The tags of who, when, where and with which camera; and the profile of sRGB if the file had a
    profile, so that programs that manage colours go on doing so.
    """
    metadata: Metadata = {}
    if exif := _kept_exif(image):
        metadata["exif"] = exif
    if image.info.get("icc_profile"):
        with suppress(ImportError, OSError, ImageCms.PyCMSError):
            metadata["icc_profile"] = _srgb_profile()
    return metadata


def _kept_exif(image: Image.Image) -> bytes:
    try:
        exif = image.getexif()
        kept = Image.Exif()
        kept.update((tag, value) for tag, value in exif.items() if tag in _KEPT_TAGS)
        if camera := exif.get_ifd(ExifTags.IFD.Exif):
            kept[ExifTags.IFD.Exif] = {
                tag: value for tag, value in camera.items() if tag not in _DROPPED_CAMERA_TAGS
            } | {ExifTags.Base.ColorSpace: _EXIF_SRGB}
        if place := exif.get_ifd(ExifTags.IFD.GPSInfo):
            kept[ExifTags.IFD.GPSInfo] = dict(place)
        if not kept:
            return b""
        kept[ExifTags.Base.Orientation] = 1
        written = kept.tobytes()
    except Exception:  # damaged metadata must not cost a sound picture
        return b""
    return written if len(written) <= _MAX_EXIF_BYTES else b""


@lru_cache(maxsize=32)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What converts pixels of this mode to sRGB as photo editors do; None if nothing would change.

    Profiles that mean sRGB are many, so they are known by what they do.
    """
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
        return None
    transform = ImageCms.buildTransform(
        source,
        ImageCms.ImageCmsProfile(io.BytesIO(_srgb_profile())),
        mode,
        "RGBA" if mode == "RGBA" else "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode == "CMYK":
        return transform
    colours = Image.linear_gradient("L") if mode == "L" else _lattice().convert(mode)
    before, after = (np.array(c.convert("RGB"), int) for c in (colours, transform.apply(colours)))
    return transform if np.abs(after - before).max() > _SAME_COLOUR else None


def _lattice() -> Image.Image:
    """Colours from all over RGB."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    red, green, blue = np.meshgrid(levels, levels, levels)
    return Image.fromarray(np.stack([red, green, blue], -1).reshape(len(levels), -1, 3))


@cache
def _srgb_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24 to 36 are the time of its making, which would tell otherwise equal files apart.
    return profile[:24] + bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]) + profile[36:]
