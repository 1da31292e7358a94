"""Files of more than 8 bits and four channels come in and go out as they are."""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import ExifTags, Image

from cyclegan_style.data.deep_files import (
    Stored,
    is_deep,
    picture_size,
    read_picture,
    read_stored,
    write_values,
)
from cyclegan_style.data.images import (
    MAX_PIXELS,
    ImageError,
    levels_with_fractions,
    read_image,
    resize,
    to_tensor,
)
from cyclegan_style.data.levels import type_for, values_of, with_channels
from cyclegan_style.data.png_16 import write_png_16
from cyclegan_style.data.sampling import turned_crop
from cyclegan_style.errors import UserError

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def random_values(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.normal(0, 3, shape).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def interlaced_png(values: np.ndarray, *chunks: bytes) -> bytes:
    """A file of Adam7, whose rows are stored as they are."""
    height, width, channels = values.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    rows = b""
    for top, left, down, across in [*passes, (1, 0, 2, 1)]:
        part = values[top::down, left::across]
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part if row.size)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 1)
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + end


def write_png(path: Path, values: np.ndarray, **metadata: bytes) -> Path:
    with path.open("wb") as stream:
        write_png_16(stream, values, metadata)
    return path


# Files


@given(
    values=arrays(
        np.uint16,
        array_shapes(min_dims=3, max_dims=3, max_side=5).filter(lambda shape: shape[2] <= 4),
    )
)
def test_every_value_of_a_png_comes_back(values, tmp_path_factory):
    path = write_png(tmp_path_factory.getbasetemp() / "any.png", values)

    stored = read_stored(path)

    assert np.array_equal(stored.values, values) and stored.values.dtype == np.uint16
    assert stored.alpha == (values.shape[2] in (2, 4))


@pytest.mark.slow  # torchvision takes seconds to import
@pytest.mark.parametrize("channels", COLOUR_TYPES)
def test_another_decoder_reads_the_same(tmp_path, channels):
    from torchvision.io import decode_png

    values = random_values(40, 50, channels)
    content = write_png(tmp_path / "a.png", values).read_bytes()

    decoded = decode_png(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    assert np.array_equal(decoded.permute(1, 2, 0).numpy(), values)


@pytest.mark.parametrize("channels", COLOUR_TYPES)
def test_an_interlaced_png_is_read_with_all_bits(tmp_path, channels):
    values = random_values(13, 11, channels)
    (tmp_path / "a.png").write_bytes(interlaced_png(values))

    assert np.array_equal(read_stored(tmp_path / "a.png").values, values)


def test_a_colour_that_means_transparent_becomes_alpha(tmp_path):
    values = random_values(5, 4, 3)
    hidden = chunk(b"tRNS", struct.pack(">HHH", *values[2, 1]))
    (tmp_path / "a.png").write_bytes(interlaced_png(values, hidden))

    stored = read_stored(tmp_path / "a.png")

    assert stored.alpha and np.argwhere(stored.values[:, :, 3] == 0).tolist() == [[2, 1]]
    assert (stored.levels(3)[2, 1] == 255).all()  # white


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_deep_pictures_are_turned_as_eight_bits_are(tmp_path, orientation, ending):
    values = random_values(6, 4, 3)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    shallow = tmp_path / f"8.{ending}"
    Image.fromarray((values >> 8).astype(np.uint8)).save(shallow, exif=exif)
    deep = tmp_path / f"16.{ending}"
    if ending == "png":
        write_png(deep, values, exif=exif.tobytes())
    else:
        tags = [(int(ExifTags.Base.Orientation), 3, 1, orientation, True)]
        tifffile.imwrite(deep, values, photometric="rgb", extratags=tags)

    assert np.array_equal(read_stored(deep).values >> 8, read_image(shallow))
    assert picture_size(deep) == picture_size(shallow) == read_image(shallow).shape[:2]


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((7, 5, 3), "uint16", {"photometric": "rgb", "byteorder": ">"}),
        ((7, 5, 3), "uint16", {"photometric": "rgb", "planarconfig": "separate"}),
        ((7, 5), "uint16", {"byteorder": ">"}),
        ((7, 5), "float32", {}),
        ((7, 5, 7), "float64", {"photometric": "minisblack", "planarconfig": "contig"}),
        (
            (16, 16, 6),
            "int16",
            {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)},
        ),
        ((7, 5, 4), "uint8", {"photometric": "rgb", "extrasamples": [0]}),
        ((7, 5, 5), "uint8", {"photometric": "minisblack", "planarconfig": "contig"}),
    ],
)
def test_tiff_files_of_all_kinds(tmp_path, shape, dtype, options):
    values = random_values(*shape, dtype=dtype)
    separate = options.get("planarconfig") == "separate"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(values, 2, 0) if separate else values, **options)

    found = read_stored(path).values

    assert np.array_equal(found, values.reshape(*shape[:2], -1))
    assert found.dtype == values.dtype and picture_size(path) == shape[:2]


def test_compressed_grey_tiff_is_read_without_tifffile(tmp_path, monkeypatch):
    values = random_values(20, 30)
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw")
    colours = random_values(20, 30, 3)
    tifffile.imwrite(tmp_path / "b.tif", colours, photometric="rgb")
    assert is_deep(tmp_path / "b.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert is_deep(tmp_path / "a.tif") and not is_deep(tmp_path / "b.tif")  # which is read as ever

    assert np.array_equal(read_stored(tmp_path / "a.tif").values[:, :, 0], values)
    with pytest.raises(ImageError, match=r"pip install 'cyclegan-style\[tiff\]'"):
        read_stored(tmp_path / "b.tif")


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("a.png", (9, 8, 4), "uint16"),
        ("a.png", (9, 8, 3), "uint8"),
        ("a.tif", (9, 8, 3), "uint16"),
        ("a.tif", (9, 8, 1), "float32"),
        ("a.tif", (9, 8, 7), "float32"),
        ("a.npy", (9, 8, 7), "float16"),
        ("a.npy", (9, 8, 2), "int32"),
    ],
)
def test_written_values_are_read_back(tmp_path, name, shape, dtype):
    values = random_values(*shape, dtype=dtype)

    write_values(tmp_path / name, values, values)

    found = read_stored(tmp_path / name).values
    assert np.array_equal(found, values) and found.dtype == values.dtype


def test_a_format_that_holds_no_such_values_is_refused(tmp_path):
    values = np.zeros((4, 4, 7), np.float32)
    for name, shown in (("a.png", values), ("a.jpg", values), ("b.png", values[:, :, :3])):
        with pytest.raises(ImageError, match=r"does not hold \d channels of float32"):
            write_values(tmp_path / name, shown, shown)
    assert not list(tmp_path.iterdir())


def hostile_header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npy", hostile_header("(4, 4)", "'|O'"), "Python objects"),
        ("a.npy", hostile_header("(4, 4)", "[('a', '<f4')]"), "not of numbers"),
        ("a.npy", hostile_header("(4, 4)"), "greater than file size"),
        ("a.npy", hostile_header(f"({MAX_PIXELS}, 2)"), "more than the limit"),
        ("a.npy", hostile_header("(2, 2, 2, 2)"), "2×2×2×2, not H×W"),
        ("a.npy", hostile_header("(0, 2)"), "not H×W"),
        ("a.npy", hostile_header("__import__('os')"), "damaged"),
        ("a.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "damaged"),
        ("a.npy", b"PK\x03\x04" + bytes(40), "not an image"),
        ("a.npy", b"", "empty"),
        ("a.png", interlaced_png(random_values(9, 9, 3))[:160], "damaged"),
        ("a.png", chunk(b"", b""), "not an image"),
    ],
)
def test_a_hostile_file_is_one_line(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read_stored(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_cut_off_tiff_files_and_values_that_are_no_numbers_are_one_line(tmp_path):
    path = tmp_path / "a.tif"
    values = random_values(30, 30, 7, dtype="float32")
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    whole = path.read_bytes()
    for length in (8, 40, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ImageError) as caught:
            read_stored(path)
        assert "\n" not in str(caught.value)
    np.save(tmp_path / "a.npy", np.array([[0.0, np.nan]]))
    with pytest.raises(ImageError, match="no numbers"):
        read_stored(tmp_path / "a.npy")


# Levels


def test_every_value_of_16_bits_survives_the_way_to_the_networks_and_back():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    tensor = to_tensor(Stored(values, {}).levels(1))
    assert tensor.min() == -1 and tensor.max() == 1

    levels = levels_with_fractions(tensor).permute(1, 2, 0).numpy()

    assert np.array_equal(values_of(levels, (0, 65535), np.dtype(np.uint16)), values)


@given(
    low=st.floats(-1e4, 1e4),
    span=st.floats(1e-3, 1e4),
    share=st.floats(0, 1),
    beyond=st.floats(0, 1e6),
)
def test_a_range_maps_its_ends_and_clamps_what_lies_beyond(low, span, share, beyond):
    ends = (low, low + span)
    values = np.array([[low, low + span, low - beyond, low + span + beyond, low + share * span]])

    tensor = to_tensor(Stored(values[:, :, None], {}).levels(1, ends))

    assert tensor.flatten()[:4].tolist() == pytest.approx([-1, 1, -1, 1], abs=1e-6)
    assert tensor.flatten()[4].item() == pytest.approx(2 * share - 1, abs=1e-5)


@pytest.mark.parametrize("change", ["resize", "turn"])
def test_levels_are_resized_and_turned_as_eight_bits_are(change):
    pixels = random_values(33, 47, 3, dtype="uint8") // 2 + 64  # without values to be clamped

    def changed(picture: np.ndarray) -> np.ndarray:
        if change == "resize":
            return resize(picture, (20, 61))
        return turned_crop(picture, (24, 24), 0.3, 1.2, 0.4, 0.6)

    exact, rounded = changed(pixels.astype(np.float32)), changed(pixels)

    assert exact.dtype == np.float32 and rounded.dtype == np.uint8
    # Pillow rounds eight bits after each of two passes, or cuts them off.
    assert np.abs(exact - rounded).max() < 1.5 and np.abs(exact - rounded).mean() < 0.6


def test_channels_are_converted_as_pillow_converts_modes():
    pixels = random_values(6, 5, 4, dtype="uint8")
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    for count, mode in modes.items():
        image = Image.fromarray(pixels[:, :, 0] if count == 1 else pixels[:, :, :count])
        for wanted in (1, 2, 3, 4):
            found = with_channels(image_array(image), wanted, alpha=count in (2, 4))
            if wanted in (1, 3) and count in (2, 4):
                white = Image.new(mode, image.size, "white")
                expected = Image.alpha_composite(
                    white.convert("RGBA"), image.convert("RGBA")
                ).convert(modes[wanted])
            else:
                expected = image.convert(modes[wanted])
            assert np.abs(found - image_array(expected)).max() <= 1, (mode, modes[wanted])
    with pytest.raises(UserError, match="7 channels, where 3 are wanted"):
        with_channels(np.zeros((2, 2, 7), np.float32), 3)


def image_array(image: Image.Image) -> np.ndarray:
    return np.array(image, np.float32).reshape(image.height, image.width, -1)


def test_the_type_of_values_stays_unless_it_cannot_hold_them():
    eight, sixteen, single = np.dtype("uint8"), np.dtype("uint16"), np.dtype("float32")
    assert type_for((0, 255), eight, (0, 255)) == eight
    assert type_for((0, 65535), eight, (0, 255)) == sixteen
    assert type_for((-3, 70000), sixteen, (0, 65535)) == single
    assert type_for((0, 1), sixteen, (0, 65535)) == single  # as whole numbers: two values
    assert type_for((0, 90), sixteen, (10, 100)) == sixteen
    assert type_for((0, 90000), np.dtype("float16"), (0, 1)) == single
    assert type_for((0, 255), np.dtype("float64"), (0, 1)) == np.dtype("float64")


def test_an_array_without_a_range_is_a_picture_if_white_is_known(tmp_path):
    np.save(tmp_path / "8.npy", np.full((2, 3, 3), 200, np.uint8))
    np.save(tmp_path / "16.npy", np.full((2, 3), 257 * 7, np.uint16))
    np.save(tmp_path / "f.npy", np.full((2, 3), 0.5))

    assert (read_picture(tmp_path / "8.npy", 3) == 200).all()
    assert read_picture(tmp_path / "16.npy", 3).tolist() == [[[7] * 3] * 3] * 2
    with pytest.raises(ImageError, match="white is not known: set"):
        read_picture(tmp_path / "f.npy", 1)
    assert read_picture(tmp_path / "f.npy", 1, (0.0, 2.0)).max() == 63.75


# Pictures of phones


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_is_read_upright(tmp_path, orientation):
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:32, :48] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "A phone"
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    file = pillow_heif.from_pillow(Image.fromarray(pixels))
    file.save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)

    found = read_image(tmp_path / "a.heic")

    assert found.shape == read_image(tmp_path / "a.png").shape
    assert found.shape[:2] == picture_size(tmp_path / "a.heic")
    assert np.abs(found.astype(int) - read_image(tmp_path / "a.png")).mean() < 4
    assert b"A phone" in read_stored(tmp_path / "a.heic").metadata["exif"]
    assert not is_deep(tmp_path / "a.heic")


def test_without_the_extra_heic_is_refused_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "a.heic"
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(12))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageError, match=r"pip install 'cyclegan-style\[heic\]'"):
        read_image(path)
