"""Pictures and clips in any form people have them, as uint8 pixels of the video's size."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from flipbook.shapes import tensor_to_pixels
from flipbook.video import Video

if TYPE_CHECKING:
    from PIL import Image

    Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
    """A path to an image or a video (its first frame), a PIL image, uint8 (H, W, 3), or float (3, H, W) in [-1, 1]."""
else:
    Picture = Any

Clip = str | os.PathLike[str] | Video | np.ndarray
"""A path to a video, a `Video`, or uint8 (T, H, W, 3)."""


def read_picture(picture: Picture, height: int, width: int) -> np.ndarray:
    """Any picture as uint8 (height, width, 3): scaled, antialiased, cut at its centre. Raises ValueError for others."""
    if isinstance(picture, str | os.PathLike):
        return Video.read(picture, start_frame=0, num_frames=1, height=height, width=width, audio=False).frames[0]
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
            raise ValueError(
                f"a picture is a {picture.dtype} tensor of shape {tuple(picture.shape)}: "
                "tensors are float (3, H, W) in [-1, 1]."
            )
        pixels = tensor_to_pixels(picture[:, None])[0]
    elif hasattr(picture, "convert"):
        pixels = np.asarray(picture.convert("RGB"))
    else:
        pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ValueError(
            f"a picture is {pixels.dtype} of shape {pixels.shape}: arrays are uint8 (H, W, 3). "
            "A path, a PIL image or a float tensor (3, H, W) in [-1, 1] will do as well."
        )
    return Video(pixels[None], fps=1.0).resize(height, width).frames[0]


def read_clip(clip: Clip, num_frames: int, height: int, width: int) -> np.ndarray:
    """Any clip as uint8 (num_frames, height, width, 3). Raises ValueError if it has fewer frames; more are left out."""
    if isinstance(clip, str | os.PathLike):
        clip = Video.read(clip, height=height, width=width, audio=False)
    pixels = clip.frames if isinstance(clip, Video) else np.asarray(clip)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError(f"a clip is {pixels.dtype} of shape {pixels.shape}: arrays are uint8 (T, H, W, 3). A path or a Video will do as well.")
    if len(pixels) < num_frames:
        raise ValueError(f"the draft has {len(pixels)} frames and the video {num_frames}. Try num_frames={len(pixels)}.")
    return Video(pixels[:num_frames], fps=1.0).resize(height, width).frames
