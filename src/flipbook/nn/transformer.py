"""The layers of a transformer block, on clips (B, T, H, W, C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from flipbook.nn.attention import attend, first_frame, softmax_attention, sparse_causal
from flipbook.nn.clip import Clip
from flipbook.nn.fused import linear_geglu

KVFrames = Literal["own", "sparse_causal", "first_frame"]
TABLES: dict[KVFrames, Callable[[int], Tensor]] = {"sparse_causal": sparse_causal, "first_frame": first_frame}
"""Whose keys and values a frame reads: its own, or those of the frames in its row of a table (T, m)."""


class SelfAttention(nn.Module):
    """Every cell of a frame reads all cells of its frame, or of those that a table names instead (`kv_frames`).

    Where the clip parts frames, a frame reads itself in the place of one that it may not be touched by.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, kv_frames: KVFrames = "own"):
        super().__init__()
        inner = heads * head_dim
        self.heads, self.kv_frames = heads, kv_frames
        self.q, self.k, self.v = (nn.Linear(dim, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, dim)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        b, t, h, w, _ = x.shape
        if self.kv_frames == "own" or t == 1:
            q, k, v = (layer(x).view(b * t, h * w, self.heads, -1) for layer in (self.q, self.k, self.v))
            return self.out(softmax_attention(q, k, v).reshape(b, t, h, w, -1))
        q, k, v = (layer(x).view(b, t * h * w, self.heads, -1) for layer in (self.q, self.k, self.v))
        table = TABLES[self.kv_frames](t).to(x.device)                      # (T, m)
        if clip.attends is None:
            out = attend(q, k, v, (t, h * w), kv_frames=table)
        else:
            tables = torch.where(clip.attends.gather(2, table.expand(len(clip.attends), -1, -1)), table, torch.arange(t, device=x.device)[:, None])
            tables = tables.expand(b, -1, -1)
            out = torch.cat([attend(q[[i]], k[[i]], v[[i]], (t, h * w), kv_frames=tables[i]) for i in range(b)])
        return self.out(out.reshape(b, t, h, w, -1))


class CrossAttention(nn.Module):
    """Every cell reads the rows of the `tokens` door. `slot` is this layer's place in `Clip.keys_values`.

    picture_dim: width of the rows of the `picture_tokens` door, read by keys and values of their own and added to what the others say
                 (image-prompt attention, arXiv:2308.06721, eq. 5; VideoCrafter, arXiv:2310.19512, 3.2). Rows of zeros add nothing.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, token_dim: int, picture_dim: int | None = None):
        super().__init__()
        inner = heads * head_dim
        self.heads, self.slot, self.picture_slot = heads, 0, 0
        self.q = nn.Linear(dim, inner, bias=False)
        self.k, self.v = (nn.Linear(token_dim, inner, bias=False) for _ in range(2))
        self.picture_k, self.picture_v = (nn.Linear(picture_dim, inner, bias=False) if picture_dim else None for _ in range(2))
        self.out = nn.Linear(inner, dim)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, D) or per frame (B, T, L, D) to keys and values, (..., L, heads, head_dim) each."""
        return self.k(tokens).unflatten(-1, (self.heads, -1)), self.v(tokens).unflatten(-1, (self.heads, -1))

    def picture_keys_values(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The same of a picture's rows (B, L, D')."""
        assert self.picture_k is not None
        assert self.picture_v is not None
        return self.picture_k(rows).unflatten(-1, (self.heads, -1)), self.picture_v(rows).unflatten(-1, (self.heads, -1))

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
        out = softmax_attention(q, k, v, None if mask is None else mask[:, None, None, :]).reshape(*x.shape[:-1], -1)
        if self.picture_k is not None and len(clip.keys_values) > self.picture_slot:
            out = out + softmax_attention(q.reshape(clip.batch, -1, *q.shape[2:]), *clip.keys_values[self.picture_slot]).reshape(out.shape)
        return self.out(out)


class GatedMLP(nn.Module):
    """Linear to 2 x 4C, one half times GELU of the other, linear back (GEGLU, arXiv:2002.05202)."""

    def __init__(self, dim: int):
        super().__init__()
        self.enter, self.leave = nn.Linear(dim, 8 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.leave(linear_geglu(self.enter, x))
        return out
