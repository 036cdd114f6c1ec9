"""Clips of the user's own as a training source: a folder, a table, shards, an array."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flipbook.data.batch import INDEX_FPS, Sample
from flipbook.data.cache.store import LatentKeys
from flipbook.data.fate import Fate, fates, kept, nothing_left, tally
from flipbook.data.framing import Framing, frame_index
from flipbook.data.layouts import list_clips
from flipbook.data.options import FolderOptions
from flipbook.data.seeds import derive_seed, generator
from flipbook.data.sources.framestore import FrameStore
from flipbook.data.window import Window
from flipbook.files.errors import VideoError

TRIES = 16  # clips that may fail in a row before a source gives up


@dataclass(frozen=True)
class Cut:
    """All that chance decides of a sample, before anything is decoded.

    frames: (T,) numbers in the window's file.   box: top, left, height, width of the crop as shares of the picture.
    """

    window: Window
    frames: np.ndarray
    box: tuple[float, float, float]
    mirrored: bool
    caption: str
    frame_index: np.ndarray
    fps: float


class FolderSource:
    """Windows of files, each shown once per epoch; frames, crop and mirroring depend on (seed, sample number) alone.

    A file that turns out to be damaged in the middle is replaced by the next clip, the same one in every run, with a
    warning. With `cached`, a clip has a few cuts that come again, and those whose latents are kept are not decoded.
    """

    def __init__(
        self, options: FolderOptions, framing: Framing, fates_of_side: Sequence[Fate], *, plain: bool = False,
        cached: LatentKeys | None = None,
    ) -> None:  # fmt: skip
        self._options, self._framing, self._plain, self._cached = options, framing, plain, cached
        self._windows = [fate.window for fate in fates_of_side if fate.window is not None]
        self._store = FrameStore(
            self._windows, framing.height, framing.width, min_scale=options.min_scale, memory_mb=options.memory_mb
        )
        self.name = f"folder/{options.folder.name}"
        self.num_clips: int | None = len(self._windows)

    def cut(self, number: int, seed: int, index: int) -> Cut:
        """What sample `index` of the run shows of clip `number`."""
        options, framing, window = self._options, self._framing, self._windows[number]
        variant = None if self._cached is None else derive_seed(seed, "variant", index) % self._cached.variants
        chance = generator(seed, "folder", index) if variant is None else generator(0, "variant", number, variant)
        shown = window.shown()
        offset = int(chance.integers(max(0, len(shown) - framing.clip_frames) + 1))
        frames = framing.frames(min(len(shown), framing.clip_frames), chance)  # (T,) within the clip
        scale, down, across = chance.random(3)
        if options.crop == "centre" or self._plain:
            scale, down, across = 1.0, 0.5, 0.5
        mirrored = bool(chance.random() < 0.5 and options.flip and not self._plain)
        caption = window.captions[int(chance.integers(len(window.captions)))] if window.captions else ""
        others = [other for words, sentences in options.also.items() if words in caption for other in sentences]
        if others and not self._plain and chance.random() < 0.5:
            caption = others[int(chance.integers(len(others)))]
        fps = options.index_fps or window.shown_fps()
        places = frame_index(frames, fps)
        if window.times is not None and not options.index_fps:  # frames of unequal length stand where they appear
            seconds = window.seconds(offset + frames) - window.seconds(np.array([offset]))
            places = (seconds * INDEX_FPS).astype(np.float32)
        return Cut(
            window, shown[offset + frames], (float(scale), float(down), float(across)), mirrored, caption,
            places, fps / framing.frame_stride,
        )  # fmt: skip

    def show(self, cut: Cut, index: int) -> Sample:
        """The frames of a cut, or its latents. Raises VideoError."""
        framing, clip, extra = self._framing, cut.window.clip, {}
        key = self.key(cut)
        entry = self._cached.store.get(key) if self._cached is not None else None
        latent = None if entry is None else entry["latent"].float().numpy()
        if latent is None:
            video = self._finish(self._store.frames(cut.window, cut.frames), cut)
        else:
            video = np.zeros((framing.num_frames, framing.height, framing.width, 0), np.uint8)  # its shape, no pixels
        if clip.rival is not None and cut.window.rival_size is not None:
            extra = {"rival": self._finish(self._store.picture(clip.rival, cut.window.rival_size), cut),
                     "preference": clip.preference}  # fmt: skip
        return Sample(
            video=video, caption=cut.caption, frame_index=cut.frame_index, fps=cut.fps, index=index, source=self.name,
            is_image=framing.num_frames == 1, extra=extra, latent=latent, key=key,
        )  # fmt: skip

    def key(self, cut: Cut) -> str:
        """What the latents of a cut are kept under, "" without a cache: all that its pixels depend on."""
        if self._cached is None:
            return ""
        window, framing = cut.window, self._framing
        size = self._store.size(window.height, window.width)
        return self._cached.key(
            window.media, (window.start + cut.frames).tolist(), size, (framing.height, framing.width), cut.box,
            self._options.min_scale, cut.mirrored,
        )  # fmt: skip

    def sample(self, number: int, seed: int, index: int) -> Sample:
        """The clip of window `number`; `index` is its number in the run."""
        assert self.num_clips
        problem: VideoError | None = None
        for turn in range(min(TRIES, self.num_clips)):
            try:
                return self.show(self.cut((number + turn) % self.num_clips, seed, index), index)
            except VideoError as error:
                problem = problem or error
                warnings.warn(f"{self.name}: a clip is left out and the next one shown: {error}", stacklevel=2)
        raise ValueError(f"{self.name}: {TRIES} clips in a row cannot be decoded, the first: {problem}")

    def _finish(self, video: np.ndarray, cut: Cut) -> np.ndarray:
        """Cut the box out of (T, h, w, 3), scale it to (T, height, width, 3), mirror it."""
        video = crop(video, self._framing.height, self._framing.width, self._options.min_scale, *cut.box)
        return np.ascontiguousarray(video[:, :, ::-1] if cut.mirrored else video)


def crop(
    video: np.ndarray, height: int, width: int, min_scale: float, scale: float, down: float, across: float
) -> np.ndarray:
    """A box of height / width out of (T, h, w, 3), scaled to (T, height, width, 3).

    scale in [0, 1]: from min_scale of the largest box to all of it; down, across in [0, 1]: where it lies.
    """
    h, w = video.shape[1:3]
    size = min(h / height, w / width) * (min_scale + (1 - min_scale) * scale)
    box_h, box_w = min(h, height * size), min(w, width * size)
    top, left = (h - box_h) * down, (w - box_w) * across
    if round(box_h) == height and round(box_w) == width:  # nothing to scale: bytes stay as decoded
        top, left = min(round(top), h - height), min(round(left), w - width)
        return video[:, top : top + height, left : left + width]
    from PIL import Image

    box = (left, top, left + box_w, top + box_h)
    scaled = [Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC, box=box) for f in video]
    return np.stack([np.asarray(picture) for picture in scaled])


def prepare(options: FolderOptions, framing: Framing, split: str, **more: Any) -> list[Fate]:
    """The fates of a source's clips that are kept for a split, "train" or "val".

    Warns of what is dropped and of clips without words. Raises ValueError when nothing is left.
    """
    everything = fates(list_clips(options.folder, options.layout, options.columns, options.fold), options, framing, **more)
    chosen = kept(everything, "val" if split == "val" else "train")
    if split == "val" and not chosen:
        remedy = "hold back whole source videos; here there is none to spare" if options.val_share else "hold some back"
        warnings.warn(
            f'{options.folder}: no clip is kept for validation (split "val"), so validation looks at training clips. '
            f"val_share={options.val_share or 0.1:g} would {remedy}.",
            stacklevel=4,
        )
        chosen = kept(everything, "train")
    if not chosen:
        raise ValueError(nothing_left(options.folder, everything))
    if split == "train":
        warn_of_losses(options, everything, chosen)
    return chosen


def warn_of_losses(options: FolderOptions, everything: Sequence[Fate], chosen: Sequence[Fate]) -> None:
    """Say what a person did not ask for: clips that are dropped by no choice of theirs, and clips without words."""
    lost = [f for f in everything if f.rule and f.rule not in ("filter", "other split")]
    if lost:
        counts = ", ".join(f"{rule} {count}" for rule, count in tally(lost).items())
        first = str(lost[0].reason).removeprefix(f"{lost[0].where}: ").removesuffix(".")
        warnings.warn(
            f"{options.folder}: {len(lost)} of {len(everything)} clips are left out ({counts}); the first: "
            f"{lost[0].where}: {first}. `flipbook data plan` lists them all.",
            stacklevel=5,
        )
    wordless = [fate for fate in chosen if fate.clip is not None and not fate.clip.captions]
    if wordless:
        warnings.warn(
            f"{options.folder}: {len(wordless)} of {len(chosen)} clips have no caption and train without "
            f"words, the first is {wordless[0].where}.",
            stacklevel=5,
        )


def restrict(chosen: Sequence[Fate], bucket: Any) -> list[Fate]:
    """The fates that fall into one bucket."""
    return [fate for fate in chosen if fate.bucket == bucket]


__all__ = ["Cut", "FolderOptions", "FolderSource", "crop", "prepare", "restrict"]
