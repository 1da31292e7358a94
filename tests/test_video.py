"""Animations and videos come out as they went in, but for what is done to their frames."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from cyclegan_style.applying.video import translate_video
from cyclegan_style.data.images import ImageError, Pixels

COLOURS = [(200, 30, 60), (20, 220, 40), (30, 60, 230), (128, 128, 128)]
ENCODERS = {".mp4": ("libx264", "aac"), ".webm": ("libvpx-vp9", "libopus")}


def striped(height: int, width: int, shift: int = 0) -> Pixels:
    """A picture of upright stripes."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for place in range(width):
        pixels[:, place] = COLOURS[(4 * place // width + shift) % 4]
    return pixels


def write_video(
    path: Path,
    times: list[int],
    size: tuple[int, int] = (48, 64),
    sound: str | None = None,
    container: str | None = None,
    matrix: int = 1,
    **options: str,
) -> Path:
    """Frames at these hundredths of a second, and two seconds of sound."""
    video_encoder, sound_encoder = ENCODERS[path.suffix.lower()]
    with av.open(path, "w", container or path.suffix[1:].lower(), options) as output:
        output.metadata["title"] = "Holiday"
        video = output.add_stream(video_encoder, 25, {"crf": "4"})
        video.height, video.width = size
        video.codec_context.time_base = Fraction(1, 100)
        video.codec_context.colorspace = matrix
        audio = output.add_stream(sound or sound_encoder, 48_000)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(striped(*size, index)).reformat(
                format="yuv420p", dst_colorspace=matrix, dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = time, Fraction(1, 100)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        wave = (8000 * np.sin(np.arange(96_000) / 20)).astype(np.int16)
        tone = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
        tone.rate, tone.pts, tone.time_base = 48_000, 0, Fraction(1, 48_000)
        output.mux(audio.encode(tone))
        output.mux(audio.encode(None))
    return path


def same(frames: list[Pixels]) -> list[Pixels]:
    return frames


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(path) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    with av.open(path) as container:
        packets = container.demux(audio=0)
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None]


def heard(path: Path) -> np.ndarray:
    """The sound of the first channel."""
    resampler = av.AudioResampler("fltp")
    with av.open(path) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


TIMES = [0, 4, 8, 30, 34, 60, 100, 104, 190]
"""Of a phone, say, whose frame rate varies."""


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_frames_sound_and_times_are_kept(tmp_path, ending, batch_size):
    source = write_video(tmp_path / f"a{ending}", TIMES)
    sizes = []

    def inverted(frames: list[Pixels]) -> list[Pixels]:
        sizes.append(len(frames))
        return [255 - frame for frame in frames]

    target = tmp_path / f"b{ending}"
    assert translate_video(source, target, inverted, batch_size) == len(TIMES)
    assert (sum(sizes), max(sizes)) == (len(TIMES), batch_size)
    written = frames_of(target)
    assert [time for time, _ in written] == pytest.approx([time / 100 for time in TIMES], abs=1e-3)
    for index, (_, pixels) in enumerate(written):
        assert np.abs(pixels[24, 8::16] - (255.0 - striped(48, 64, index)[24, 8::16])).max() <= 6
    assert len(sound_of(source)) > 50
    assert sound_of(target) == sound_of(source)
    assert title_of(target) == "Holiday"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{ending}", f"b{ending}"]


def title_of(path: Path) -> str | None:
    with av.open(path) as container:
        return container.metadata.get("title", container.metadata.get("TITLE"))


def test_titles_can_be_left_out(tmp_path):
    source = write_video(tmp_path / "a.mp4", [0, 190])
    translate_video(source, tmp_path / "b.mp4", same, 1, metadata=False)
    assert title_of(source) == "Holiday"
    assert title_of(tmp_path / "b.mp4") is None


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_sound_that_the_container_cannot_hold_is_encoded(tmp_path, ending):
    source = write_video(tmp_path / f"a{ending}", TIMES, sound="pcm_s16le", container="matroska")
    translate_video(source, tmp_path / f"b{ending}", same, 2)
    with av.open(tmp_path / f"b{ending}") as container:
        name = container.streams.audio[0].codec_context.codec.canonical_name
    assert name == ENCODERS[ending][1].removeprefix("lib")
    before, after = heard(source), heard(tmp_path / f"b{ending}")
    assert len(after) == pytest.approx(len(before), abs=3000)
    assert after[5000:90_000].std() == pytest.approx(before[5000:90_000].std(), rel=0.05)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
@pytest.mark.parametrize("size", [(33, 47), (2, 2)])
def test_odd_sizes_stay(tmp_path, ending, size):
    source = write_video(tmp_path / "a.webm", [0, 4, 190], size)
    target = (tmp_path / "b").with_suffix(ending)
    translate_video(source, target, same, 1)
    assert frames_of(target)[2][1].shape == (*size, 3)


@pytest.mark.parametrize("matrix", [1, 5])
def test_colours_are_those_that_the_file_means(tmp_path, matrix):
    seen: list[Pixels] = []

    def keep(frames: list[Pixels]) -> list[Pixels]:
        seen.extend(frames)
        return frames

    translate_video(
        write_video(tmp_path / "a.mp4", [0, 190], matrix=matrix), tmp_path / "b.mp4", keep, 1
    )
    assert np.abs(seen[0][24, 8::16].astype(int) - COLOURS).max() <= 5


@pytest.mark.parametrize(("turn", "quarters"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2)])
def test_turned_videos_come_out_upright(tmp_path, turn, quarters):
    """A phone held upright writes the matrix (0 1 −1 0): turn a quarter clockwise."""
    source = write_video(tmp_path / "a.mp4", [0, 190])
    content = bytearray(source.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (np.array(value * 65536, ">i4").tobytes() for value in turn)
    content[place : place + 32] = a + b + bytes(4) + c + d + bytes(12)
    source.write_bytes(content)
    translate_video(source, tmp_path / "b.mp4", same, 1)
    written = frames_of(tmp_path / "b.mp4")[0][1].astype(int)
    expected = np.rot90(striped(48, 64), quarters)
    assert written.shape == expected.shape
    inner = expected.shape[0] // 8, expected.shape[1] // 8
    assert np.abs(written - expected)[inner[0] :: 2 * inner[0], inner[1] :: 2 * inner[1]].max() <= 6


def test_frames_of_another_size_and_grey_ones(tmp_path):
    source = write_video(tmp_path / "a.mp4", [0, 190])
    translate_video(source, tmp_path / "b.mp4", lambda frames: [f[:, :20, :1] for f in frames], 1)
    written = frames_of(tmp_path / "b.mp4")[0][1]
    assert written.shape == (48, 20, 3)
    assert np.ptp(written.astype(int), axis=2).max() <= 2


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
@pytest.mark.parametrize("part", [0.1, 0.6, 0.9])
def test_truncated_videos_are_named_and_leave_nothing(tmp_path, ending, part):
    options = {"movflags": "faststart"} if ending == ".mp4" else {}
    source = write_video(tmp_path / f"a{ending}", TIMES, **options)
    content = source.read_bytes()
    source.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        translate_video(source, tmp_path / f"b{ending}", same, 1)
    assert list(tmp_path.iterdir()) == [source]


BAD_FILES = {
    "empty.mp4": (b"", "the file is empty"),
    "text.webm": (b"this is no video at all", "damaged or unsupported"),
    "header.webm": (b"\x1aE\xdf\xa3", "damaged or unsupported"),
    "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "damaged or unsupported"),
    "empty.gif": (b"", "the file is empty"),
    "text.gif": (b"no animation", "not an image"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_say_why(tmp_path, name):
    content, reason = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        translate_video(tmp_path / name, tmp_path / f"out{Path(name).suffix}", same, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_sound_alone_is_no_video(tmp_path):
    with av.open(tmp_path / "a.mp4", "w") as output:
        audio = output.add_stream("aac", 48_000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), "s16", "mono")
        tone.rate = 48_000
        output.mux(audio.encode(tone))
        output.mux(audio.encode(None))
    with pytest.raises(ImageError, match="no pictures"):
        translate_video(tmp_path / "a.mp4", tmp_path / "b.mp4", same, 1)


@pytest.mark.parametrize(("rate", "becomes"), [(22_000, 22_050), (192_000, 96_000)])
def test_sound_of_a_rate_that_its_codec_does_not_know(tmp_path, rate, becomes):
    with av.open(tmp_path / "a.mp4", "w") as output:
        video = output.add_stream("libx264", 10)
        video.height = video.width = 16
        video.pix_fmt = "yuv420p"
        audio = output.add_stream("alac", rate, layout="mono")
        for _ in range(10):
            output.mux(video.encode(av.VideoFrame.from_ndarray(striped(16, 16, 0))))
        output.mux(video.encode(None))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, rate), np.int16), "s16p", "mono")
        tone.rate = rate
        output.mux(audio.encode(tone))
        output.mux(audio.encode(None))
    translate_video(tmp_path / "a.mp4", tmp_path / "b.mp4", same, 4)
    with av.open(tmp_path / "b.mp4") as translated:
        sound = translated.streams.audio[0]
        assert (sound.codec_context.name, sound.rate) == ("aac", becomes)
        assert float(sound.duration * sound.time_base) == pytest.approx(1, abs=0.1)


def test_an_error_of_the_network_ends_the_video(tmp_path):
    def fail(frames: list[Pixels]) -> list[Pixels]:
        raise MemoryError

    source = write_video(tmp_path / "a.mp4", TIMES)
    with pytest.raises(MemoryError):
        translate_video(source, tmp_path / "b.mp4", fail, 2)
    assert list(tmp_path.iterdir()) == [source]


# Animations


def write_gif(path: Path, count: int = 5, **options: object) -> Path:
    frames = [Image.fromarray(striped(20, 30, shift)) for shift in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def gif_of(path: Path) -> tuple[list[int], list[np.ndarray], object]:
    with Image.open(path) as image:
        frames = [
            (f.info["duration"], np.array(f.convert("RGB"))) for f in ImageSequence.Iterator(image)
        ]
        return [d for d, _ in frames], [pixels for _, pixels in frames], image.info.get("loop")


@pytest.mark.parametrize("loop", [{}, {"loop": 0}, {"loop": 3}])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_animations_keep_their_pace(tmp_path, loop, batch_size):
    durations = [50, 200, 70, 1000, 90]
    source = write_gif(tmp_path / "a.gif", duration=durations, **loop)

    def inverted(frames: list[Pixels]) -> list[Pixels]:
        return [255 - frame[:, :, :3] for frame in frames]

    assert translate_video(source, tmp_path / "b.gif", inverted, batch_size) == 5
    shown, frames, loops = gif_of(tmp_path / "b.gif")
    assert (shown, loops) == (durations, loop.get("loop"))
    for index, pixels in enumerate(frames):
        assert np.abs(pixels.astype(int) - (255 - striped(20, 30, index).astype(int))).max() <= 2


def test_a_still_gif(tmp_path):
    Image.fromarray(striped(20, 30)).save(tmp_path / "a.gif")
    assert translate_video(tmp_path / "a.gif", tmp_path / "b.gif", same, 4) == 1
    with Image.open(tmp_path / "b.gif") as image:
        assert (image.format, image.size) == ("GIF", (30, 20))
        assert np.abs(np.array(image.convert("RGB")).astype(int) - striped(20, 30)).max() <= 2


def test_transparent_frames_stay_transparent(tmp_path):
    alpha = np.zeros((20, 30, 1), np.uint8)
    alpha[:, :15] = 255
    frames = [
        Image.fromarray(np.concatenate([striped(20, 30, shift), alpha], 2)) for shift in range(3)
    ]
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], disposal=2, duration=50
    )
    translate_video(tmp_path / "a.gif", tmp_path / "b.gif", same, 2)
    with Image.open(tmp_path / "b.gif") as image:
        for frame in ImageSequence.Iterator(image):
            assert (np.array(frame.convert("RGBA"))[:, :, 3:] == alpha).all()


def test_a_damaged_gif_is_named_and_leaves_nothing(tmp_path):
    source = write_gif(tmp_path / "a.gif")
    content = source.read_bytes()
    source.write_bytes(content[: int(0.7 * len(content))])
    with pytest.raises(ImageError, match=r"a\.gif"):
        translate_video(source, tmp_path / "b.gif", same, 2)
    assert list(tmp_path.iterdir()) == [source]


def test_moving_transparency_leaves_no_trails(tmp_path):
    frames = []
    for place in range(0, 40, 10):
        pixels = np.zeros((12, 50, 4), np.uint8)
        pixels[2:10, place : place + 8] = (200, 30, 60, 255)
        frames.append(Image.fromarray(pixels))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], disposal=2)
    translate_video(tmp_path / "a.gif", tmp_path / "b.gif", same, 2)
    with Image.open(tmp_path / "b.gif") as image:
        counts = [
            int((np.array(frame.convert("RGBA"))[:, :, 3] > 0).sum())
            for frame in ImageSequence.Iterator(image)
        ]
    assert counts == [64] * 4
