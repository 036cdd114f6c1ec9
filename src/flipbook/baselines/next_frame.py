"""The next frame from the last few and the optical flow, by an encoder-decoder transformer.

y_t = (1 - o) warp(y_{t-1}, x_t) + o r. The encoder reads the patches of the last m frames; the decoder's patches see the moved frame and
the field x_t, read the encoder, and say what is uncovered, o in (0, 1), and what stands there, r. Our own composition: sequence to sequence
as in arXiv:1706.03762, warp and occlusion as in vid2vid (arXiv:1808.06601, eq. 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flipbook.baselines.predictor import Memory, Predictor
from flipbook.nn.dit_block import PatternAttention, TextAttention
from flipbook.nn.embed import zero_
from flipbook.nn.positions import grid_sincos
from flipbook.nn.warp import warp
from flipbook.shapes import patchify, unpatchify


@dataclass(frozen=True, kw_only=True)
class NextFrameConfig:
    """context: m, frames that are read.   patch: side of a token.   depth: blocks of the encoder, and of the decoder.   motion: x_t is read."""

    in_channels: int = 3
    context: int = 4
    patch: int = 4
    dim: int = 256
    depth: int = 4
    num_heads: int = 4
    motion: bool = True
    covered: float = -3.0       # the logit of o at birth: almost nothing is uncovered

    @property
    def cell(self) -> int:
        """What the sides of a frame are multiples of."""
        return self.patch


class NextFrame(Predictor):
    """Remembers the last m - 1 frames; before frame 0 it takes that one for all of them."""

    def __init__(self, config: NextFrameConfig):
        super().__init__()
        self.config = c = config
        area = c.patch * c.patch
        self.past_patch, self.now_patch = nn.Linear(c.in_channels * area, c.dim), nn.Linear((c.in_channels + 2) * area, c.dim)
        self.lag_position = nn.Parameter(0.02 * torch.randn(c.context, c.dim))
        self.encoder = nn.ModuleList(Layer(c.dim, c.num_heads, reads=False) for _ in range(c.depth))
        self.decoder = nn.ModuleList(Layer(c.dim, c.num_heads, reads=True) for _ in range(c.depth))
        self.norm_past, self.norm_now = nn.LayerNorm(c.dim), nn.LayerNorm(c.dim)
        self.head = nn.Linear(c.dim, (c.in_channels + 1) * area)
        zero_(self.head)
        with torch.no_grad():
            self.head.bias[c.in_channels * area :] = c.covered

    def step(self, frame: Tensor, motion: Tensor | None, memory: Memory) -> tuple[Tensor, Memory]:
        m = self.config.context
        before = frame[:, :, None].expand(-1, -1, m - 1, -1, -1) if memory is None else memory
        past = torch.cat([before, frame[:, :, None]], dim=2)                # (B, C, m, H, W)
        moved = frame if motion is None or not self.config.motion else warp(frame, motion.to(frame))
        r, o = self.uncovered(past, torch.cat([moved, self.seen(frame, motion)[:, frame.shape[1] :]], dim=1))
        return torch.lerp(moved, r.to(moved), o.to(moved)), past[:, :, 1:]

    def uncovered(self, past: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """What stands where something is uncovered, r (B, C, H, W), and how much it is, o (B, 1, H, W).

        past: (B, C, m, H, W).   now: the moved frame and, where it is read, the field, (B, C + 2 or C, H, W).
        """
        c, (height, width) = self.config, past.shape[-2:]
        if height % c.patch or width % c.patch:
            raise ValueError(f"frames of {height}x{width}: a token is {c.patch} x {c.patch}. Try multiples of {c.patch}.")
        grid, patch = (1, height // c.patch, width // c.patch), (1, c.patch, c.patch)
        places = grid_sincos(grid[1], grid[2], c.dim, max(grid), device=past.device).to(past)       # (S, D)
        x = self.past_patch(patchify(past, patch)).unflatten(1, (c.context, -1))                    # (B, m, S, D)
        x = x + places + self.lag_position[:, None]
        for layer in self.encoder:
            x = layer(x, None)
        rows = self.norm_past(x).flatten(1, 2)                                                      # (B, m S, D)
        if now.shape[1] == c.in_channels:
            now = torch.cat([now, torch.zeros_like(now[:, :2])], dim=1)
        y = self.now_patch(patchify(now[:, :, None], patch))[:, None] + places                      # (B, 1, S, D)
        for layer in self.decoder:
            y = layer(y, rows)
        said = unpatchify(self.head(self.norm_now(y))[:, 0], patch, grid)[:, :, 0]                  # (B, C + 1, H, W)
        return said[:, : c.in_channels], torch.sigmoid(said[:, c.in_channels :])


class Layer(nn.Module):
    """x += Attn(LN x);  x += CrossAttn(LN x, rows), where they are read;  x += MLP(LN x)."""

    def __init__(self, dim: int, num_heads: int, *, reads: bool):
        super().__init__()
        self.norm_self, self.attention = nn.LayerNorm(dim), PatternAttention(dim, num_heads, "full")
        self.norm_cross = nn.LayerNorm(dim) if reads else None
        self.cross = TextAttention(dim, num_heads) if reads else None
        self.norm_mlp, self.mlp = nn.LayerNorm(dim), nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, rows: Tensor | None) -> Tensor:            # (B, T, S, D), (B, L, D)
        x = x + self.attention(self.norm_self(x))
        if self.cross is not None and self.norm_cross is not None and rows is not None:
            x = x + self.cross(self.norm_cross(x), self.cross.keys_values(rows), None)
        return x + self.mlp(self.norm_mlp(x))
