"""Sound beside the frames: decoded to float32, cut to the seconds of the video, encoded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flipbook.files.errors import DamagedVideo
from flipbook.video import Audio

FAR = 60.0  # seconds up to which samples are counted from the beginning: exact where stamps are rounded (1 ms in mkv)


def read_audio(path: Path, start: float, end: float) -> Audio | None:
    """The sound between `start` and `end` seconds after the first frame of the video; None if the file is silent.

    Sound that begins later than the video is preceded by silence, so that sample 0 belongs to the first frame.
    """
    import av

    with av.open(f"file:{path}", metadata_errors="replace") as file:
        if not file.streams.audio or file.streams.audio[0].codec_context is None:
            return None
        stream = file.streams.audio[0]
        origin = video_start(file) + start
        rate = stream.codec_context.sample_rate
        resampler = av.AudioResampler(format="fltp", rate=rate)
        if start > FAR:  # a second early, because decoders of sound need a moment to settle
            file.seek(int((origin - 1) * av.time_base), backward=True)
        pieces: list[tuple[int, np.ndarray]] = []
        try:
            for frame in file.decode(stream):
                for part in resampler.resample(frame):
                    at = position(frame, origin, rate, pieces)
                    pieces.append((at, part.to_ndarray().astype(np.float32, copy=False)))
                if pieces and pieces[-1][0] >= (end - start) * rate:
                    break
        except av.error.FFmpegError as error:
            raise DamagedVideo(f"{path}: the sound cannot be decoded ({error.strerror}). Try audio=False.") from error
    return place(pieces, round((end - start) * rate), rate)


def position(frame: Any, origin: float, rate: int, pieces: list[tuple[int, np.ndarray]]) -> int:
    """First sample of a frame. A stamp within 20 ms of the end of the piece before means that end."""
    following = pieces[-1][0] + pieces[-1][1].shape[1] if pieces else None
    if frame.pts is None:
        return following or 0
    stated = round((float(frame.pts * frame.time_base) - origin) * rate)
    return following if following is not None and abs(stated - following) < 0.02 * rate else stated


def place(pieces: list[tuple[int, np.ndarray]], length: int, rate: int) -> Audio | None:
    """Lay pieces (first sample, (channels, n)) on silence; the track ends with its last piece or with the video."""
    if not pieces:
        return None
    last = min(length, max(at + samples.shape[1] for at, samples in pieces))
    track = np.zeros((pieces[0][1].shape[0], max(last, 0)), np.float32)
    for at, samples in pieces:
        begin, stop = max(at, 0), min(at + samples.shape[1], track.shape[1])
        if begin < stop:
            track[:, begin:stop] = samples[:, begin - at : stop - at]
    return Audio(track, rate)


def video_start(file: Any) -> float:
    stream = file.streams.video[0]
    return float((stream.start_time or 0) * stream.time_base)


def hears(file: Any) -> dict[str, Any] | None:
    """Codec, channels and rate of the sound in an open file, or None."""
    if not file.streams.audio or file.streams.audio[0].codec_context is None:
        return None
    context = file.streams.audio[0].codec_context
    return {"codec": context.name, "channels": context.layout.nb_channels, "rate": context.sample_rate}
