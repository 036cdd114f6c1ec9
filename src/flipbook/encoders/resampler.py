"""Query resampler: a few learned queries read all rows of an image encoder, and become the rows that a network reads of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.encoders.hub import CLIP_MEAN, CLIP_STD, ClipImageEncoder
from flipbook.nn.attention import softmax_attention


class QueryResampler(nn.Module):
    """Rows (B, L, rows_dim) to rows (B, queries, out_dim) (Perceiver resampler, arXiv:2204.14198, A.1.1; IP-Adapter plus, VideoCrafter).

    In each layer the queries read the rows and themselves, then pass a two-layer network; both are added to what they were.
    """

    def __init__(self, rows_dim: int, dim: int, out_dim: int, *, queries: int = 16, depth: int = 4, heads: int = 12, head_dim: int = 64, mult: int = 4):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, queries, dim) / dim**0.5)
        self.enter, self.leave, self.norm = nn.Linear(rows_dim, dim), nn.Linear(dim, out_dim), nn.LayerNorm(out_dim)
        self.layers = nn.ModuleList(ResamplerLayer(dim, heads, head_dim, mult) for _ in range(depth))

    def forward(self, rows: Tensor) -> Tensor:
        rows, x = self.enter(rows), self.queries.expand(rows.shape[0], -1, -1)
        for layer in self.layers:
            x = layer(x, rows)
        return self.norm(self.leave(x))


class ResamplerLayer(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int, mult: int):
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm_rows, self.norm_queries, self.norm_mlp = (nn.LayerNorm(dim) for _ in range(3))
        self.q, self.kv, self.out = nn.Linear(dim, inner, bias=False), nn.Linear(dim, 2 * inner, bias=False), nn.Linear(inner, dim, bias=False)
        self.up, self.down = nn.Linear(dim, mult * dim, bias=False), nn.Linear(mult * dim, dim, bias=False)

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:                   # (B, queries, dim), (B, L, dim)
        normed = self.norm_queries(x)
        k, v = self.kv(torch.cat([self.norm_rows(rows), normed], dim=1)).chunk(2, dim=-1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in (self.q(normed), k, v))
        x = x + self.out(softmax_attention(q, k, v).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))


class ResampledClipEncoder(ClipImageEncoder):
    """CLIP's image tower whose patch rows, before its last norm, a resampler turns into a few (VideoCrafter, arXiv:2310.19512, 3.2)."""

    def __init__(self, model: Any, resampler: QueryResampler, *, mean: tuple[float, ...] = CLIP_MEAN, std: tuple[float, ...] = CLIP_STD):
        super().__init__(model, mean=mean, std=std)
        self.resampler = resampler

    def encode(self, images: Tensor) -> Tensor:
        """Rows (B, queries, D) of images (B, 3, H, W) in [-1, 1]."""
        return self.resampler(self.model(pixel_values=self.prepared(images)).last_hidden_state)


@dataclass(frozen=True, kw_only=True)
class ResampledPictureEncoderConfig:
    """dim: of the patches, which are side / 8 in a row and a column. out_dim: of the `rows` rows that come out."""

    dim: int = 64
    side: int = 32
    out_dim: int = 192
    rows: int = 16
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if self.side % 8 or self.dim % (4 * self.heads):
            raise ValueError(f"side={self.side}, dim={self.dim}: the side is a multiple of 8, the width one of 4 and of {self.heads} heads. Try 32 and 64.")


class ResampledPictureEncoder(nn.Module):
    """A small image encoder that is trained with its model: patches by three strided convolutions, then a resampler."""

    def __init__(self, config: ResampledPictureEncoderConfig):
        super().__init__()
        self.config = c = config
        widths = (3, c.dim // 4, c.dim // 2, c.dim)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.places = nn.Parameter(0.02 * torch.randn(1, (c.side // 8) ** 2, c.dim))
        self.resampler = QueryResampler(c.dim, c.dim, c.out_dim, queries=c.rows, depth=c.depth, heads=c.heads, head_dim=c.dim // c.heads)

    def encode(self, images: Tensor) -> Tensor:
        """Rows (B, rows, out_dim) of images (B, 3, H, W) in [-1, 1], of any size."""
        side = self.config.side
        x = F.interpolate(images.to(self.places), size=(side, side), mode="bilinear", antialias=True)
        for conv in self.convs:
            x = F.silu(conv(x))
        return self.resampler(x.flatten(2).transpose(1, 2) + self.places)

    def forward(self, images: Tensor) -> Tensor:
        return self.encode(images)
