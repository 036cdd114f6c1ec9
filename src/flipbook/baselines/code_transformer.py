"""A causal transformer over the codes of a clip, one after the other in (t h w) order.

The prior of VideoGPT, arXiv:2104.10157, section 3.2. It reads the vectors of the codes before and says how likely each code is next. The
class of a clip moves gain and bias of every norm; rows of given frames are read by cross-attention, and so are those of a text. Sampled code by
code from a cache of keys and values by `long/codes.py`; learned by `objectives/codes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import causal, softmax_attention
from flipbook.nn.dit_block import KeysValues, TextAttention
from flipbook.nn.doors import Doors
from flipbook.nn.embed import zero_
from flipbook.nn.kv_cache import KVCache
from flipbook.nn.positions import LearnedPlaces

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class CodeTransformerConfig:
    """The defaults are the paper's, for clips of 16 frames of 64 x 64.

    num_codes, in_channels: of the codebook, and the width of its vectors.   grid: codes along time, column and row, at most.
    text_dim: width of the `tokens` door and of the `picture_tokens` one, whose rows are read together; None: nothing is read.
    vector_dim: of the `vector` door, 0: there is none.
    """

    num_codes: int = 2048
    in_channels: int = 256
    grid: Grid = (4, 16, 16)
    dim: int = 576
    depth: int = 8
    num_heads: int = 4
    dropout: float = 0.2
    text_dim: int | None = None
    vector_dim: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", tuple(self.grid))
        if self.dim % 3 or self.dim % self.num_heads:
            raise ValueError(
                f"dim={self.dim}: a third of it says each of three places, and {self.num_heads} heads share it. Try a multiple of {lcm(3, self.num_heads)}."
            )


class CodeTransformer(nn.Module):
    """forward(z, doors): code vectors (B, D, T, H, W) to logits (B, N, num_codes), of each code given those before it; `step` says them one by one."""

    def __init__(self, config: CodeTransformerConfig):
        super().__init__()
        self.config = c = config
        self.enter = nn.Linear(c.in_channels, c.dim, bias=False)
        self.start = nn.Parameter(0.02 * torch.randn(c.dim))                # stands in the place of a code before the first
        self.position_tables = nn.ModuleList(LearnedPlaces(n, c.dim // 3) for n in c.grid)
        self.blocks = nn.ModuleList(CodeBlock(c) for _ in range(c.depth))
        self.norm = ConditionalNorm(c.dim, c.vector_dim)
        self.head = nn.Linear(c.dim, c.num_codes, bias=False)
        nn.init.normal_(self.enter.weight, std=0.02)
        nn.init.zeros_(self.head.weight)                                    # all codes alike likely

    def prepare(self, doors: Doors) -> Doors:
        """Doors with the keys and values that every block reads of the text and of given frames; the mask then covers both."""
        read = [rows for rows in (doors.tokens, doors.picture_tokens) if rows is not None]
        if not read or self.config.text_dim is None:
            return doors
        mask = doors.token_mask
        if mask is not None and doors.picture_tokens is not None:
            mask = torch.cat([mask, mask.new_ones(doors.picture_tokens.shape[:2])], dim=1)
        blocks: Any = self.blocks
        return replace(doors, token_mask=mask, keys_values=[block.cross.keys_values(torch.cat(read, dim=1)) for block in blocks])

    def forward(self, z: Tensor, doors: Doors | None = None) -> Tensor:
        grid = (z.shape[2], z.shape[3], z.shape[4])
        before = self.enter(z.flatten(2).transpose(1, 2)[:, :-1].to(self.enter.weight.dtype))       # (B, N - 1, D)
        x = torch.cat([self.start.expand(len(z), 1, -1).to(before), before], dim=1) + self.positions(grid)
        return self._logits(x, self._ready(doors), None)

    def step(self, n: int, before: Tensor | None, grid: Grid, doors: Doors, cache: KVCache, batch: int) -> Tensor:
        """Logits (B, num_codes) of code n, given the vector (B, D) of code n - 1 (None for n = 0), and those before it in the cache, which takes it up.

        doors: as `prepare` returned them.   batch: B.
        """
        x = self.start.expand(batch, -1) if before is None else self.enter(before.to(self.enter.weight.dtype))
        x = x[:, None] + self.positions(grid)[:, n : n + 1]
        cache.begin()
        logits = self._logits(x, doors, cache)
        cache.end(torch.full((len(logits), 1), float(n)))
        return logits[:, 0]

    def positions(self, grid: Grid) -> Tensor:
        """Where each code of a grid stands, (1, N, dim): a third of the channels for time, column and row. Raises ValueError for a larger grid than learned."""
        if any(n > limit for n, limit in zip(grid, self.config.grid, strict=True)):
            raise ValueError(f"{grid} codes in time, height and width: places are learned for {self.config.grid}. Try a shorter or smaller clip.")
        index = lambda n: torch.arange(n, dtype=torch.float32, device=self.start.device)[None]
        time, column, row = (table(index(n))[0] for table, n in zip(self.position_tables, grid, strict=True))      # (n, dim / 3) each
        axes = time[:, None, None], column[None, :, None], row[None, None]
        return torch.cat([axis.expand(*grid, -1) for axis in axes], dim=-1).reshape(1, prod(grid), -1)

    def _ready(self, doors: Doors | None) -> Doors:
        doors = doors or Doors()
        return doors if doors.keys_values is not None else self.prepare(doors)

    def _logits(self, x: Tensor, doors: Doors, cache: KVCache | None) -> Tensor:
        vector = None if doors.vector is None else doors.vector.to(x)
        mask = causal(x.shape[1]).to(x.device) if cache is None else None
        for i, block in enumerate(self.blocks):
            text = None if doors.keys_values is None else doors.keys_values[i]
            x = block(x, vector, text, doors.token_mask, mask, cache)
        return self.head(self.norm(x, vector))


class CodeBlock(nn.Module):
    """x += Attn(norm x);  x += CrossAttn(norm x, text), if there is one;  x += MLP(norm x)."""

    def __init__(self, config: CodeTransformerConfig):
        super().__init__()
        dim, vector = config.dim, config.vector_dim
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.norm_self, self.qkv, self.out = ConditionalNorm(dim, vector), nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.norm_cross = ConditionalNorm(dim, vector) if config.text_dim else None
        self.cross = TextAttention(dim, config.num_heads, config.text_dim) if config.text_dim else None
        self.norm_mlp, self.wide, self.narrow = ConditionalNorm(dim, vector), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(
        self, x: Tensor, vector: Tensor | None, text: KeysValues | None, token_mask: Tensor | None, mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:                                                            # x: (B, n, D)
        q, k, v = self.qkv(self.norm_self(x, vector)).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        if cache is not None:
            k, v = cache.extend(self, k, v)
        x = x + self._dropped(self.out(softmax_attention(q, k, v, mask).flatten(2)))
        if self.cross is not None and text is not None:
            assert self.norm_cross is not None
            x = x + self._dropped(self.cross(self.norm_cross(x, vector)[:, None], text, token_mask)[:, 0])
        wide = self.wide(self.norm_mlp(x, vector))
        return x + self._dropped(self.narrow(wide * torch.sigmoid(1.702 * wide)))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class ConditionalNorm(nn.Module):
    """Layer norm whose gain and bias a vector moves: LN(x) (gain + W_g c) + bias + W_b c. Without a vector, or at birth, plain layer norm."""

    def __init__(self, dim: int, vector_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.move = zero_(nn.Linear(vector_dim, 2 * dim)) if vector_dim else None

    def forward(self, x: Tensor, vector: Tensor | None) -> Tensor:
        """x: (B, n, D).   vector: (B, V)."""
        if self.move is None or vector is None:
            return self.norm(x)
        gain, bias = self.move(vector)[:, None].chunk(2, dim=-1)
        plain = F.layer_norm(x, x.shape[-1:], eps=self.norm.eps)
        return plain * (self.norm.weight + gain) + self.norm.bias + bias
