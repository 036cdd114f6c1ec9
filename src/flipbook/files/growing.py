"""A video file that grows while its frames are made: players show what is there already.

While it grows, .mp4 and .mov stand in fragments, so that every one on the disk can be shown; a killed process loses the last one alone. At
the end the same packets are written once more, as one file with its index in front and the final recipe in it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipbook.files.encode import FORMATS, Codec, add_pictures, codec_for, encode_pictures
from flipbook.files.errors import VideoError
from flipbook.files.recipe import pack, refuse_foreign_sidecar, write_sidecar
from flipbook.files.temporary import written_whole

if TYPE_CHECKING:
    from flipbook.files.write import Quality

GOP = 16        # frames from one that stands alone to the next, and so of a fragment
ENDLESS = 2**62


@dataclass(frozen=True, eq=False)
class _Source:
    """What the encoder asks of a video, of frames that are not there yet."""

    frames: Iterable[np.ndarray]
    fps: float
    height: int
    width: int
    times: None = None

    @property
    def seconds(self) -> float:
        return ENDLESS / self.fps

    def __len__(self) -> int:
        return ENDLESS


def check_growing(path: Path, height: int, width: int) -> None:
    """Raises VideoError for files that cannot grow: of formats that are written whole, of odd size, or where another's recipe stands."""
    if path.suffix.lower() not in FORMATS:
        raise VideoError(f"{path}: frames can be watched as they come in {' '.join(FORMATS)} files; {path.suffix or 'a folder'} is written whole. Try .mp4.")
    if (height % 2 or width % 2) and path.suffix.lower() != ".webm":
        raise VideoError(f"{path}: {width}x{height} pixels, and {path.suffix} needs even sizes. Try {width - width % 2}x{height - height % 2}, or .webm.")
    refuse_foreign_sidecar(path)


def write_growing(
    path: Path,
    chunks: Iterable[np.ndarray],
    *,
    fps: float,
    height: int,
    width: int,
    begun: dict[str, Any],
    done: Callable[[], dict[str, Any]],
    quality: Quality = "high",
) -> int:
    """Write chunks of frames, uint8 (n, H, W, 3), as they come. Returns how many frames came.

    begun: the recipe that stands in the file while it grows.   done: called at the end, the recipe of what it became.
    Raises VideoError as `check_growing` does, if libav refuses, and where not one frame came.
    """
    import av

    path = Path(path)
    check_growing(path, height, width)
    count = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal count
        for chunk in chunks:
            for frame in chunk:
                count += 1
                yield frame

    suffix = path.suffix.lower()
    codec = _soon(codec_for(suffix, False, quality))
    options = {"fflags": "+bitexact", "flush_packets": "1"}
    if suffix in (".mp4", ".mov"):
        options["movflags"] = "+frag_keyframe+empty_moov+default_base_moof"
    source = _Source(frames(), fps, height, width)
    try:
        with av.open(str(path), "w", format=FORMATS[suffix], options=options) as file:
            file.metadata["comment"] = pack(begun) or ""
            stream = add_pictures(file, source, codec)
            for packet in encode_pictures(stream, source, codec):
                file.mux(packet)
        if not count:
            path.unlink(missing_ok=True)
            raise VideoError(f"{path}: not one frame came, so nothing was written.")
        final = done()
        _finish(path, pack(final))
    except av.error.FFmpegError as error:
        if error.errno in (errno.EACCES, errno.ENOSPC, errno.EROFS):  # the disk's fault, and well named already
            raise
        raise VideoError(f"{path}: refused by {codec.name} ({error.strerror}). Try another size, rate or format.") from error
    write_sidecar(path, final)
    return count


def _soon(codec: Codec) -> Codec:
    """The codec, set to give frames out soon: short GOPs, and little looking ahead."""
    options = codec.options | {"g": str(GOP)}
    if codec.name == "libx264":
        options["x264-params"] = ":".join(filter(None, [options.get("x264-params"), "rc-lookahead=4"]))
    elif codec.name == "libvpx-vp9":
        options["lag-in-frames"] = "0"
    return replace(codec, options=options)


def _finish(path: Path, comment: str | None) -> None:
    """The packets of a file that grew, as one whole file."""
    import av

    suffix = path.suffix.lower()
    options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if suffix in (".mp4", ".mov") else {})
    with written_whole(path) as temporary, av.open(str(path)) as grown, av.open(str(temporary), "w", format=FORMATS[suffix], options=options) as file:
        if comment:
            file.metadata["comment"] = comment
        source = grown.streams.video[0]
        target = file.add_stream_from_template(source)
        for packet in grown.demux(source):
            if packet.size:                                                 # the last one is empty
                packet.stream = target
                file.mux(packet)
