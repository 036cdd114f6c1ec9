"""Opening what a `Media` names: one face over files, folders of frames, arrays, tar members and parquet cells."""

from __future__ import annotations

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from flipbook.data.clips import Media
from flipbook.files.errors import DamagedVideo, MissingVideo, NotAVideo, VideoError
from flipbook.files.resize import ToRGB
from flipbook.files.select import Clock, Selection

MOVING_MNIST_FPS = 10.0


class Pictures(Protocol):
    """What every opened media can do; `files.read.open_source` gives three more of the kind."""

    path: Path
    count: int
    height: int
    width: int
    codec: str

    def clock(self) -> Clock: ...
    def frames(self, indices: np.ndarray, to_rgb: ToRGB) -> Iterator[np.ndarray]: ...
    def close(self) -> None: ...


def open_media(media: Media) -> Pictures:
    """Look at a media and open it. Raises VideoError."""
    from flipbook.data.seeking import SeekingContainer
    from flipbook.files.check import kind_of
    from flipbook.files.read import open_source

    if media.kind == "file":
        if kind_of(media.path) == "container":
            return cast(Pictures, SeekingContainer(Path(media.path)))  # counts when it is asked
        return cast(Pictures, open_source(media.path))  # a folder's clock takes a rate as well
    if media.kind == "array":
        return ArrayClip(media)
    return Spilled(media)


def read_frames(source: Pictures, indices: np.ndarray, to_rgb: ToRGB) -> np.ndarray:
    """Frames by number, non-decreasing: uint8 (T, H, W, 3). Raises VideoError."""
    from flipbook.files.read import gather

    inner: Any = source.inner if isinstance(source, Spilled) else source
    return gather(inner, Selection(indices, 1.0, None, 0.0, 0.0), to_rgb)


class ArrayClip:
    """One sequence of an npy array (T, N, H, W), time first."""

    codec = "npy"

    def __init__(self, media: Media) -> None:
        self.path = Path(media.path)
        if not self.path.is_file():
            raise MissingVideo(f"{self.path}: there is no such file. Check the path.")
        self._frames = np.load(self.path, mmap_mode="r", allow_pickle=False)[:, media.start]  # (T, H, W)
        self.count, self.height, self.width = self._frames.shape

    def clock(self) -> Clock:
        return Clock(np.arange(self.count) / MOVING_MNIST_FPS, self.count / MOVING_MNIST_FPS, MOVING_MNIST_FPS, True)

    def frames(self, indices: np.ndarray, to_rgb: ToRGB) -> Iterator[np.ndarray]:
        import av

        for index in indices:
            grey = np.ascontiguousarray(self._frames[index])
            yield to_rgb(av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, -1), "rgb24"))

    def close(self) -> None:
        """The map of the file goes with the object."""


class Spilled:
    """A tar member or a parquet cell, in a temporary file while it is open: decoders want to seek in a file."""

    def __init__(self, media: Media) -> None:
        from flipbook.files.read import open_source

        data = read_bytes(media)
        self._file = tempfile.NamedTemporaryFile(suffix=Path(media.part).suffix)  # noqa: SIM115 (closed in close)
        self._file.write(data)
        self._file.flush()
        try:
            self.inner = open_source(self._file.name)
        except VideoError as error:
            self._file.close()
            raise type(error)(str(error).replace(self._file.name, str(media))) from None
        self.path, self.count, self.codec = Path(media.path), self.inner.count, self.inner.codec
        self.height, self.width = self.inner.height, self.inner.width

    def clock(self) -> Clock:
        return self.inner.clock()

    def frames(self, indices: np.ndarray, to_rgb: ToRGB) -> Iterator[np.ndarray]:
        return self.inner.frames(indices, to_rgb)

    def close(self) -> None:
        self.inner.close()
        self._file.close()


def read_bytes(media: Media) -> bytes:
    """The bytes of a file, a tar member or a parquet cell. Raises VideoError."""
    path = Path(media.path)
    try:
        if media.kind == "cell":
            cell = _column(media.path, media.part, media.start)
            data = cell if isinstance(cell, bytes) else b""
        else:
            with path.open("rb") as file:
                file.seek(media.start)
                data = file.read(media.length if media.kind == "tar" else -1)
    except OSError as error:
        raise MissingVideo(f"{media}: cannot be read ({error}). Check the path.") from None
    if media.kind == "tar" and len(data) < media.length:
        raise DamagedVideo(f"{media}: the shard ends inside this member. Copy it again.")
    if not data:
        raise NotAVideo(f"{media}: there are no bytes there.")
    return data


def _column(path: str, column: str, row: int) -> Any:
    """One cell of a parquet file, by way of its row group."""
    group, first = _row_group(path, row)
    return _group_column(path, column, group)[row - first].as_py()


@lru_cache(maxsize=64)
def _row_groups(path: str) -> np.ndarray:
    """Numbers of the first rows of all row groups, and of the end."""
    import pyarrow.parquet as pq

    meta = pq.ParquetFile(path).metadata
    return np.cumsum([0] + [meta.row_group(i).num_rows for i in range(meta.num_row_groups)])


def _row_group(path: str, row: int) -> tuple[int, int]:
    starts = _row_groups(path)
    group = int(np.searchsorted(starts, row, side="right")) - 1
    return group, int(starts[group])


@lru_cache(maxsize=4)  # row groups of pictures are large: a few in memory, pairs read together
def _group_column(path: str, column: str, group: int) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read_row_group(group, columns=[column]).column(0)


def content_hash(media: Media) -> str:
    """SHA-256 of what a media holds: a file's bytes, all images of a folder in order, a member, a sequence."""
    digest = hashlib.sha256()
    if media.kind == "array":
        digest.update(np.ascontiguousarray(np.load(media.path, mmap_mode="r", allow_pickle=False)[:, media.start]).tobytes())
    elif media.kind != "file":
        digest.update(read_bytes(media))
    else:
        path = Path(media.path)
        for file in sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(file.name.encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def stamp(media: Media) -> tuple[int, ...]:
    """What changes when somebody writes the file: size, times, inode. Raises MissingVideo."""
    path = Path(media.path)
    try:
        found = path.stat()
        inside = max((p.stat().st_mtime_ns for p in path.iterdir()), default=0) if path.is_dir() else 0
    except OSError as error:
        raise MissingVideo(f"{path}: there is no such file or folder ({error.strerror}). Check the path.") from None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, inside


class OpenMedia:
    """The last media used stay open, with their frame index and their converters: a window then costs one seek."""

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._open: OrderedDict[Media, tuple[Pictures, dict[tuple[int, int], ToRGB]]] = OrderedDict()

    def read(self, media: Media, indices: np.ndarray, height: int, width: int) -> np.ndarray:
        """Frames by number, non-decreasing, stretched to height x width: uint8 (T, H, W, 3). Raises VideoError."""
        if media not in self._open:
            self._open[media] = open_media(media), {}
            while len(self._open) > self._most:
                self._open.popitem(last=False)[1][0].close()
        self._open.move_to_end(media)
        source, converters = self._open[media]
        if (height, width) not in converters:
            converters[height, width] = ToRGB(height, width, "stretch", codec=source.codec)
        try:
            return read_frames(source, indices, converters[height, width])
        except VideoError:
            self._open.pop(media)[0].close()  # in an unknown state
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {"_most": self._most, "_open": OrderedDict()}  # open files do not travel to other processes
