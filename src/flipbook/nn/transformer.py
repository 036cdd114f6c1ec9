"""The layers of a transformer block, on clips (B, T, H, W, C)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import softmax_attention
from flipbook.nn.clip import Clip


class SelfAttention(nn.Module):
    """Every cell of a frame reads all cells of its frame."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(dim, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, h, w, _ = x.shape
        q, k, v = (layer(x).view(b * t, h * w, self.heads, -1) for layer in (self.q, self.k, self.v))
        return self.out(softmax_attention(q, k, v).reshape(b, t, h, w, -1))


class CrossAttention(nn.Module):
    """Every cell reads the rows of the `tokens` door. `slot` is this layer's place in `Clip.keys_values`."""

    def __init__(self, dim: int, heads: int, head_dim: int, token_dim: int):
        super().__init__()
        inner = heads * head_dim
        self.heads, self.slot = heads, 0
        self.q = nn.Linear(dim, inner, bias=False)
        self.k, self.v = (nn.Linear(token_dim, inner, bias=False) for _ in range(2))
        self.out = nn.Linear(inner, dim)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, D) or per frame (B, T, L, D) to keys and values, (..., L, heads, head_dim) each."""
        return self.k(tokens).unflatten(-1, (self.heads, -1)), self.v(tokens).unflatten(-1, (self.heads, -1))

    def forward(self, x: Tensor, clip: Clip, *, first_frame: bool = False) -> Tensor:
        """first_frame: all frames read the tokens of frame 0, where tokens are given per frame."""
        (k, v), mask = clip.keys_values[self.slot], clip.token_mask
        if first_frame and k.dim() == 5:
            k, v, mask = k[:, 0], v[:, 0], mask[:, 0] if mask is not None and mask.dim() == 3 else mask
        q = self.q(x).unflatten(-1, (self.heads, -1))                       # (B, T, H, W, heads, d)
        if k.dim() == 5:                                                    # tokens per frame: frames are a batch
            if mask is not None:
                mask = mask.expand(clip.batch, clip.frames, -1) if mask.dim() == 3 else mask[:, None].expand(-1, clip.frames, -1)
                mask = mask.flatten(0, 1)
            q, k, v = q.flatten(2, 3).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
        else:                                                               # one text for the clip: frames are queries
            q = q.flatten(1, 3)
        out = softmax_attention(q, k, v, None if mask is None else mask[:, None, None, :])
        return self.out(out.reshape(*x.shape[:-1], -1))


class GatedMLP(nn.Module):
    """Linear to 2 x 4C, one half times GELU of the other, linear back (GEGLU, arXiv:2002.05202)."""

    def __init__(self, dim: int):
        super().__init__()
        self.enter, self.leave = nn.Linear(dim, 8 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.enter(x).chunk(2, dim=-1)
        return self.leave(value * F.gelu(gate))
