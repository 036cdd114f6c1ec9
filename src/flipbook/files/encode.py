"""mp4, mov, mkv and webm, through libav: accurate colours, tagged, and the same bytes for the same frames.

H.264 drifts at every generation, because motion compensation rounds halves up and a coarse quantiser sends no
correction. "high" therefore quantises finely and evenly, chroma above all: ten generations move the mean of real
footage by less than 0.1 grey level.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from flipbook.files.errors import VideoError
from flipbook.files.resize import FLAGS, chain
from flipbook.files.select import nice_rate

if TYPE_CHECKING:
    from flipbook.files.write import Quality
    from flipbook.video import Audio, Video

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
X264 = {
    "high": {"crf": "2", "x264-params": "no-mbtree=1:aq-mode=0:chroma-qp-offset=-6"},
    "medium": {"crf": "14", "x264-params": "chroma-qp-offset=-3"},
    "small": {"crf": "23"},
}
VP9_CRF = {"high": "6", "medium": "20", "small": "34"}
MATRIX_709, LIMITED, FULL, SRGB_TRANSFER = 1, 1, 2, 13  # ITU-T H.273 code points
THREADS = 4  # part of the result of some encoders, so it depends on nothing but the size of the picture
FINE_CLOCK = Fraction(1, 90_000)  # seconds per tick for frames of unequal length


class Pictures(Protocol):
    """What the encoder asks of a video: its frames may be on their way still."""

    @property
    def frames(self) -> Iterable[np.ndarray]: ...
    @property
    def fps(self) -> float: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def times(self) -> np.ndarray | None: ...
    @property
    def seconds(self) -> float: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Codec:
    name: str
    pixel_format: str
    options: dict[str, str] = field(default_factory=dict)


def codec_for(suffix: str, lossless: bool, quality: Quality) -> Codec:
    if lossless:
        return {
            ".mkv": Codec("ffv1", "bgr0", {"level": "3", "g": "1", "slicecrc": "1"}),
            ".webm": Codec("libvpx-vp9", "gbrp", {"lossless": "1", "row-mt": "0"}),
        }.get(suffix, Codec("libx264rgb", "rgb24", {"crf": "0", "preset": "medium"}))
    if suffix == ".webm":
        options = {"crf": VP9_CRF[quality], "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "0"}
        return Codec("libvpx-vp9", "yuv420p", options)
    return Codec("libx264", "yuv420p", {"preset": "medium", **X264[quality]})


def write_container(video: Video, path: Path, comment: str | None, lossless: bool, quality: Quality) -> None:
    """Write frames, sound and comment to `path`, whose suffix names the format. Raises VideoError if libav refuses."""
    import av

    suffix = path.suffix.lower()
    codec = codec_for(suffix, lossless, quality)
    options = {"fflags": "+bitexact"}
    if suffix in (".mp4", ".mov"):
        options["movflags"] = "+faststart"
    try:
        with av.open(str(path), "w", format=FORMATS[suffix], options=options) as file:
            if comment:
                file.metadata["comment"] = comment
            pictures = add_pictures(file, video, codec)
            sound = add_sound(file, video.audio, suffix, lossless) if video.audio is not None else None
            streams = [encode_pictures(pictures, video, codec)]
            if sound is not None and video.audio is not None:
                streams.append(encode_sound(sound, video.audio))
            for packet in interleave(streams):
                file.mux(packet)
    except av.error.FFmpegError as error:
        if error.errno in (errno.EACCES, errno.ENOENT, errno.ENOSPC, errno.EPERM, errno.EROFS):  # the disk's fault, and well named already
            raise
        raise VideoError(
            f"{path.suffix} with {video.width}x{video.height} pixels at {video.fps:g} fps was refused by {codec.name} "
            f"({error.strerror}). Try another size, rate or format."
        ) from error


def add_pictures(file: Any, video: Pictures, codec: Codec) -> Any:
    rate = nice_rate(video.fps)
    stream = file.add_stream(codec.name, rate=rate, options=codec.options)
    stream.width, stream.height, stream.pix_fmt = video.width, video.height, codec.pixel_format
    stream.time_base = 1 / rate if video.times is None else FINE_CLOCK
    context = stream.codec_context
    context.time_base = stream.time_base
    context.thread_count = 1 if video.width * video.height <= 256 * 256 else THREADS
    context.flags |= 1 << 23  # bitexact: no library versions in the stream
    if video.times is not None:
        context.max_b_frames = 0  # mp4 keeps lengths in decoding order; this makes it the order shown
    rgb = codec.pixel_format != "yuv420p"
    context.colorspace = 0 if rgb else MATRIX_709
    context.color_range = FULL if rgb else LIMITED
    context.color_primaries = MATRIX_709
    context.color_trc = SRGB_TRANSFER if rgb else MATRIX_709
    return stream


def encode_pictures(stream: Any, video: Pictures, codec: Codec) -> Iterator[Any]:
    """Packets of all frames, in the order of decoding."""
    import av

    convert = None
    if codec.pixel_format == "yuv420p":
        colours = "in_range=pc:out_range=tv:out_color_matrix=bt709:out_chroma_loc=left"
        steps = [("scale", f"{video.width}:{video.height}:{FLAGS}:{colours}"), ("format", "yuv420p")]
        convert = chain(video.width, video.height, "rgb24", steps)
    stamps, lengths = ticks(video, stream.codec_context.time_base)
    for i, pixels in enumerate(video.frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        if convert is not None:
            convert.push(frame)
            frame = convert.pull()
        elif codec.pixel_format != "rgb24":
            frame = frame.reformat(format=codec.pixel_format)
        frame.pts, frame.time_base = stamps[i], stream.codec_context.time_base
        yield from with_lengths(stream.encode(frame), lengths)
    yield from with_lengths(stream.encode(None), lengths)


def ticks(video: Pictures, time_base: Fraction) -> tuple[Sequence[int], dict[int, int]]:
    """When each frame appears and how long it stays, in ticks."""
    if video.times is None:
        return range(len(video)), {}                                        # a stream does not know its end
    edges = np.round(np.append(video.times, video.seconds) / float(time_base)).astype(np.int64)
    return edges[:-1].tolist(), dict(zip(edges[:-1].tolist(), np.diff(edges).tolist(), strict=True))


def with_lengths(packets: list[Any], lengths: dict[int, int]) -> Iterator[Any]:
    for packet in packets:
        if packet.pts in lengths:
            packet.duration = lengths[packet.pts]
        yield packet


def add_sound(file: Any, audio: Audio, suffix: str, lossless: bool) -> Any:
    """AAC, or Opus in webm; lossless files keep the samples as they are where the format can."""
    channels = audio.samples.shape[0]
    if channels > 2:
        raise VideoError(f"the sound has {channels} channels: one or two can be written. Try samples[:2].")
    if suffix == ".webm":
        name, rate, options = "libopus", 48_000, {"b": "128k"}
    elif lossless:
        name, rate, options = "pcm_f32le", audio.rate, {}
    else:
        name, rate, options = "aac", audio.rate, {"b": "160k"}
    stream = file.add_stream(name, rate=rate, layout="mono" if channels == 1 else "stereo", options=options)
    stream.codec_context.flags |= 1 << 23
    return stream


def encode_sound(stream: Any, audio: Audio) -> Iterator[Any]:
    import av

    context = stream.codec_context
    layout = "mono" if audio.samples.shape[0] == 1 else "stereo"
    size = context.frame_size or 1024
    resampler = av.AudioResampler(format=context.format, layout=layout, rate=context.sample_rate, frame_size=size)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = audio.rate, 0, Fraction(1, audio.rate)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        yield from stream.encode(part)
    yield from stream.encode(None)


def interleave(streams: list[Iterator[Any]]) -> Iterator[Any]:
    """Packets of several streams in the order in which a player needs them."""
    import heapq

    def moment(packet: Any) -> float:
        return float((packet.dts if packet.dts is not None else 0) * packet.time_base)

    yield from heapq.merge(*streams, key=moment)
