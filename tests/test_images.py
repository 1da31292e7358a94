"""Image files of every kind come out as the picture they show, or as one line about the fault."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.ExifTags import GPS, IFD, Base
from torchvision import transforms

from cyclegan_style.data import images
from cyclegan_style.data.images import (
    WRITABLE_ENDINGS,
    ImageError,
    from_pillow,
    opened_image,
    read_image,
    read_size,
    resize,
    to_pixels,
    to_tensor,
    write_image,
)
from cyclegan_style.data.metadata import kept_metadata


def random_pixels(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(width: int, height: int, bits: int, colour_type: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


# Deep, grey, transparent and print pictures


RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
RAMP_IN_EIGHT_BITS = np.rint(RAMP / 257).astype(np.uint8)


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_sixteen_bit_grey_keeps_every_tone(tmp_path, ending, byte_order):
    path = tmp_path / f"ramp{ending}"
    Image.fromarray(RAMP.astype(byte_order)).save(path)
    pixels = read_image(path)
    assert (pixels == RAMP_IN_EIGHT_BITS[:, :, None]).all()
    assert np.unique(pixels).size == 256


def test_sixteen_bit_grey_written_as_32_bit_integers(tmp_path):
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "ramp.tif")
    assert (read_image(tmp_path / "ramp.tif", 1)[:, :, 0] == RAMP_IN_EIGHT_BITS).all()


def test_twelve_bit_grey_is_not_dark(tmp_path):
    values = np.array([[0, 1365, 2730, 4095]])  # thirds
    packed = bytes.fromhex("".join(f"{value:03x}" for value in values[0]))
    tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 1)]
    tags.append((279, len(packed)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    tiff = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + packed
    (tmp_path / "scan.tif").write_bytes(tiff)
    assert read_image(tmp_path / "scan.tif", 1).ravel().tolist() == [0, 85, 170, 255]


def test_sixteen_bit_png_with_a_transparent_tone(tmp_path):
    row = b"\0" + struct.pack(">3H", 0, 30000, 65535)
    transparency = png_chunk(b"tRNS", struct.pack(">H", 30000))
    (tmp_path / "a.png").write_bytes(png(3, 1, 16, 0, row, transparency))
    assert read_image(tmp_path / "a.png", 2)[0].tolist() == [[0, 255], [117, 0], [255, 255]]
    assert read_image(tmp_path / "a.png", 1)[0].tolist() == [[0], [255], [255]]


def test_sixteen_bit_colour_is_scaled(tmp_path):
    values = np.array([[0, 257 * 100, 65535], [257 * 7, 257 * 200, 257 * 254]], dtype=">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    (tmp_path / "deep.png").write_bytes(png(1, 2, 16, 2, rows))
    assert read_image(tmp_path / "deep.png")[:, 0].tolist() == [[0, 100, 255], [7, 200, 254]]


@pytest.mark.parametrize("white", [1.0, 300.0, 65535.0])
def test_floats_fill_the_range(tmp_path, white):
    Image.fromarray(np.linspace(0, white, 256, dtype=np.float32)[None]).save(tmp_path / "f.tif")
    assert read_image(tmp_path / "f.tif")[0, :, 1].tolist() == list(range(256))


def test_floats_that_are_no_numbers(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf, 0.2, 1.0]], dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "f.tif")
    assert read_image(tmp_path / "f.tif", 1).ravel().tolist() == [0, 255, 0, 51, 255]


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].tolist() == [
        [10, 20, 30],
        [255, 255, 255],
        [204, 224, 244],
    ]
    assert (read_image(tmp_path / "a.png", 4) == rgba).all()


def test_grey_with_alpha_is_laid_on_white(tmp_path):
    grey_alpha = np.array([[[10, 255], [10, 0], [100, 51]]], dtype=np.uint8)
    Image.fromarray(grey_alpha).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 1).ravel().tolist() == [10, 255, 224]
    assert (read_image(tmp_path / "a.png", 2) == grey_alpha).all()


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 51])])
def test_palette_with_transparency(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 100, 200])
    image.save(tmp_path / "p.png", transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_image(tmp_path / "p.png")
    last = [0, 100, 200] if transparency == 1 else [204, 224, 244]
    assert pixels[0].tolist() == [[255, 0, 0], [255, 255, 255], last]


def test_one_bit(tmp_path):
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png")[0].tolist() == [[255] * 3, [0] * 3, [255] * 3]


INKS = {(0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 0): (255,) * 3, (0, 0, 0, 255): (0,) * 3}


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("profile", [b"", b"not a profile"])
@pytest.mark.parametrize("ending", [".jpg", ".tif"])  # Pillow writes JPEG inverted, as Adobe does
def test_print_colours(tmp_path, ink, profile, ending):
    path = tmp_path / f"print{ending}"
    Image.new("CMYK", (16, 16), ink).save(path, quality=100, icc_profile=profile)
    assert np.abs(read_image(path).astype(int) - INKS[ink]).max() <= 2


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_colour_spaces(tmp_path, mode):
    picture = Image.new("RGB", (8, 8), (200, 120, 40)).convert(mode)
    # Pillow 12.3 cannot read its own YCbCr without compression.
    picture.save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - (200, 120, 40)).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "CMYK", "HSV"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_mode_gives_any_number_of_channels(mode, channels):
    assert from_pillow(Image.new(mode, (3, 2)), channels).shape == (2, 3, channels)


def test_moving_pictures_give_their_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for ending in ("gif", "webp", "tif", "png"):
        path = tmp_path / f"moving.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert read_image(path)[4, 4].tolist() == [255, 0, 0], ending


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_pictures_are_turned_upright(tmp_path, orientation, ending):
    upright = random_pixels(4, 6)
    # How a camera held this way stores the picture: row 0 and column 0 of what is stored are these
    # sides of the scene, by the definition of the EXIF tag.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{ending}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, lossless=True)
    assert (read_image(path) == upright).all()
    assert read_size(path) == (4, 6)


def test_damaged_metadata_does_not_cost_the_picture(tmp_path):
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff")
    assert (read_image(tmp_path / "a.png") == random_pixels(8, 8)).all()


# Colour profiles and what else the files say


def spread(numbers: list[float]) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def icc_profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 display profile with these tags."""
    tags = tags | {b"wtpt": b"XYZ \0\0\0\0" + spread([0.9642, 1.0, 0.8249])}
    table, data, offset = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, offset + len(data), len(content))
        data += content + b"\0" * (-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s", offset + len(data), b"", 0x02100000, b"mntr", space, b"XYZ "
    )
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + spread([0.9642, 1.0, 0.8249]) + b"\0" * 48
    return header + struct.pack(">I", len(tags)) + table + data


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def rgb_profile(primaries: np.ndarray, exponent: float) -> bytes:
    """A profile by its primaries in XYZ under D50, a column each."""
    tags = {}
    for name, column in zip(b"rgb", primaries.T, strict=True):
        tags[bytes([name]) + b"XYZ"] = b"XYZ \0\0\0\0" + spread(list(column))
        tags[bytes([name]) + b"TRC"] = gamma(exponent)
    return icc_profile(b"RGB ", tags)


# Bruce Lindbloom's matrices, adapted to D50.
SRGB_PRIMARIES = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
ADOBE_PRIMARIES = np.array(
    [
        [0.6097559, 0.2052401, 0.1492240],
        [0.3111242, 0.6256560, 0.0632197],
        [0.0194811, 0.0608902, 0.7448387],
    ]
)
ADOBE = rgb_profile(ADOBE_PRIMARIES, 563 / 256)


def adobe_in_srgb(pixels: np.ndarray) -> np.ndarray:
    """By the definitions of the two spaces; colours beyond sRGB are cut off."""
    linear = (pixels / 255) ** (563 / 256) @ (np.linalg.inv(SRGB_PRIMARIES) @ ADOBE_PRIMARIES).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 255


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif", ".jpg"])
def test_wide_colours_become_those_of_srgb(tmp_path, ending):
    pixels = np.zeros((48, 48, 3), dtype=np.uint8)
    pixels[:16], pixels[16:32], pixels[32:] = (30, 200, 40), (220, 60, 60), (128, 128, 128)
    path = tmp_path / f"wide{ending}"
    options = {"quality": 100} if ending == ".jpg" else {"lossless": True}
    Image.fromarray(pixels).save(path, icc_profile=ADOBE, **options)
    for channels in (3, 4):
        read = read_image(path, channels)[8::16, 8, :3]
        assert np.abs(read - adobe_in_srgb(pixels[8::16, 8])).max() <= 2
    assert np.abs(adobe_in_srgb(pixels) - pixels).max() > 20


def test_alpha_stays_beside_converted_colours():
    pixels = np.array([[[30, 200, 40, 0], [220, 60, 60, 77], [9, 9, 9, 255]]], dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = ADOBE
    read = from_pillow(image, 4)
    assert (read[:, :, 3] == pixels[:, :, 3]).all()
    assert np.abs(read[:, :, :3] - adobe_in_srgb(pixels[:, :, :3])).max() <= 2


def test_grey_by_its_profile():
    ramp = np.arange(256, dtype=np.uint8)[None]
    image = Image.fromarray(ramp)
    image.info["icc_profile"] = icc_profile(b"GRAY", {b"kTRC": gamma(1.75)})
    linear = (ramp / 255) ** 1.75
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(from_pillow(image, 1)[:, :, 0] - expected * 255).max() <= 2
    with_alpha = Image.merge("LA", (image, Image.new("L", image.size, 77)))
    with_alpha.info["icc_profile"] = image.info["icc_profile"]
    pixels = from_pillow(with_alpha, 4)
    assert np.abs(pixels[:, :, :3] - expected[:, :, None] * 255).max() <= 2
    assert (pixels[:, :, 3] == 77).all()


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"not a profile",
        ADOBE[:200],
        icc_profile(b"GRAY", {b"kTRC": gamma(1.0)}),  # of grey, in a picture of colours
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "L", "P"])
def test_profiles_that_change_nothing(profile, mode):
    if mode == "L" and b"GRAY" in profile:
        return
    image = Image.fromarray(random_pixels(20, 20)).convert(mode)
    expected = from_pillow(image)
    image.info["icc_profile"] = profile
    assert (from_pillow(image) == expected).all()


def ink_profile() -> bytes:
    """Of a press whose cyan is a middle grey and whose magenta and yellow leave no trace."""
    ramps = bytes(range(256))
    nodes = b"".join(
        bytes([round(255 * (1 - 0.5 * cyan) * (1 - black)), 128, 128])
        for cyan in (0, 1)
        for _ in range(4)
        for black in (0, 1)
    )
    matrix = spread([1, 0, 0, 0, 1, 0, 0, 0, 1])
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * ramps + nodes + 3 * ramps
    profile = icc_profile(b"CMYK", {b"A2B0": table})
    return profile[:12] + b"prtrCMYKLab " + profile[24:]


def test_print_colours_by_their_profile(tmp_path):
    Image.new("CMYK", (8, 8), (255, 60, 70, 0)).save(
        tmp_path / "print.jpg", icc_profile=ink_profile(), quality=100
    )
    # L* = 50 is 119 in sRGB; by inversion alone it would be a light blue.
    assert np.abs(read_image(tmp_path / "print.jpg").astype(int) - 119).max() <= 2


def photograph(path: Path, pixels: np.ndarray, **options: object) -> None:
    """A photo as a camera would write it, held on its side."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Copyright], exif[Base.Orientation] = "Camera", "© Ännchen", 6
    exif[Base.DateTime] = "2024:05:06 07:08:09"
    exif[IFD.Exif] = {
        Base.DateTimeOriginal: "2024:05:06 07:08:09",
        Base.FNumber: 2.5,
        Base.ColorSpace: 65535,
        Base.ExifImageWidth: pixels.shape[1],
        Base.MakerNote: b"preview" * 20_000 if path.suffix != ".jpg" else b"preview",
    }
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (52.0, 31.0, 12.5)}
    Image.fromarray(pixels).save(path, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("written", [".jpg", ".png", ".webp"])
def test_what_a_photographer_wrote_is_kept(tmp_path, ending, written):
    photograph(tmp_path / f"photo{ending}", random_pixels(8, 16), icc_profile=ADOBE)
    with opened_image(tmp_path / f"photo{ending}") as image:
        pixels, metadata = from_pillow(image), kept_metadata(image)
    assert pixels.shape == (16, 8, 3)
    write_image(tmp_path / f"out{written}", pixels, metadata=metadata)
    with Image.open(tmp_path / f"out{written}") as image:
        exif = image.getexif()
        assert image.size == (8, 16)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert (exif[Base.Make], exif[Base.DateTime]) == ("Camera", "2024:05:06 07:08:09")
    assert exif.get(Base.Orientation, 1) == 1
    assert "nnchen" in exif[Base.Copyright]
    camera = exif.get_ifd(IFD.Exif)
    assert (float(camera[Base.FNumber]), camera[Base.ColorSpace]) == (2.5, 1)
    assert not {Base.MakerNote, Base.ExifImageWidth} & camera.keys()
    place = exif.get_ifd(IFD.GPSInfo)
    assert [float(part) for part in place[GPS.GPSLatitude]] == [52.0, 31.0, 12.5]


def test_files_that_say_nothing_stay_silent(tmp_path):
    write_image(tmp_path / "a.jpg", random_pixels(8, 8))
    with opened_image(tmp_path / "a.jpg") as image:
        assert kept_metadata(image) == {}


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\xff\xff\xff", b"Exif\0\0", b"x" * 40])
def test_damaged_metadata_is_left_out(tmp_path, exif):
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "a.png", exif=exif)
    with opened_image(tmp_path / "a.png") as image:
        assert kept_metadata(image) == {}


def test_more_than_a_jpeg_has_room_for_is_left_out(tmp_path):
    exif = Image.Exif()
    exif[Base.ImageDescription] = "long" * 20_000
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "a.png", exif=exif)
    with opened_image(tmp_path / "a.png") as image:
        write_image(tmp_path / "a.jpg", from_pillow(image), metadata=kept_metadata(image))


def test_a_grey_picture_gets_no_profile_of_colours(tmp_path):
    image = Image.new("RGB", (4, 4))
    image.info["icc_profile"] = ADOBE
    write_image(tmp_path / "a.png", random_pixels(4, 4, 1), metadata=kept_metadata(image))
    with Image.open(tmp_path / "a.png") as written:
        assert "icc_profile" not in written.info


# Files that are not what they seem


def encoded(image_format: str, side: int = 64) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(random_pixels(side, side)).save(stream, image_format)
    return stream.getvalue()


BAD_FILES = {
    "truncated.jpg": (encoded("JPEG")[:-500], "truncated"),
    "header only.jpg": (encoded("JPEG")[:300], "damaged"),
    "empty.png": (b"", "the file is empty"),
    "text.jpg": (b"this is no picture at all", "not an image of a known kind"),
    "no area.png": (png(0, 5, 8, 2, b""), "not an image"),
    "half.png": (png(64, 64, 8, 2, b"\0" * 100)[:80], "damaged"),
    "few rows.png": (png(64, 64, 8, 2, b"\0" * 100), "truncated"),
    "bomb.png": (png(60_000, 60_000, 8, 2, b"\0"), "60000 × 60000 pixels are more than"),
    "photo.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_say_why(tmp_path, name):
    content, reason = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / name)
    assert caught.value.path == tmp_path / name
    assert str(caught.value) == f"{tmp_path / name}: {caught.value.reason}"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
@given(data=st.data())
@settings(max_examples=40)
def test_damage_anywhere_is_an_image_error_or_a_picture(tmp_path_factory, image_format, data):
    content = bytearray(encoded(image_format, 16))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(images, "MAX_PIXELS", 10**6)  # damaged sizes would take long to decode
        warnings.simplefilter("ignore")
        try:
            assert read_image(path).shape[2] == 3
        except ImageError as error:
            assert error.path == path


def test_what_is_no_file_says_so(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    for name, reason in {
        "folder.png": "is a folder",
        "pipe.png": "not a regular file",
        "broken.png": "no such file",
        "missing.png": "no such file",
        "x" * 300 + ".png": "name too long",
        "nul\0.png": "null",
    }.items():
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_files_say_so(tmp_path):
    write_image(tmp_path / "a.png", random_pixels(2, 2))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        read_image(tmp_path / "a.png")


def test_large_pictures_are_read_without_a_warning(tmp_path):
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")  # 95 megapixels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_size(tmp_path / "large.png") == (9_500, 10_000)


@pytest.mark.parametrize("name", ["with space.png", "two\nlines.png", "ätzend 画.png", "UPPER.PNG"])
def test_names_of_all_kinds(tmp_path, name):
    write_image(tmp_path / name, random_pixels(3, 5))
    assert (read_image(str(tmp_path / name)) == random_pixels(3, 5)).all()
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_files_are_closed_at_once(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(encoded("JPEG")[:-500])
    Image.new("RGB", (8, 8)).save(tmp_path / "good.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        before = set(Path("/proc/self/fd").iterdir())
        read_image(tmp_path / "good.tif")
        with pytest.raises(ImageError):
            read_image(tmp_path / "bad.jpg")
        assert set(Path("/proc/self/fd").iterdir()) == before


# Writing


@pytest.mark.parametrize("ending", [*sorted(WRITABLE_ENDINGS), ".PNG"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_written_pictures_are_read_back(tmp_path, ending, channels):
    smooth = np.full((16, 16, channels), 255, dtype=np.uint8)
    smooth[:, :, 0] = np.linspace(100, 130, 16)
    write_image(tmp_path / f"a{ending}", smooth)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{ending}"]
    error = read_image(tmp_path / f"a{ending}", channels).astype(int) - smooth
    lossless = ending.lower() in (".png", ".bmp", ".tif", ".tiff")
    assert np.abs(error).max() <= (0 if lossless else 8)


def test_quality_is_obeyed(tmp_path):
    for quality in (30, 95):
        write_image(tmp_path / f"{quality}.jpg", random_pixels(64, 64), quality)
    assert (tmp_path / "30.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size / 2


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.webp"
    write_image(path, random_pixels(4, 4))
    before = path.read_bytes()
    with pytest.raises(ImageError, match="cannot be written"):
        write_image(path, np.zeros((1, 20_000, 3), dtype=np.uint8))  # WebP ends at 16383
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for name, reason in {
        "missing/a.png": "no such file or folder",
        "file/a.png": "Not a directory",
        "folder.png": "is a folder",
        "a.xyz": "unknown ending; known are .bmp",
        "a": "unknown ending",
    }.items():
        with pytest.raises(ImageError, match=reason):
            write_image(tmp_path / name, random_pixels(2, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


# Tensors and sizes


def test_tensors_equal_the_references_bit_for_bit():
    reference = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
    )
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert torch.equal(to_tensor(pixels), reference(Image.fromarray(pixels)))
    assert torch.equal(to_tensor(pixels[:, ::-1]), to_tensor(pixels).flip(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_pixels_survive_the_way_through_a_tensor(dtype):
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 8, 4)
    tensor = to_tensor(pixels)
    assert tensor.min() == -1
    assert tensor.max() == 1
    assert (to_pixels(tensor.to(dtype)) == pixels).all()


def test_tensors_beyond_the_range_are_clamped():
    values = torch.tensor([-3.0, -1.001, 0.0, 1.001, 9.0], requires_grad=True)
    assert to_pixels(values.reshape(1, 1, 5)).ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("size", [(286, 286), (31, 77), (50, 40)])
def test_resize_equals_torchvisions(size):
    pixels = random_pixels(50, 40)
    reference = transforms.Resize(size, transforms.InterpolationMode.BICUBIC)
    assert (resize(pixels, size) == np.asarray(reference(Image.fromarray(pixels)))).all()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_resize_of_other_channels(channels):
    pixels = np.full((9, 7, channels), 200, dtype=np.uint8)
    assert (resize(pixels, (20, 30)) == np.full((20, 30, channels), 200)).all()


def test_resize_does_not_mix_in_the_colour_of_transparent_pixels():
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:, :4] = (200, 100, 50, 255)
    resized = resize(pixels, (16, 16))
    assert np.abs(resized[resized[:, :, 3] > 50][:, :3].astype(int) - (200, 100, 50)).max() <= 15
