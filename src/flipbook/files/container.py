"""mp4, mov, mkv, webm, avi, ...: frames by index, exactly, through libav.

The frames of a file are the ones a decoder shows, in the order of presentation. For codecs where one packet is one
frame, reading the packets without decoding lists them in a moment; then a window costs a seek and a few frames. What
the decoder returns is compared with that list; where they disagree (odd or damaged files) decoding counts.
"""

from __future__ import annotations

import itertools
import math
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from flipbook.files.errors import DamagedVideo, NotAVideo
from flipbook.files.resize import ToRGB
from flipbook.files.select import Clock, clock_of

ONE_PACKET_ONE_FRAME = {"h264", "hevc", "vp9", "av1", "libdav1d", "mpeg4", "ffv1", "prores", "mjpeg", "rawvideo"}
PATIENCE = 60.0  # seconds of decoding without a single new frame before we call a file damaged


class Unlisted(Exception):
    """The decoder's frames are not the listed ones."""


class Container:
    """An open file. `count` frames at presentation stamps `stamps` (in ticks of `tick`), read by `frames(indices)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()
        try:
            self.height, self.width = self.stream.height, self.stream.width
            self.tick = float(self.stream.time_base or Fraction(1, 1000))
            self.keys: list[tuple[int, int]] | None = (
                None  # (presentation, decoding) stamp of each key frame, if listed
            )
            self.stamps, self.last_length = self.list_packets() or self.list_frames()
        except BaseException:
            self.file.close()
            raise

    def open(self) -> None:
        """Open the file at its beginning and choose the stream. Raises NotAVideo."""
        import av

        try:
            self.file = av.open(f"file:{self.path}", metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise NotAVideo(
                f"{self.path}: no known video format ({strerror(error)}). Try mp4, mov, mkv, webm, gif, webp or png."
            ) from None
        try:
            self.stream = self.choose_stream()
        except BaseException:
            self.file.close()
            raise
        self.codec = self.stream.codec_context.name
        self.decoder = self.choose_decoder()
        self.stream.thread_type = "AUTO" if self.stream.width * self.stream.height > 512 * 512 else "NONE"

    def choose_stream(self) -> Any:
        """The first stream of moving pictures; cover art does not count. Raises NotAVideo for sound alone."""
        streams = [s for s in self.file.streams.video if "attached_pic" not in disposition(s)]
        if streams and streams[0].codec_context is not None:
            return streams[0]
        if streams:
            raise NotAVideo(
                f"{self.path}: the codec of the video stream is not known here. Try `ffmpeg -i FILE NEW.mp4` first."
            )
        sound = ", sound only" if self.file.streams.audio else ""
        raise NotAVideo(
            f"{self.path}: there are no moving pictures in this file{sound}. Give a file with a video stream."
        )

    def choose_decoder(self) -> Any:
        """The stream's own, but libvpx for webm with transparency, which libav's VP8 and VP9 decoders leave out."""
        import av

        if self.codec in ("vp8", "vp9") and self.stream.metadata.get("alpha_mode") == "1":
            return av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[self.codec], "r")
        return self.stream.codec_context

    @property
    def count(self) -> int:
        return len(self.stamps)

    def clock(self) -> Clock:
        hints = (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate)
        return clock_of(self.stamps * self.tick, self.last_length, self.tick, hints)

    def list_packets(self) -> tuple[np.ndarray, float | None] | None:
        """Stamps of all shown frames from packets alone, or None where packets do not tell."""
        if self.codec not in ONE_PACKET_ONE_FRAME:
            return None
        keys, lengths, count = [], {}, 0
        with self.named_errors():
            for packet in self.file.demux(self.stream):
                if packet.size == 0:  # the flush at the end
                    continue
                if packet.is_discard:  # what an edit list cuts away; it may still be the key frame of what follows
                    if packet.is_keyframe and packet.pts is not None and packet.dts is not None:
                        keys.append((packet.pts, packet.dts))
                    continue
                if packet.pts is None or packet.is_corrupt:
                    return None
                count += 1
                lengths[packet.pts] = packet.duration
                if packet.is_keyframe:
                    keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if len(lengths) != count or not count:  # stamps that repeat name no frame
            return None
        self.keys = sorted(keys)
        stamps = np.asarray(sorted(lengths), np.int64)
        length = lengths[int(stamps[-1])]
        return stamps, length * self.tick if length else None

    def list_frames(self) -> tuple[np.ndarray, float | None]:
        """Stamps of all frames by decoding the whole file; frames without a usable stamp are spaced evenly."""
        self.keys = None
        stamps = [frame.pts for frame in self.decode()]
        if not stamps:
            raise DamagedVideo(f"{self.path}: not one frame of the {self.codec} stream can be decoded. Make it again.")
        if None in stamps or any(b <= a for a, b in itertools.pairwise(stamps)):
            step = 1 / float(self.stream.average_rate or self.stream.guessed_rate or 25) / self.tick
            return np.arange(len(stamps)) * step, step * self.tick
        return np.asarray(stamps, np.int64), None

    def frames(self, indices: np.ndarray, to_rgb: ToRGB) -> Iterator[np.ndarray]:
        """RGB frames (H, W, 3) of non-decreasing indices. Raises Unlisted, see `seek_frames`, and DamagedVideo."""
        wanted = np.bincount(indices, minlength=self.count)
        for index, frame in self.seek_frames(int(indices[0]), int(indices[-1])):
            if wanted[index]:
                if frame.is_corrupt:
                    raise DamagedVideo(
                        f"{self.path}: frame {index} of {self.count} is damaged. Try num_frames={index}."
                    )
                rgb = to_rgb(frame, *orientation(frame))
                for _ in range(wanted[index]):
                    yield rgb

    def seek_frames(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """(index, decoded frame) for first..last, from the nearest key frame. Raises Unlisted if one is missing."""
        if self.keys is None:
            for index, frame in enumerate(self.decode()):
                if first <= index <= last:
                    yield index, frame
                if index == last:
                    return
            raise DamagedVideo(f"{self.path}: decoding ended before frame {last}.")
        expected = first
        self.rewind(max((dts for pts, dts in self.keys if pts <= self.stamps[first]), default=None))
        for frame in self.decode(rewind=False):
            if frame.pts is None:
                raise Unlisted
            if frame.pts < self.stamps[first]:
                continue
            if frame.pts != self.stamps[expected]:
                raise Unlisted
            yield expected, frame
            if expected == last:
                return
            expected += 1
        raise Unlisted

    def rewind(self, stamp: int | None = None) -> None:
        """To the key frame at or before a decoding stamp, or to the very beginning, which not all formats can seek to."""
        if stamp is None:
            self.file.close()
            self.open()
        else:
            self.file.seek(stamp, stream=self.stream, backward=True, any_frame=False)
            self.decoder.flush_buffers()

    def decode(self, rewind: bool = True) -> Iterator[Any]:
        """Decoded frames in the order of presentation."""
        if rewind:
            self.rewind()
        since = time.monotonic()
        with self.named_errors():
            for packet in self.file.demux(self.stream):
                for frame in self.decoder.decode(packet):
                    yield frame
                    since = time.monotonic()
                if time.monotonic() - since > PATIENCE:
                    raise DamagedVideo(
                        f"{self.path}: {PATIENCE:g} seconds of decoding brought no new frame; the file is damaged."
                    )

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        import av

        try:
            yield
        except av.error.FFmpegError as error:
            raise DamagedVideo(
                f"{self.path}: the {self.codec} stream cannot be decoded ({strerror(error)}). Make or copy it again."
            ) from error

    def close(self) -> None:
        self.file.close()


def orientation(frame: Any) -> tuple[int, bool]:
    """(quarter turns clockwise, mirrored before that) from the display matrix; (0, False) if there is none.

    The matrix (a b; c d) takes a pixel (x, y) to (a x + c y, b x + d y), with y pointing down.
    """
    for data in frame.side_data:
        if getattr(data.type, "name", "") == "DISPLAYMATRIX":
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            mirrored = a * d - b * c < 0
            if mirrored:
                a, b = -a, -b
            return round(math.atan2(b, a) / (math.pi / 2)) % 4, mirrored
    return 0, False


def disposition(stream: Any) -> str:
    return str(getattr(stream, "disposition", ""))


def strerror(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
