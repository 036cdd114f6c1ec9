"""Sets of clips for the metrics: read one at a time, cut as a protocol says, and named by what was seen and not by file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from flipbook.data.seeds import derive_seed, permutation
from flipbook.metrics.protocols import SetProtocol, Window
from flipbook.metrics.resize import resize_clips
from flipbook.shapes import pixels_to_tensor
from flipbook.video import Video

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif", ".webp"})


@dataclass(frozen=True)
class ClipSource:
    """Where clips come from: files in a fixed order, or uint8 arrays (T, H, W, 3) given directly."""

    paths: tuple[Path, ...] = ()
    arrays: Sequence[np.ndarray] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.paths) or len(self.arrays)

    def frames(self, index: int) -> np.ndarray:
        """uint8 (T, H, W, 3)."""
        if not self.paths:
            return self.arrays[index]
        return Video.read(self.paths[index], audio=False).frames


def clip_source(source: str | Path | Sequence[np.ndarray] | Sequence[Video]) -> ClipSource:
    """Clips of a folder of videos (with its sub-folders, sorted by path), of one video, of an .npy file (N, T, H, W, 3), or given.

    Raises ValueError if there are none, or they are not uint8 RGB.
    """
    if not isinstance(source, (str, Path)):
        arrays = [clip.frames if isinstance(clip, Video) else np.asarray(clip) for clip in source]
        for i, frames in enumerate(arrays):
            if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
                raise ValueError(f"clip {i} is {frames.dtype} of shape {frames.shape}: clips are uint8 (T, H, W, 3).")
        if not arrays:
            raise ValueError("there are no clips. Give at least two.")
        return ClipSource(arrays=arrays)
    path = Path(source)
    if path.suffix == ".npy" and path.is_file():
        return clip_source(list(np.load(path, mmap_mode="r", allow_pickle=False)))
    if path.is_file():
        return ClipSource((path,))
    paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise ValueError(f"{path} holds no clips. Try a folder with {', '.join(sorted(SUFFIXES))} files, or an .npy of uint8 clips.")
    return ClipSource(tuple(paths))


@dataclass
class ClipSet:
    """The clips of one side of a comparison. `used`, `short` and the hash are known after they were read once."""

    source: ClipSource
    protocol: SetProtocol
    window: Window
    count: int | None
    seed: int = 0
    used: int = 0
    short: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)
    _digests: list[bytes] = field(default_factory=list)

    def __iter__(self) -> Iterator[Tensor]:
        """Clips (3, T, H, W) in [-1, 1], sized as the protocol's loader does, in the order of the files or, if only some are used,
        in an order of the seed. Raises ValueError for clips that are too short, unless the protocol leaves them out.
        """
        self.used, self.short, self._digests = 0, 0, []
        wanted = self.count or len(self.source)
        order = range(len(self.source)) if wanted >= len(self.source) else permutation(len(self.source), self.seed, "clips")
        for index in order:
            if self.used == wanted:
                break
            frames = self._cut(self.source.frames(int(index)), int(index))
            if frames is None:
                continue
            self.used += 1
            self.sizes.add((frames.shape[1], frames.shape[2]))
            self.lengths.add(len(frames))
            self._digests.append(hashlib.sha256(repr(frames.shape).encode() + np.ascontiguousarray(frames).tobytes()).digest())
            yield resize_clips(pixels_to_tensor(frames.copy())[None], self.protocol.size_rule, self.protocol.size)[0]

    @property
    def sha256(self) -> str:
        """Hash of the frames that were used, whatever the names and the order of the files."""
        return hashlib.sha256(b"".join(sorted(self._digests))).hexdigest()

    def _cut(self, frames: np.ndarray, index: int) -> np.ndarray | None:
        """The window of a clip, None for one to leave out."""
        p = self.protocol
        if p.num_frames is None:
            span, stride = len(frames), 1
        else:
            span, stride = (p.num_frames - 1) * p.stride + 1, p.stride
        where = "first" if p.num_frames is not None and p.stride > 1 and self.window == "whole" else self.window
        if len(frames) < max(span, p.min_frames) or (where == "whole" and len(frames) != span):
            self.short += 1
            if p.drop_short and len(frames) < span:
                return None
            name = self.source.paths[index].name if self.source.paths else f"clip {index}"
            raise ValueError(
                f"{name} has {len(frames)} frames, and {p.name} needs {'exactly ' if where == 'whole' else 'at least '}"
                f"{max(span, p.min_frames)}. Cut the clips alike first, for instance with Video.read(num_frames=...)."
            )
        start = 0
        if where == "random":
            start = derive_seed(self.seed, "window", index) % (len(frames) - span + 1)
        return frames[start : start + span : stride]
