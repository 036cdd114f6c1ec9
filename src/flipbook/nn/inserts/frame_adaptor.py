"""Frame adaptor: an affine of its own for every frame and channel, after an image convolution (MagicVideo, arXiv:2211.11018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.clip import Clip
from flipbook.nn.inserts.host import Host


@dataclass(frozen=True, kw_only=True)
class FrameAdaptor:
    """y_i = scale_i * x_i + shift_i, exactly 2 C T parameters, for clips of num_frames.

    resample: what to do with a clip of another length: None refuses it, "linear" stretches the table over it.
    """

    num_frames: int = 16
    resample: Literal["linear"] | None = None
    kind: Literal["frame_adaptor"] = "frame_adaptor"

    def build(self, host: Host) -> nn.Module:
        return FrameAdaptorBranch(host.channels, self)


class FrameAdaptorBranch(nn.Module):
    def __init__(self, channels: int, how: FrameAdaptor):
        super().__init__()
        self.how = how
        self.scale = nn.Parameter(torch.ones(how.num_frames, channels))
        self.shift = nn.Parameter(torch.zeros(how.num_frames, channels))

    def start_as_identity(self) -> None:
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.shift)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        scale, shift = (self._for(clip.frames, part) for part in (self.scale, self.shift))
        return x * scale[:, None, None] + shift[:, None, None]

    def _for(self, frames: int, table: Tensor) -> Tensor:
        if frames == len(table):
            return table
        if self.how.resample is None:
            raise ValueError(
                f"num_frames={frames}: this network's frame adaptors hold {len(table)} frames. "
                f"Try num_frames={len(table)}, or resample='linear' in its FrameAdaptor."
            )
        return F.interpolate(table.t()[None], size=frames, mode="linear", align_corners=True)[0].t()
