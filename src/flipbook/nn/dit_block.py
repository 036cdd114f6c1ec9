"""The block of video transformers: attentions in their patterns, a text that is read, a network of two layers, all told the noise level.

    x += gate Attn(mod LN x), for every pattern;   x += CrossAttn(x, text);   x += gate MLP(mod LN x)

Shift, scale and gate come for each of them from one network for all blocks and a table of each block's own (adaLN-single, arXiv:2310.00426),
or from a network of the block's own that starts at zero, so that the block starts as the identity (adaLN-zero, arXiv:2212.09748).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import AnyPattern, attend, softmax_attention
from flipbook.nn.embed import RMSNorm, zero_
from flipbook.nn.fused import GELULayers
from flipbook.nn.rope_pairs import rotate_pairs

KeysValues = tuple[Tensor, Tensor]


def modulated(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """LN(x) (1 + scale) + shift."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)


class PatternAttention(nn.Module):
    """Attention over a clip's own tokens (B, T, S, D) in one pattern. qk_norm: queries and keys are brought to one size, head by head."""

    def __init__(self, dim: int, num_heads: int, pattern: AnyPattern, *, qk_norm: bool = False, eps: float = 1e-6):
        super().__init__()
        self.num_heads, self.pattern = num_heads, pattern
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.q_norm, self.k_norm = (RMSNorm(dim // num_heads, eps) if qk_norm else nn.Identity() for _ in range(2))

    def forward(
        self, x: Tensor, frame_attends: Tensor | None = None, turns: Tensor | None = None, columns: int | None = None, alone: Tensor | None = None
    ) -> Tensor:
        """turns: how queries and keys turn with the place of their token (`nn.rope_pairs`).   columns: of a frame's tokens; windows need them.
        alone: (B, T) bool, frames in which every token reads itself and nothing else.
        """
        b, frames, cells, _ = x.shape
        q, k, v = self.qkv(x).view(b, frames * cells, 3, self.num_heads, -1).unbind(2)
        q, k = self.q_norm(q), self.k_norm(k)
        if turns is not None:
            q, k = rotate_pairs(q, turns), rotate_pairs(k, turns)
        grid = (frames, cells) if columns is None else (frames, cells // columns, columns)
        read = attend(q, k, v, grid, self.pattern, frame_attends)
        if alone is not None:
            read = torch.where(alone.repeat_interleave(cells, dim=1)[..., None, None], v, read)
        return self.out(read.reshape(x.shape))


class TextAttention(nn.Module):
    """Every token of a clip reads the rows of its text, or those of its frame's own text."""

    def __init__(self, dim: int, num_heads: int, text_dim: int | None = None):
        super().__init__()
        self.num_heads = num_heads
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(text_dim or dim, 2 * dim), nn.Linear(dim, dim)

    def keys_values(self, rows: Tensor) -> KeysValues:
        """Rows (B, L, D), or (B, T, L, D) of texts for each frame, to keys and values, (..., L, heads, head_dim) each."""
        k, v = self.kv(rows).unflatten(-1, (2, self.num_heads, -1)).unbind(-3)
        return k, v

    def forward(self, x: Tensor, text: KeysValues, mask: Tensor | None) -> Tensor:
        """mask: (B, L) or (B, T, L) bool, True = may be read."""
        q, (k, v) = self.q(x).unflatten(-1, (self.num_heads, -1)), text         # (B, T, S, heads, head_dim)
        if k.dim() == 5:                                                    # by frame
            q, k, v = (part.flatten(0, 1) for part in (q, k, v))
            mask = None if mask is None else mask.flatten(0, 1)
        else:
            q = q.flatten(1, 2)
        return self.out(softmax_attention(q, k, v, None if mask is None else mask[:, None, None]).reshape(x.shape))


class Block(nn.Module):
    """One layer; see the module's first lines.

    patterns: of its attentions, one after the other.   text: it reads a text.   own: its modulation is its own network.
    """

    def __init__(
        self, dim: int, num_heads: int, mlp_dim: int, patterns: Sequence[AnyPattern], *, text: bool, own: bool, qk_norm: bool = False, eps: float = 1e-6
    ):
        super().__init__()
        self.eps = eps
        self.attention = nn.ModuleList(PatternAttention(dim, num_heads, pattern, qk_norm=qk_norm, eps=eps) for pattern in patterns)
        self.cross = TextAttention(dim, num_heads) if text else None
        self.mlp = GELULayers(dim, mlp_dim)
        self.rows = 3 * (len(patterns) + 1)
        self.modulation = nn.Linear(dim, self.rows * dim) if own else None
        self.table = None if own else nn.Parameter(torch.randn(self.rows, dim) / dim**0.5)

    def start(self) -> None:
        """The weights of birth: with a modulation of its own, the identity; the text joins gradually."""
        if self.modulation is not None:
            zero_(self.modulation)
        if self.cross is not None:
            zero_(self.cross.out)

    def forward(
        self,
        x: Tensor,                                                          # (B, T, S, D)
        told: Tensor,                                                       # (B, 1 or T, D), or the shared rows (B, 1 or T, R, D)
        text: KeysValues | None = None,
        text_mask: Tensor | None = None,
        frame_attends: Tensor | None = None,
        turns: Tensor | None = None,
    ) -> Tensor:
        rows = self._rows(told).unsqueeze(3).unbind(2)                      # (B, 1 or T, 1, D) each
        for i, attention in enumerate(self.attention):
            shift, scale, gate = rows[3 * i : 3 * i + 3]
            x = torch.addcmul(x, gate, attention(modulated(x, shift, scale, self.eps), frame_attends, turns))
        if self.cross is not None and text is not None:
            x = x + self.cross(x, text, text_mask)
        shift, scale, gate = rows[-3:]
        return torch.addcmul(x, gate, self.mlp(modulated(x, shift, scale, self.eps)))

    def _rows(self, told: Tensor) -> Tensor:
        if self.modulation is not None:
            return self.modulation(told).unflatten(-1, (self.rows, -1))
        assert self.table is not None
        return told[:, :, : self.rows] + self.table
