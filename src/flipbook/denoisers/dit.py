"""A video transformer: patches of a latent clip, attention patterns, text by cross-attention, one noise level per frame.

The uniform text-video block of PixArt, Latte-T2V, Open-Sora and Wan (arXiv:2401.03048, 2503.20314), small: adaptive layer norm
with one shared network and a learned table per block (adaLN-single, arXiv:2310.00426), rotary positions over real (t, y, x),
RMS norm on queries and keys. An hourglass option adds a few convolutions at full latent resolution around the trunk, which
draw what is finer than a patch (arXiv:2301.11093, U-ViT).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import PATTERNS, Pattern, attend_past, softmax_attention
from flipbook.nn.doors import Doors
from flipbook.nn.embed import RMSNorm, TimeEmbedding, zero_
from flipbook.nn.features import Features
from flipbook.nn.kv_cache import KVCache
from flipbook.nn.rope import rotary_table, rotate
from flipbook.nn.run import Run, compile_each, run_plain
from flipbook.nn.time_codes import CODES, ON_LOGITS, FrameCode, Placed, TimeCode
from flipbook.shapes import fold_frames, unfold_frames


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Sizes of a video transformer. `patterns` are repeated over the depth.

    time_code: how attention is told when frames are, one of `nn.time_codes.CODES`.   max_frames: of training, for codes that have an end.
    local_dims: widths of the convolutions around the trunk, from full latent resolution down, each size half the one before; () for none.
    The trunk's patches are cut from the smallest. local_depths: residual blocks at each, on the way in and again on the way out.
    """

    in_channels: int = 8
    channel_door: int = 0               # channels that the `channels` door adds to the input
    vector_dim: int = 0                 # width of the `vector` door
    text_dim: int = 192
    dim: int = 256
    depth: int = 8
    num_heads: int = 4
    mlp_ratio: float = 4.0
    patch: int = 2                      # patch height and width in latent cells; one frame each
    patterns: tuple[Pattern, ...] = ("full",)
    local_dims: tuple[int, ...] = ()
    local_depths: tuple[int, ...] = ()
    time_code: TimeCode = "rotary"
    max_frames: int = 16

    def __post_init__(self) -> None:
        for name in ("patterns", "local_dims", "local_depths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim={self.dim} and num_heads={self.num_heads}: a head needs an even number of channels. Try heads of 32 or 64.")
        if unknown := set(self.patterns) - set(PATTERNS):
            raise ValueError(f"attention patterns {sorted(unknown)} are unknown. Try some of {', '.join(PATTERNS)}.")
        if self.time_code not in CODES or (self.time_code in ON_LOGITS and self.patterns != ("full",)):
            raise ValueError(
                f"time_code={self.time_code!r} with patterns={self.patterns}: it is one of {', '.join(CODES)}, and {', '.join(ON_LOGITS)} act on the "
                "logits of all tokens at once. Try 'rotary', or patterns=('full',)."
            )
        if len(self.local_dims) != len(self.local_depths):
            raise ValueError(f"local_dims={self.local_dims} and local_depths={self.local_depths}: give a depth for each width. Try (64, 128) and (1, 2).")

    @property
    def cell(self) -> int:
        """Latent cells of a trunk token's side."""
        return self.patch * 2 ** max(len(self.local_dims) - 1, 0)


class DiT(nn.Module):
    """A denoiser of latent clips; see the module's first lines."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = c = config
        c_in = c.in_channels + c.channel_door
        self.time = TimeEmbedding(c.dim)
        self.given = nn.Embedding(2, c.dim)                                 # is this frame given?
        self.vector = nn.Linear(c.vector_dim, c.dim) if c.vector_dim else None
        self.modulation = nn.Linear(c.dim, 6 * c.dim)
        if c.local_dims:
            first, sizes = c.local_dims[0], list(zip(c.local_dims, c.local_depths, strict=True))
            self.local_in = nn.ModuleList(LocalStack(c_in if i == 0 else dim, dim, depth, c.dim) for i, (dim, depth) in enumerate(sizes))
            self.local_out = nn.ModuleList(LocalStack(2 * dim, dim, depth, c.dim) for dim, depth in sizes)
            self.down = nn.ModuleList(nn.Conv2d(4 * wide, narrow, 1) for wide, narrow in pairwise(c.local_dims))
            self.up = nn.ModuleList(nn.Conv2d(narrow, 4 * wide, 1) for wide, narrow in pairwise(c.local_dims))
            self.local_head = zero_(nn.Conv2d(first, c.in_channels, 3, padding=1))
        inner_in, inner_out = (c.local_dims[-1], c.local_dims[-1]) if c.local_dims else (c_in, c.in_channels)
        self.embed = nn.Linear(inner_in * c.patch**2, c.dim)
        self.blocks = nn.ModuleList(Block(c, c.patterns[i % len(c.patterns)]) for i in range(c.depth))
        self.head_norm = nn.LayerNorm(c.dim, elementwise_affine=False)
        self.head_table = nn.Parameter(torch.randn(2, c.dim) / c.dim**0.5)
        self.head = nn.Linear(c.dim, inner_out * c.patch**2)
        self._initialise()
        self.code = None if c.time_code == "rotary" else FrameCode(c.time_code, c.dim, c.num_heads, c.max_frames)   # begins as it sees fit

    def _initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.given.weight, std=0.02)
        zero_(self.modulation)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.cross.out.weight)                          # text joins gradually
        if not self.config.local_dims:
            zero_(self.head)

    @property
    def features(self) -> Features:
        """The trunk's last tokens."""
        return Features(self.head_norm, self.config.dim, self.config.cell)

    def compile_blocks(self) -> None:
        """Compile the blocks; the convolutions around them stay with the vendor's kernels."""
        compile_each(self.blocks)

    def prepare(self, doors: Doors) -> Doors:
        """Compute what does not change over the sampler's steps: the text's keys and values in every block."""
        if doors.tokens is None or doors.keys_values is not None:
            return doors
        layers = [block.cross for block in self.blocks if isinstance(block, Block)]
        return doors.with_(keys_values=tuple(layer.keys_values(doors.tokens) for layer in layers))

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,                               # (B, T) bool
        frame_index: Tensor | None = None,                                  # (B, T) real, units of 1/8 second
        frame_attends: Tensor | None = None,                                # (T, T) bool, True = may attend
        cache: KVCache | None = None,
        run: Run = run_plain,
    ) -> Tensor:
        """The network's prediction, same shape as x. Frames are cells of time: any T; H and W are multiples of `config.cell`.

        cache: the frames before x, which every frame of x reads besides; `remember` fills it.
        run:   what runs the blocks, `StepCache.run` for instance.

        The `residuals` door: maps (B, dim, T, H / cell, W / cell), the i-th added after block i (arXiv:2302.05543 in a transformer).
        Raises ValueError if H or W is no multiple of `config.cell`, or for a `cache` together with `frame_attends`.
        """
        b, height, width = x.shape[0], *x.shape[3:]
        cell, p = self.config.cell, self.config.patch
        tokens, c, skips = self._trunk(x, t, doors or Doors(), frame_is_given, frame_index, frame_attends, cache, run)
        shift, scale = (self.head_table + c[:, :, None]).unbind(2)          # (B, T, D) each
        tokens = self.head_norm(tokens) * (1 + scale[:, :, None]) + shift[:, :, None]
        h = self.head(tokens).flatten(0, 1).transpose(1, 2).unflatten(-1, (height // cell, width // cell))
        h = F.pixel_shuffle(h, p)                                           # (B T, C, H, W)
        for i in reversed(range(len(skips))):
            h = run(self.local_out[i], torch.cat([h, skips[i]], dim=1), c)
            h = F.pixel_shuffle(self.up[i - 1](h), 2) if i else self.local_head(F.silu(h))
        return unfold_frames(h, b)

    @torch.no_grad()
    def remember(self, x: Tensor, doors: Doors | None, frame_index: Tensor, cache: KVCache) -> None:
        """Keep the keys and values of clean frames x (B, C, T, H, W) at frame_index (B, T), which read those that the cache holds already."""
        b, frames = x.shape[0], x.shape[2]
        cache.begin()
        clean, given = torch.zeros(b, frames, device=x.device), torch.ones(b, frames, dtype=torch.bool, device=x.device)
        self._trunk(x, clean, doors or Doors(), given, frame_index, None, cache, run_plain)
        cache.end(frame_index)

    def _trunk(
        self, x: Tensor, t: Tensor, doors: Doors, frame_is_given: Tensor | None, frame_index: Tensor | None, frame_attends: Tensor | None,
        cache: KVCache | None, run: Run,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
        """Tokens behind the last block (B, T, S, D), the frames' condition (B, T, D), and what the convolutions on the way in made."""
        config = self.config
        b, _, frames, height, width = x.shape
        cell = config.cell
        if height % cell or width % cell:
            near = f"{multiple(height, cell)}x{multiple(width, cell)}"
            raise ValueError(f"latent size {height}x{width} is no multiple of {cell}, a token's side in latent cells. Try {near}.")
        if cache is not None and self.code is not None:
            raise ValueError(f"time_code={config.time_code!r} has no past to read. Leave cache=None, or try time_code='rotary'.")
        if cache is not None and frame_attends is not None:
            raise ValueError("a cache says by what it holds which frames are read. Leave frame_attends out, or cache=None.")
        if doors.channels is not None:
            x = torch.cat([x, doors.channels], dim=1)
        if t.dim() == 1:
            t = t[:, None].expand(b, frames)
        if frame_is_given is None:
            frame_is_given = torch.zeros(b, frames, dtype=torch.bool, device=x.device)
        if frame_index is None:
            frame_index = torch.arange(frames, dtype=torch.float32, device=x.device).expand(b, frames)

        c = self.time(t) + self.given(frame_is_given.long())                # (B, T, D)
        if self.vector is not None and doors.vector is not None:
            c = c + self.vector(doors.vector)[:, None]
        c = F.silu(c)
        modulation = self.modulation(c).unflatten(-1, (6, config.dim))      # (B, T, 6, D)

        h = fold_frames(x)                                                  # (B T, C, H, W)
        skips: list[Tensor] = []
        for i in range(len(config.local_dims)):                             # half the size at each step but the first
            h = run(self.local_in[i], self.down[i - 1](F.pixel_unshuffle(h, 2)) if i else h, c)
            skips.append(h)
        h = F.pixel_unshuffle(h, config.patch).flatten(2).transpose(1, 2)              # (B T, S, C p p)
        tokens = self.embed(h).unflatten(0, (b, frames))                    # (B, T, S, D)
        places = frame_index if cache is None else cache.positions(frame_index)
        coords = grid_coordinates(places, height // cell, width // cell)
        if self.code is None:
            placed = Placed(rotary_table(coords, config.dim // config.num_heads))
        else:
            tokens, placed = self.code.onto(tokens, places), self.code.placed(coords, places)

        keys_values = self.prepare(doors).keys_values
        for i, block in enumerate(self.blocks):
            text = None if keys_values is None else keys_values[i]
            tokens = run(block, tokens, modulation, placed, text, doors.token_mask, frame_attends, cache)
            if i < len(doors.residuals):
                tokens = tokens + doors.residuals[i].flatten(3).permute(0, 2, 3, 1)     # (B, D, T, h, w) to (B, T, S, D)
        return tokens, c, skips


def multiple(n: int, cell: int) -> int:
    """The positive multiple of `cell` nearest to n."""
    return max(cell, (n + cell // 2) // cell * cell)


def grid_coordinates(frame_index: Tensor, rows: int, columns: int) -> Tensor:
    """(t, y, x) of every token, (B, T S, 3): t as given, y and x in patches from the centre of the picture."""
    b, frames = frame_index.shape
    y = torch.arange(rows, device=frame_index.device) - (rows - 1) / 2
    x = torch.arange(columns, device=frame_index.device) - (columns - 1) / 2
    shape = (b, frames, rows, columns)
    coords = [frame_index[:, :, None, None].float().expand(shape), y[:, None].expand(shape), x.expand(shape)]
    return torch.stack(coords, dim=-1).flatten(1, 3)


class Block(nn.Module):
    """x += g1 Attn(mod(LN x)); x += CrossAttn(LN x, text); x += g2 MLP(mod(LN x)), modulated per frame."""

    def __init__(self, config: DiTConfig, pattern: Pattern):
        super().__init__()
        dim, hidden = config.dim, int(config.dim * config.mlp_ratio)
        self.table = nn.Parameter(torch.randn(6, dim) / dim**0.5)
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False)
        self.attention = SelfAttention(dim, config.num_heads, pattern)
        self.norm_cross = nn.LayerNorm(dim)
        self.cross = CrossAttention(dim, config.text_dim, config.num_heads)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(
        self,
        x: Tensor,                                                          # (B, T, S, D)
        modulation: Tensor,                                                 # (B, T, 6, D)
        placed: Placed,
        text: tuple[Tensor, Tensor] | None,
        text_mask: Tensor | None,
        frame_attends: Tensor | None,
        cache: KVCache | None = None,
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).unsqueeze(3).unbind(2)   # (B, T, 1, D) each
        x = x + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1, placed, frame_attends, cache)
        if text is not None:
            x = x + self.cross(self.norm_cross(x), text, text_mask)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class SelfAttention(nn.Module):
    """Attention over the clip's own tokens, in one pattern."""

    def __init__(self, dim: int, num_heads: int, pattern: Pattern):
        super().__init__()
        self.num_heads, self.pattern = num_heads, pattern
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm, self.k_norm = RMSNorm(dim // num_heads), RMSNorm(dim // num_heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, placed: Placed, frame_attends: Tensor | None, cache: KVCache | None) -> Tensor:
        b, frames, cells, dim = x.shape
        q, k, v = self.qkv(x).view(b, frames * cells, 3, self.num_heads, dim // self.num_heads).unbind(2)
        q, k = self.q_norm(q), self.k_norm(k)
        if cache is None:
            out = placed.attend(q, k, v, (frames, cells), self.pattern, frame_attends)
        else:
            k, v = cache.extend(self, k, v)                                 # the table has the kept frames in front
            own = placed.turns[0][:, -q.shape[1] :], placed.turns[1][:, -q.shape[1] :]
            out = attend_past(rotate(q, own), rotate(k, placed.turns), v, cells, self.pattern)
        return self.out(out.reshape(b, frames, cells, dim))


class CrossAttention(nn.Module):
    """Video tokens read the rows of the `tokens` door."""

    def __init__(self, dim: int, text_dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(text_dim, 2 * dim)
        self.q_norm, self.k_norm = RMSNorm(dim // num_heads), RMSNorm(dim // num_heads)
        self.out = nn.Linear(dim, dim)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, text_dim) to keys and values, (B, L, heads, head_dim) each."""
        k, v = self.kv(tokens).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        return self.k_norm(k), v

    def forward(self, x: Tensor, text: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        b, frames, cells, dim = x.shape
        q = self.q_norm(self.q(x).view(b, frames * cells, self.num_heads, dim // self.num_heads))
        out = softmax_attention(q, *text, None if mask is None else mask[:, None, None, :])
        return self.out(out.reshape(b, frames, cells, dim))


class LocalStack(nn.Module):
    """A few 3 x 3 convolutions on folded frames at full latent resolution, modulated per frame."""

    def __init__(self, c_in: int, dim: int, depth: int, cond_dim: int):
        super().__init__()
        self.enter = nn.Conv2d(c_in, dim, 3, padding=1)
        self.blocks = nn.ModuleList(LocalBlock(dim, cond_dim) for _ in range(depth))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:                      # (B T, C, H, W), (B, T, D)
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, c.flatten(0, 1))
        return x


class LocalBlock(nn.Module):
    """x + Conv(silu(mod(norm(Conv(silu(norm x)))))), each norm within one frame."""

    def __init__(self, dim: int, cond_dim: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, dim), nn.Conv2d(dim, dim, 3, padding=1)
        self.modulation = nn.Linear(cond_dim, 2 * dim)
        self.norm2, self.conv2 = nn.GroupNorm(8, dim, affine=False), zero_(nn.Conv2d(dim, dim, 3, padding=1))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return x + h
