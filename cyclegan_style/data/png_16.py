"""PNG files of 16 bits a channel, of which Pillow reads colours as 8 and writes grey alone."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from cyclegan_style.data.images import PNG_COMPRESSION, opened_image
from cyclegan_style.data.metadata import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BITS_AT = 24
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_UP = 2
"""The filter that stores each row as its difference from the one above."""
_BLOCK = 2**20


def is_png_16(beginning: bytes) -> bool:
    """Whether a file begins like a PNG of 16 bits."""
    return beginning.startswith(SIGNATURE) and beginning[_BITS_AT : _BITS_AT + 1] == b"\x10"


def read_png_16(path: Path) -> tuple[NDArray[np.uint16], bool]:
    """The values of a file as they stand, H×W×C, and whether the last channel is alpha."""
    with opened_image(path) as image:
        stored, transparent = _tiles(image)[0].args, image.info.get("transparency")
    match stored:
        case "I;16B":
            values: NDArray[np.uint16] = _decoded(path)[:, :, None].astype(np.uint16)
        case "LA;16B":  # whose four bytes a pixel Pillow can hand over as they are
            values = _decoded(path, "RGBA", "RGBA").view(">u2").astype(np.uint16)
        case _:
            colours = str(stored).partition(";")[0]
            high, low = (
                _decoded(path, f"{colours};16{order}", colours).astype(np.uint16) for order in "BL"
            )
            values = (high << np.uint16(8)) | low
    if transparent is None or values.shape[2] not in (1, 3):
        return values, values.shape[2] in (2, 4)
    opaque = (values != np.array(transparent)).any(axis=2, keepdims=True)
    return np.concatenate([values, np.where(opaque, 65535, 0).astype(np.uint16)], axis=2), True


def write_png_16(stream: BinaryIO, values: NDArray[np.uint16], metadata: Metadata) -> None:
    """Write H×W×C values of one to four channels."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    stream.write(SIGNATURE + _chunk(b"IHDR", header))
    if profile := metadata.get("icc_profile"):
        stream.write(_chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile)))
    if exif := metadata.get("exif"):
        stream.write(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    for block in _compressed(values):
        stream.write(_chunk(b"IDAT", block))
    stream.write(_chunk(b"IEND", b""))


def _decoded(path: Path, raw_mode: str = "", mode: str = "") -> NDArray[np.generic]:
    """Pixels as Pillow unpacks them, or would if the file held them in another raw mode.

    That of 16 bits from big-endian bytes gives the higher half of each value, and the one from
    little-endian bytes its lower half.
    """
    with opened_image(path) as image:
        if raw_mode:
            _reinterpret(image, raw_mode, mode)
        return np.array(image)


def _reinterpret(image: Image.Image, raw_mode: str, mode: str) -> None:
    image._mode = mode
    tiles = _tiles(image)
    tiles[:] = [tile._replace(args=raw_mode) for tile in tiles]
    image.info.pop("transparency", None)  # it would be looked for among halves


def _tiles(image: Image.Image) -> list[Any]:
    """Where the encoded pixels lie in a file that was opened, and how they are packed."""
    assert isinstance(image, ImageFile.ImageFile)
    return image.tile


def _compressed(values: NDArray[np.uint16]) -> Iterator[bytes]:
    """The rows, each the difference of its bytes from those above, as one stream of zlib."""
    rows = values.astype(">u2").view(np.uint8).reshape(len(values), -1)
    differences = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    filtered = np.pad(differences, ((0, 0), (1, 0)), constant_values=_UP)
    compressor = zlib.compressobj(PNG_COMPRESSION)
    content = filtered.tobytes()
    for start in range(0, len(content), _BLOCK):
        if block := compressor.compress(content[start : start + _BLOCK]):
            yield block
    yield compressor.flush()


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
