"""MP4 and WebM by PyAV: the picture is translated and encoded anew, the sound is handed on."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self, TypeAlias, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from cyclegan_style.applying.frames import Translate, frame_bar, translated
from cyclegan_style.data.images import (
    MAX_PIXELS,
    ImageError,
    Pixels,
    from_pillow,
    reason_of,
    refuse_irregular,
    to_pillow,
)
from cyclegan_style.system.whole_files import whole_file


@dataclass(frozen=True)
class Codecs:
    """How the pictures and sounds of a container are encoded."""

    video: str
    options: dict[str, str]
    audio: str
    copied_audio: frozenset[str]
    """Sounds that players expect in it, and that are handed on as they are."""
    audio_rates: tuple[int, ...]
    """Samples per second that the codec of sounds takes."""


CODECS = {
    ".mp4": Codecs(
        "libx264",
        {"crf": "18"},
        "aac",
        frozenset({"aac", "ac3", "eac3", "flac", "mp3", "opus"}),
        (
            *(7350, 8000, 11025, 12000, 16000, 22050, 24000),
            *(32000, 44100, 48000, 64000, 88200, 96000),
        ),
    ),
    ".webm": Codecs(
        "libvpx-vp9",
        {"crf": "24", "cpu-used": "4", "row-mt": "1"},
        "libopus",
        frozenset({"opus", "vorbis"}),
        (8000, 12000, 16000, 24000, 48000),
    ),
}
"""Qualities at which the coding is hardly to be seen."""

MATROSKA_SIGNATURE = b"\x1aE\xdf\xa3"
MATROSKA_SEGMENT = b"\x18S\x80g"
SoundPacket: TypeAlias = "av.Packet[AudioStream]"

BT709 = 1
"""Colours of what is written, in the numbers of ITU-T H.273."""
UNKNOWN_MATRIX = 2
LEAST_HEIGHT_OF_HD = 720
"""From here on, videos that do not say it are in the colours of BT.709, by convention."""


@dataclass(frozen=True)
class Moment:
    """When a frame is shown, in the stream's time base, and the sound read before it."""

    time: int
    sound: list[SoundPacket]


def translate_stream(
    source: Path,
    target: Path,
    translate: Translate,
    batch_size: int,
    *,
    metadata: bool,
    progress: bool,
) -> int:
    """Translate every frame of a video; decoding, the network and encoding overlap."""
    refuse_irregular(source)
    try:
        with source.open("rb") as file, opened_video(file, source) as container:
            reader = VideoReader(container, source)
            if not metadata:
                container.metadata.clear()
            refuse_truncated(container, source)
            with closing(translated(reader.frames(), translate, batch_size)) as frames:
                bar = frame_bar(frames, source, reader.video.frames or None, progress)
                return write_video(target, reader, iter(bar), 2 * batch_size)
    except av.FFmpegError as error:
        raise ImageError(source, f"damaged or unsupported ({error.strerror})") from error


def opened_video(file: BinaryIO, path: Path) -> InputContainer:
    """Open a video by its first bytes: other formats of FFmpeg's may name further files to read."""
    signature = file.read(len(MATROSKA_SIGNATURE))
    if not signature:
        raise ImageError(path, "the file is empty")
    file.seek(0)
    return av.open(file, "r", "matroska" if signature == MATROSKA_SIGNATURE else "mp4")


def refuse_truncated(container: InputContainer, path: Path) -> None:
    """Raise an ImageError if the file is shorter than it says; FFmpeg would just end early."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = matroska_end(file)
    for stream in container.streams if end is None else []:
        entries = stream.index_entries  # an MP4 says where each frame lies
        end = max(end or 0, entries[-1].pos + entries[-1].size if len(entries) else 0)
    if end is not None and end > size:
        raise ImageError(path, f"truncated: {size} bytes of {end}")


def matroska_end(file: BinaryIO) -> int | None:
    """Where the segment that holds everything ends; None in other formats and in live streams."""
    if file.read(len(MATROSKA_SIGNATURE)) != MATROSKA_SIGNATURE:
        return None
    file.seek(ebml_size(file) or 0, os.SEEK_CUR)
    if file.read(len(MATROSKA_SEGMENT)) != MATROSKA_SEGMENT:
        return None
    size = ebml_size(file)
    return None if size is None else file.tell() + size


def ebml_size(file: BinaryIO) -> int | None:
    """A number of 1 to 8 bytes, whose leading zeros say how many; all ones stand for unknown."""
    first = file.read(1)
    length = 9 - int.from_bytes(first).bit_length()
    ones = (1 << 7 * length) - 1
    size = int.from_bytes(first + file.read(length - 1)) & ones
    return None if size == ones else size


def write_video(
    target: Path, reader: "VideoReader", frames: Iterator[tuple[Pixels, Moment]], queued: int
) -> int:
    """Encode frames in a thread that may lag behind by so many; return their number."""
    first = next(frames, None)
    if first is None:
        raise ImageError(reader.path, "it holds no frames")
    stream: WatchedFile | None = None
    try:
        with whole_file(target) as file:
            stream = WatchedFile(file)
            count = encode(stream, target, reader, first, frames, queued)
            stream.flush()
    except (av.FFmpegError, OSError):
        if stream is None or stream.error is None:
            raise
        reason = reason_of(stream.error)
        raise ImageError(target, f"cannot be written: {reason}") from stream.error
    return count


def encode(
    stream: "WatchedFile",
    target: Path,
    reader: "VideoReader",
    first: tuple[Pixels, Moment],
    others: Iterator[tuple[Pixels, Moment]],
    queued: int,
) -> int:
    """Write a video into an open file and return the number of its frames."""
    writing: deque[Future[None]] = deque()
    count = 0
    with (
        VideoWriter(stream, target, reader, first[0]) as writer,
        ThreadPoolExecutor(1) as encoder,
    ):
        for pixels, moment in chain([first], others):
            writing.append(encoder.submit(writer.write, pixels, moment))
            count += 1
            if len(writing) > queued:
                writing.popleft().result()
        for future in writing:
            future.result()
        writer.finish(reader.sound)
    return count


class WatchedFile:
    """A file that FFmpeg writes; it remembers the error that FFmpeg hides behind one of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        """Write as the file does."""
        with self.watched():
            return self.file.write(content)

    def flush(self) -> None:
        """Write what the file still holds back."""
        with self.watched():
            self.file.flush()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Remember an error."""
        try:
            yield
        except OSError as error:
            self.error = error
            raise


@dataclass(frozen=True)
class Sound:
    """A stream of sound, and the one that it becomes."""

    source: AudioStream
    target: AudioStream
    copied: bool
    """Whether its packets are handed on as they are."""


class VideoReader:
    """Frames of a video, upright and in RGB."""

    def __init__(self, container: InputContainer, path: Path) -> None:
        if not container.streams.video:
            raise ImageError(path, "it holds no pictures")
        self.path = path
        self.container = container
        self.video = container.streams.video[0]
        # Streams of codecs that FFmpeg does not know have no context, whatever the types say.
        if cast("object", self.video.codec_context) is None:
            raise ImageError(path, "damaged or unsupported (its codec is not known)")
        self.audio = [audio for audio in container.streams.audio if audio.codec_context]
        self.video.thread_type = "AUTO"
        self.sound: list[SoundPacket] = []
        """Packets that were read since the last frame."""
        if self.video.width * self.video.height > MAX_PIXELS:
            size = f"{self.video.width} × {self.video.height} pixels"
            raise ImageError(path, f"{size} are more than the limit of {MAX_PIXELS:,}")

    def frames(self) -> Iterator[tuple[Pixels, Moment]]:
        """Decode all frames."""
        for packet in self.container.demux(self.video, *self.audio):
            if packet.stream.index == self.video.index:
                for frame in self.video.decode(cast("av.Packet[VideoStream]", packet)):
                    sound, self.sound = self.sound, []
                    yield upright_pixels(frame), Moment(frame.pts or 0, sound)
            else:
                self.sound.append(cast("SoundPacket", packet))


class VideoWriter:
    """A video like the one that is read, with other pictures."""

    def __init__(self, file: WatchedFile, path: Path, reader: VideoReader, first: Pixels) -> None:
        codecs = CODECS[path.suffix.lower()]
        self.container = av.open(file, "w", path.suffix.lower().removeprefix("."))
        self.container.metadata.update(reader.container.metadata)
        source = reader.video
        rate = source.average_rate or source.guessed_rate
        self.time_base = source.time_base or Fraction(1, 1000)
        self.video = add_pictures(self.container, codecs, rate, self.time_base, first)
        context = self.video.codec_context
        context.sample_aspect_ratio = pixel_aspect(source, first)
        self.sound = {audio.index: self.sound_like(audio, codecs) for audio in reader.audio}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def sound_like(self, source: AudioStream, codecs: Codecs) -> "Sound":
        """A stream for the same sound."""
        if source.codec_context.codec.canonical_name in codecs.copied_audio:
            return Sound(source, self.container.add_stream_from_template(source), copied=True)
        layout = "mono" if source.channels == 1 else "stereo"
        rate = min(codecs.audio_rates, key=lambda known: abs(known - source.rate))
        stream = self.container.add_stream(codecs.audio, rate, layout=layout)
        return Sound(source, cast(AudioStream, stream), copied=False)

    def write(self, pixels: Pixels, moment: Moment) -> None:
        """Encode a frame and the sound before it."""
        self.write_sound(moment.sound)
        frame = frame_of(pixels, self.video)
        frame.pts, frame.time_base = moment.time, self.time_base
        self.container.mux(self.video.encode(frame))

    def write_sound(self, packets: list[SoundPacket]) -> None:
        """Hand packets on, or decode and encode them."""
        for packet in packets:
            sound = self.sound[packet.stream.index]
            if not sound.copied:
                for frame in sound.source.decode(packet):
                    self.container.mux(sound.target.encode(frame))
            elif packet.dts is not None:  # but not the one that marks the end
                packet.stream = sound.target
                self.container.mux(packet)

    def finish(self, sound: list[SoundPacket]) -> None:
        """Write the last sound and what the encoders still hold."""
        self.write_sound(sound)
        self.container.mux(self.video.encode(None))
        for stream in self.sound.values():
            if not stream.copied:
                self.container.mux(stream.target.encode(None))


def write_frames(target: Path, frames: Iterable[Pixels], frames_per_second: int) -> None:
    """Write one picture or more of a size as a video without sound."""
    pictures = iter(frames)
    first = next(pictures)
    stream: WatchedFile | None = None
    ending, time_base = target.suffix.lower(), Fraction(1, frames_per_second)
    try:
        with whole_file(target) as file:
            stream = WatchedFile(file)
            with av.open(stream, "w", ending.removeprefix(".")) as container:
                rate = Fraction(frames_per_second)
                video = add_pictures(container, CODECS[ending], rate, time_base, first)
                for number, pixels in enumerate(chain([first], pictures)):
                    frame = frame_of(pixels, video)
                    frame.pts, frame.time_base = number, time_base
                    container.mux(video.encode(frame))
                container.mux(video.encode(None))
            stream.flush()
    except (av.FFmpegError, OSError) as error:
        reason = reason_of((stream and stream.error) or error)
        raise ImageError(target, f"cannot be written: {reason}") from error


def add_pictures(
    container: OutputContainer,
    codecs: Codecs,
    rate: Fraction | None,
    time_base: Fraction,
    first: Pixels,
) -> VideoStream:
    """A stream for pictures of the size of the first."""
    video = cast(VideoStream, container.add_stream(codecs.video, rate, codecs.options))
    context = video.codec_context
    context.height, context.width = height, width = first.shape[:2]
    # H.264 knows odd sizes only where colours are as fine as brightness.
    odd = height % 2 or width % 2
    context.pix_fmt = "yuv444p" if odd and codecs.video == "libx264" else "yuv420p"
    context.time_base = time_base
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return video


def frame_of(pixels: Pixels, video: VideoStream) -> av.VideoFrame:
    """A picture in the colours of a stream."""
    rgb = np.ascontiguousarray(from_pillow(to_pillow(pixels), 3))
    return av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format=video.codec_context.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
    )


def upright_pixels(frame: av.VideoFrame) -> Pixels:
    """The frame in RGB, turned as it is to be shown."""
    high = frame.colorspace == UNKNOWN_MATRIX and frame.height >= LEAST_HEIGHT_OF_HD
    pixels = frame.to_ndarray(format="rgb24", src_colorspace="ITU709" if high else None)
    return np.rot90(cast(Pixels, pixels), round(frame.rotation / 90))


def pixel_aspect(source: VideoStream, first: Pixels) -> Fraction:
    """Width over height of a pixel, after the picture was turned."""
    aspect = source.codec_context.sample_aspect_ratio or Fraction(1)
    turned = first.shape[0] != source.height and first.shape[0] == source.width
    return 1 / aspect if turned else aspect
