"""Video = frames + rate (+ sound, + the recipe that made it), as it stands in files: uint8 RGB, (T, H, W, 3).

Reading and writing live in `flipbook.files` and are imported when they are called, so that this module stays cheap.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flipbook.files.errors import VideoError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

__all__ = ["Audio", "Fit", "PathLike", "Video", "VideoError"]

Fit = Literal["crop", "pad", "stretch"]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound: float32 samples (channels, n) in [-1, 1] at `rate` samples per second."""

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            raise ValueError(
                f"samples are {self.samples.dtype} of shape {self.samples.shape}: sound is float32 (channels, n) in "
                "[-1, 1]. Try samples.astype('float32').reshape(channels, -1)."
            )
        if self.rate <= 0:
            raise ValueError(f"rate={self.rate}: samples per second are a positive number, such as 48000.")

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.rate


@dataclass(frozen=True, eq=False)
class Video:
    """Frames and when they are shown.

    frames: uint8 (T, H, W, 3), RGB, T >= 1.   fps: frames per second; the mean, where the rate varies.
    audio:  sound that starts with the first frame, or None.
    recipe: what made the video (arguments, seed, model card, versions) as JSON-able values, or None.
    times:  (T,) seconds at which each frame appears, the first one 0, only if the rate varies; else None.
    """

    frames: np.ndarray
    fps: float
    audio: Audio | None = None
    recipe: dict[str, Any] | None = None
    times: np.ndarray | None = None

    def __post_init__(self) -> None:
        f = self.frames
        if not isinstance(f, np.ndarray) or f.dtype != np.uint8 or f.ndim != 4 or f.shape[-1] != 3 or 0 in f.shape:
            raise ValueError(
                f"frames are {getattr(f, 'dtype', type(f).__name__)} of shape {tuple(getattr(f, 'shape', ()))}: "
                "a video holds uint8 (T, H, W, 3) with at least one frame. For tensors, see flipbook.shapes."
            )
        if not 1e-4 <= self.fps <= 1e5:
            raise ValueError(f"fps={self.fps}: frames per second are a positive number, such as 8 or 29.97.")
        t = self.times
        if t is not None and (t.shape != (len(f),) or t[0] != 0 or np.any(np.diff(t) <= 0) or t[-1] >= self.seconds):
            raise ValueError(
                "times hold one moment per frame, the first one 0, rising, the last before num_frames / fps seconds. "
                "Try times=None for a constant rate."
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        return self.frames.shape[2]

    @property
    def seconds(self) -> float:
        """From the appearance of the first frame to the end of the last."""
        return len(self.frames) / self.fps

    @classmethod
    def read(
        cls,
        path: PathLike,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        start_frame: int | None = None,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fit: Fit = "crop",
        background: tuple[int, int, int] = (0, 0, 0),
        audio: bool = True,
    ) -> Video:
        """Read mp4, mov, mkv, webm, avi, gif, animated webp or png, a folder of images, or one image.

        fps:    show the video at this constant rate: output frame k is the one on screen k / fps seconds after the
                start. Without it every frame is kept once; if their lengths differ, `Video.times` says when each
                appears and `Video.fps` is the mean. A folder of images has no clock of its own: there `fps` is the
                rate at which the images follow each other (8 if nothing says otherwise).
        start, end: seconds from the first frame; the frames that appear in [start, end).
        start_frame, num_frames: the same window counted in frames of the result, so after `fps`. `start` may go
                with `num_frames`; a window that reaches beyond the last frame is an error.
        height, width: scale, antialiased; with one of them the other follows the aspect ratio. `fit` says what
                happens when both are given and the aspect differs: "crop" the centre, "pad" with `background`, or
                "stretch".
        background: RGB under transparent pixels and around padded ones.
        audio:  False skips the sound.

        Rotation tags are obeyed, colours come as RGB by the file's own matrix and range, more than 8 bits are rounded.
        Pixels stay as stored: no deinterlacing, no stretching of anamorphic pixels, no tone mapping of HDR.
        Raises VideoError (MissingVideo, EmptyVideo, TruncatedVideo, DamagedVideo, NotAVideo, TooLarge).
        """
        from flipbook.files.read import read_video

        return read_video(
            path, fps=fps, start=start, end=end, start_frame=start_frame, num_frames=num_frames,
            height=height, width=width, fit=fit, background=background, audio=audio,
        )  # fmt: skip

    def write(
        self,
        path: PathLike,
        *,
        lossless: bool = False,
        quality: Literal["high", "medium", "small"] = "high",
        odd: Literal["refuse", "pad", "crop"] = "refuse",
        sidecar: bool = True,
    ) -> Path:
        """Write mp4, mov, mkv, webm, gif, webp, a folder of PNG images (a path without suffix), or one image.

        mp4, mov and mkv hold H.264 (yuv420p, BT.709) and AAC, webm VP9 and Opus; gif, webp and images are silent.
        lossless: RGB comes back bit for bit: H.264 RGB in mp4 and mov, FFV1 in mkv, VP9 RGB in webm, lossless webp.
        quality:  "high" survives ten generations of copying, "small" is for mail and web pages.
        odd:      H.264 needs even sizes: refuse odd ones, "pad" by repeating the last row or column, or "crop" it.
        sidecar:  write the recipe, if there is one, beside the file as NAME.json too.

        The same frames give the same bytes. The file appears whole or not at all. Returns the path.
        Raises VideoError.
        """
        from flipbook.files.write import write_video

        return write_video(self, path, lossless=lossless, quality=quality, odd=odd, sidecar=sidecar)

    def resize(
        self,
        height: int | None = None,
        width: int | None = None,
        *,
        fit: Fit = "crop",
        background: tuple[int, int, int] = (0, 0, 0),
    ) -> Video:
        """Scale, antialiased, as `read` does."""
        from flipbook.files.resize import resize_frames

        return replace(self, frames=resize_frames(self.frames, height, width, fit=fit, background=background))

    def resample(self, fps: float) -> Video:
        """The same seconds at another constant rate: output frame k is the one on screen at k / fps."""
        from flipbook.files.select import frame_times, frames_on_screen

        index = frames_on_screen(frame_times(len(self), self.fps, self.times), self.seconds, fps)
        return replace(self, frames=self.frames[index], fps=float(fps), times=None)

    def contact_sheet(self, *, columns: int | None = None, title: str | None = None) -> Image.Image:
        """The frames side by side, numbered."""
        from flipbook.files.sheet import contact_sheet

        return contact_sheet(self, columns=columns, titles=title)

    def write_sheet(self, path: PathLike, *, columns: int | None = None, title: str | None = None) -> Path:
        """Write the contact sheet as an image; returns its path."""
        from flipbook.files.sheet import write_sheet

        return write_sheet(self.contact_sheet(columns=columns, title=title), path)


def contact_sheet(
    videos: Video | Sequence[Video], *, columns: int | None = None, titles: str | Sequence[str] | None = None
) -> Image.Image:
    """One video as a numbered grid, or several as one titled row each. See `flipbook.files.sheet`."""
    from flipbook.files.sheet import contact_sheet

    return contact_sheet(videos, columns=columns, titles=titles)


def read_recipe(path: PathLike) -> dict[str, Any] | None:
    """The recipe stored inside a file, or else in the NAME.json beside it; None if there is none."""
    from flipbook.files.recipe import read_recipe

    return read_recipe(path)
