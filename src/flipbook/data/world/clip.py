"""A clip of the world: its frames, its sentence, the scene behind them, and every truth, computed when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import truth
from .audio import soundtrack
from .brain import brain_response
from .domains import PICTURES
from .layers import Stack

_PER_PIXEL = ("depth", "masks", "boxes", "tracks", "visible", "optical_flow", "backward_flow", "edges", "camera")


@dataclass(frozen=True)
class Clip:
    """frames: uint8 (T, H, W, 3).   fps: frames per second.   scene: everything that was decided, ready for JSON.

    num_frames: length of the whole clip; frame_index: which of its frames these are (all, unless some were chosen).
    The truths speak of these frames; N objects as in `scene["objects"]`; a pixel (row, column) has its middle
    at x = column + 0.5, y = row + 0.5. A `takes` clip tells its truth in `scene` alone: the others raise ValueError.
    """

    frames: np.ndarray
    caption: str
    fps: float
    scene: Mapping[str, Any]
    num_frames: int
    frame_index: tuple[int, ...]

    @property
    def video(self) -> np.ndarray:
        """The frames, uint8 (T, H, W, 3)."""
        return self.frames

    @cached_property
    def depth(self) -> np.ndarray:
        """float32 (T, H, W): larger is farther; what lies behind all objects is at 10."""
        return truth.depth_map(self._stack)

    @cached_property
    def masks(self) -> np.ndarray:
        """bool (N, T, H, W): where each object is seen; what is hidden behind another object is not in its mask."""
        return truth.object_masks(self._stack, len(self._stack.centres))

    @cached_property
    def boxes(self) -> np.ndarray:
        """float32 (N, T, 4): [x0, y0, x1, y1] in [0, 1] around what is seen of each object, zeros if unseen."""
        return truth.mask_boxes(self.masks)

    @cached_property
    def tracks(self) -> np.ndarray:
        """float32 (N, T, 2): the centre of each object in pixels, seen or not."""
        return self._stack.centres.astype(np.float32)

    @cached_property
    def visible(self) -> np.ndarray:
        """bool (N, T): whether any of the object is seen."""
        return np.asarray(self.masks.any(axis=(2, 3)))

    @cached_property
    def optical_flow(self) -> np.ndarray:
        """float32 (T - 1, H, W, 2) in pixels, (dx, dy): frame_{i+1}(p + f(p)) = frame_i(p), on the grid of frame i."""
        return truth.flow_fields(self._stack)

    @cached_property
    def backward_flow(self) -> np.ndarray:
        """float32 (T - 1, H, W, 2) in pixels: frame_i(p + f(p)) = frame_{i+1}(p), on the grid of frame i + 1."""
        return truth.flow_fields(self._stack, backward=True)

    @cached_property
    def edges(self) -> np.ndarray:
        """bool (T, H, W): contours of objects and scenery."""
        return truth.contours(self._stack)

    @cached_property
    def keypoints(self) -> np.ndarray:
        """float32 (N, T, 13, 2) in pixels, joints as in `figures.JOINTS`. Raises ValueError where nobody has joints."""
        if self._stack.keypoints is None:
            domain = self.scene["domain"]
            raise ValueError(f"domain {domain!r} shows no people, so it has no keypoints. Try domain 'figures'.")
        return self._stack.keypoints.astype(np.float32)

    @cached_property
    def camera(self) -> np.ndarray:
        """float32 (T, 3): shift of the picture right and down in units of min(H, W), and zoom about its middle."""
        return truth.camera_motion(self._stack)

    @cached_property
    def audio(self) -> np.ndarray:
        """Mono float32 at 16 kHz over the whole clip: pitch follows height, impacts click, wind follows clouds."""
        height = self.frames.shape[1]
        centres = self._stack_of(range(self.num_frames)).centres
        return soundtrack(self.scene, centres, height, self.num_frames / self.fps)

    @cached_property
    def brain(self) -> np.ndarray:
        """float32 (256,): simulated response of one fixed brain to the content of the scene, with noise."""
        return brain_response(self.scene)

    def truth(self) -> dict[str, np.ndarray]:
        """Every truth this clip has, by name; none for `takes`, where the scene says it all."""
        if self.scene["domain"] not in PICTURES:
            return {}
        people = ("keypoints",) if self._stack.keypoints is not None else ()
        return {name: getattr(self, name) for name in (*_PER_PIXEL, *people, "audio", "brain")}

    @cached_property
    def _stack(self) -> Stack:
        return self._stack_of(self.frame_index)

    def _stack_of(self, frames: range | tuple[int, ...]) -> Stack:
        domain = self.scene["domain"]
        if domain not in PICTURES:
            raise ValueError(f"domain {domain!r} keeps its truth in clip.scene. For more try {', '.join(PICTURES)}.")
        u = np.array(frames, np.float64) / max(self.num_frames - 1, 1)
        return PICTURES[domain].build_stack(self.scene, u, *self.frames.shape[1:3])
