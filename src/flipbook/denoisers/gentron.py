"""GenTron (arXiv:2312.04557): an image transformer that reads text, and a light attention along time in each of its blocks.

    x += gate Attn_space(mod LN x);   x += CrossAttn(x, text);   x += Attn_time(LN x);   x += gate MLP(mod LN x)

The last layer of the attention along time is zero at birth, so that the network starts as the image model, frame by frame. Under a mask that
lets each frame see itself alone it is an image model again, with whatever weights: so images are trained, and so the motion is left out
of a branch of the guidance list. Queries and keys along time turn with their frame's place, values do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.dit_block import KeysValues, PatternAttention, TextAttention, modulated
from flipbook.nn.dit_ends import (
    Head,
    TextTransformer,
    check_call,
    check_heads,
    frame_numbers,
    stills_apart,
    text_rows,
    xavier_,
)
from flipbook.nn.doors import Doors
from flipbook.nn.embed import TimeEmbedding, zero_
from flipbook.nn.fused import GELULayers
from flipbook.nn.patches import PatchEmbed
from flipbook.nn.positions import grid_sincos
from flipbook.nn.rope_pairs import frame_pairs
from flipbook.nn.run import Run, run_plain


@dataclass(frozen=True, kw_only=True)
class GenTronConfig:
    """Sizes of a network; the defaults are XL/2.

    text_dim: of the rows of text.   places: patches along a side of the frames of training; longer sides have finer steps.
    temporal: False: the image model.
    """

    in_channels: int = 4
    text_dim: int = 2048
    dim: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_dim: int = 4608
    patch: int = 2
    places: int = 32
    temporal: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        check_heads(self.dim, self.num_heads)

    @property
    def cell(self) -> int:
        """Latent cells of a token's side."""
        return self.patch


class GenTron(TextTransformer):
    """A denoiser of latent clips; see the module's first lines."""

    def __init__(self, config: GenTronConfig):
        super().__init__()
        self.config = c = config
        self.time = TimeEmbedding(c.dim, 256)
        self.text = text_rows(c.text_dim, c.dim)
        self.embed = PatchEmbed(c.in_channels, c.dim, c.patch)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.head = Head(c.dim, c.in_channels, c.patch, own=True, eps=c.eps)
        xavier_(self)
        self.head.start()
        for block in self.in_order():
            block.start()

    def temporal_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights along time, by name: all others are the image model."""
        return ((name, weight) for name, weight in self.named_parameters() if ".along_time." in name)

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,                               # (B, T) bool; the level of a frame says as much
        frame_index: Tensor | None = None,                                  # (B, T) real, in frames
        frame_attends: Tensor | None = None,                                # (T, T) or (B, T, T) bool, True = may attend
        image_only: Tensor | None = None,                                   # (B, T) bool, True for an image by itself: it sees itself along time
        cache: None = None,
        run: Run = run_plain,
    ) -> Tensor:
        """The network's prediction, same shape as x. Any T; H and W are multiples of `config.patch`. Text is needed.

        Raises ValueError if H or W is no multiple, without text, and for a `cache`, `channels` or a `vector`, which have no place here.
        """
        c, doors = self.config, doors or Doors()
        height, width = x.shape[-2:]
        check_call(x, c.patch, doors, cache, text=True, closed=("channels", "vector"))
        emb = self.time(t[:, None] if t.dim() == 1 else t)                  # (B, 1 or T, D)
        told = F.silu(emb)
        rows, columns = height // c.patch, width // c.patch
        tokens = self.embed(x)                                              # (B, T, S, D)
        tokens = tokens + grid_sincos(rows, columns, c.dim, c.places, device=x.device).to(tokens.dtype)
        turns = frame_pairs(frame_numbers(frame_index, x), rows * columns, c.dim // c.num_heads)
        attends = stills_apart(image_only, frame_attends)
        keys_values = self.prepare(doors).keys_values
        assert keys_values is not None
        for block, text in zip(self.blocks, keys_values, strict=True):
            tokens = run(block, tokens, told, text, doors.token_mask, turns, attends)
        return self.head.clip(tokens, emb, height, width)


class Block(nn.Module):
    """One layer; see the module's first lines."""

    def __init__(self, config: GenTronConfig):
        super().__init__()
        c = config
        self.eps = c.eps
        self.modulation = nn.Linear(c.dim, 6 * c.dim)
        self.attention = PatternAttention(c.dim, c.num_heads, "spatial")
        self.cross = TextAttention(c.dim, c.num_heads)
        self.along_time = PatternAttention(c.dim, c.num_heads, "temporal") if c.temporal else None
        self.mlp = GELULayers(c.dim, c.mlp_dim)

    def start(self) -> None:
        """The weights of birth: the identity."""
        zero_(self.modulation)
        zero_(self.cross.out)
        if self.along_time is not None:
            zero_(self.along_time.out)

    def forward(
        self,
        x: Tensor,                                                          # (B, T, S, D)
        told: Tensor,                                                       # (B, 1 or T, D)
        text: KeysValues,
        text_mask: Tensor | None,
        turns: Tensor,
        frame_attends: Tensor | None,
    ) -> Tensor:
        rows = self.modulation(told).unflatten(-1, (6, -1)).unsqueeze(3)    # (B, 1 or T, 6, 1, D)
        shift1, scale1, gate1, shift2, scale2, gate2 = rows.unbind(2)
        x = torch.addcmul(x, gate1, self.attention(modulated(x, shift1, scale1, self.eps)))
        x = x + self.cross(x, text, text_mask)
        if self.along_time is not None:
            x = x + self.along_time(F.layer_norm(x, x.shape[-1:], eps=self.eps), frame_attends, turns)
        return torch.addcmul(x, gate2, self.mlp(modulated(x, shift2, scale2, self.eps)))
