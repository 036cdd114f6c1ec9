"""A small video network that knows the world: the project's own features for distances between sets of clips.

It was trained on procedural clips to say what they show (shapes, colours, motions, background, how many, which domain) and how
they were damaged (kind and strength, of space and of time), so its features see content and motion and quality alike. A distance
in them is called `world-features distance`. It is not FVD, and compares with no number of any paper.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from flipbook.data.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES
from flipbook.metrics.corrupt import CORRUPTIONS
from flipbook.shapes import fold_frames

FOLDER = Path(__file__).parent.parent / "weights/world-features"
PICTURED = ("shapes", "sky", "figures")
HEADS: dict[str, int] = {
    "shape": len(SHAPES), "colour": len(COLOURS), "motion": len(MOTIONS), "background": len(BACKGROUNDS), "count": 3,
    "domain": len(PICTURED), "damage": len(CORRUPTIONS),
}  # fmt: skip
"""What is read off the features in training: one logit per word, and per kind of damage its strength."""


@dataclass(frozen=True, kw_only=True)
class WorldNetConfig:
    """num_frames, size: what a clip is brought to before it is looked at.   widths: channels at each halving of the size."""

    num_frames: int = 16
    size: int = 64
    widths: tuple[int, ...] = (16, 32, 64, 96)
    dim: int = 64


class ShiftBlock(nn.Module):
    """Residual block on folded frames that borrows a quarter of its channels from the frame before and one from the next.

    The temporal shift (arXiv:1811.08383) makes a 2D convolution see three frames at no cost.
    """

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.skip = nn.Conv2d(width_in, width, 1, stride, bias=False) if (width_in, stride) != (width, 1) else nn.Identity()

    def forward(self, x: Tensor, num_frames: int) -> Tensor:                     # (B T, C, H, W)
        h = F.relu(self.norm1(self.conv1(shift(x, num_frames))))
        h = self.norm2(self.conv2(shift(h, num_frames)))
        return F.relu(h + self.skip(x))


def shift(x: Tensor, num_frames: int) -> Tensor:
    """(B T, C, H, W): channels [0, C/4) come from the frame before, [C/4, C/2) from the next, 0 beyond the ends."""
    bt, c, h, w = x.shape
    x = x.view(bt // num_frames, num_frames, c, h, w)
    out = torch.zeros_like(x)
    q = c // 4
    out[:, 1:, :q] = x[:, :-1, :q]
    out[:, :-1, q : 2 * q] = x[:, 1:, q : 2 * q]
    out[:, :, 2 * q :] = x[:, :, 2 * q :]
    return out.view(bt, c, h, w)


class WorldNet(nn.Module):
    """Clips (B, 3, T, H, W) in [-1, 1] of any size to features (B, dim)."""

    def __init__(self, config: WorldNetConfig | None = None):
        super().__init__()
        self.config = config or WorldNetConfig()
        widths = self.config.widths
        self.stem = nn.Conv2d(6, widths[0], 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.ModuleList(
            ShiftBlock(a, b, 2) for a, b in pairwise(widths)
        )
        self.project = nn.Linear(4 * widths[-1], self.config.dim)
        self.heads = nn.ModuleDict({name: nn.Linear(self.config.dim, size) for name, size in HEADS.items()})

    def forward(self, x: Tensor) -> Tensor:                                      # (B, 3, T, H, W)
        x = self.fit(x)
        b, _, t, _, _ = x.shape
        change = torch.diff(x, dim=2, prepend=x[:, :, :1])                       # to the frame before
        h = F.relu(self.stem_norm(self.stem(fold_frames(torch.cat([x, change], 1)))))  # (B T, C0, S/2, S/2)
        for block in self.blocks:
            h = block(h, t)
        h = torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1).float().view(b, t, -1)  # (B, T, 2 C)
        return self.project(torch.cat([h.mean(1), (h.var(1) + 1e-4).sqrt()], 1))   # (B, dim)

    def fit(self, x: Tensor) -> Tensor:
        """Squash frames to size x size (antialiased bilinear). Raises ValueError unless the clip has num_frames frames."""
        if x.ndim != 5 or x.shape[1] != 3 or x.shape[2] != self.config.num_frames:
            raise ValueError(
                f"clips of shape {tuple(x.shape)}: this network looks at RGB clips (B, 3, {self.config.num_frames}, H, W). "
                f"Try num_frames={self.config.num_frames}."
            )
        size = (self.config.size, self.config.size)
        if x.shape[-2:] == size:
            return x
        b, _, t, _, _ = x.shape
        frames = F.interpolate(fold_frames(x), size, mode="bilinear", antialias=True, align_corners=False)
        return frames.view(b, t, 3, *size).transpose(1, 2)

    def read(self, features: Tensor) -> dict[str, Tensor]:
        """What the training asked of the features: logits by head, see `HEADS`."""
        return {name: head(features) for name, head in self.heads.items()}


@lru_cache(maxsize=1)
def shipped_world_net() -> WorldNet:
    """The trained network that comes with flipbook, float32, for inference. Raises ValueError if its files are missing."""
    if not (FOLDER / "model.safetensors").is_file():
        raise ValueError(f"{FOLDER} holds no model.safetensors. Install flipbook again, or train it with scripts/features.")
    config = json.loads((FOLDER / "config.json").read_text())
    net = WorldNet(WorldNetConfig(**config | {"widths": tuple(config["widths"])}))
    net.load_state_dict({key: value.float() for key, value in load_file(FOLDER / "model.safetensors").items()})
    return net.eval().requires_grad_(False)


def config_json(config: WorldNetConfig) -> str:
    """A config as it stands in config.json."""
    return json.dumps(asdict(config), indent=1) + "\n"
