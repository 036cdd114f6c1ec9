"""Latte (arXiv:2401.03048): a transformer of video latents whose blocks look along space or along time, in four orders.

    V1  one block looks within the frame, the next one along time       V2  the first half looks within frames, the second along time
    V3  every block does one after the other                            V4  half of each block's heads do either

V1 is what the paper chose and what public weights are; the others are built after its section 3.1. The class-conditional model gives each
block a modulation of its own from noise level and class; the text model has one for all blocks and reads the text in the blocks that look
within frames. Blocks of the first kind alone are PixArt's image model (arXiv:2310.00426), frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention import AnyPattern, SplitHeads
from flipbook.nn.dit_block import Block
from flipbook.nn.dit_ends import Head, TextTransformer, check_call, stills_apart, text_rows, xavier_
from flipbook.nn.doors import Doors
from flipbook.nn.embed import TimeEmbedding, zero_
from flipbook.nn.patches import PatchEmbed
from flipbook.nn.positions import grid_sincos, sincos
from flipbook.nn.run import Run, run_plain

Kind = Literal["spatial", "temporal", "divided", "split"]
PATTERNS: dict[Kind, tuple[AnyPattern, ...]] = {
    "spatial": ("spatial",), "temporal": ("temporal",), "divided": ("spatial", "temporal"), "split": (SplitHeads(("spatial", "temporal")),),
}  # fmt: skip
"""The attentions of each kind of block."""

Variant = Literal["V1", "V2", "V3", "V4"]


def layout(variant: Variant, depth: int = 28) -> tuple[Kind, ...]:
    """The blocks of a variant with as many weights as V1 with `depth` blocks: 18 dim^2 in a block, and 25 dim^2 in one of V3.

    Raises ValueError for an odd depth, and for a variant that is not known.
    """
    if depth % 2 or depth < 2:
        raise ValueError(f"depth={depth}: half of the blocks look along time. Try {max(2, depth + depth % 2)}.")
    half = depth // 2
    space: list[Kind] = ["spatial"]
    time: list[Kind] = ["temporal"]
    blocks: dict[str, list[Kind]] = {
        "V1": (space + time) * half, "V2": space * half + time * half, "V3": ["divided"] * round(depth * 18 / 25),
        "V4": ["split"] * depth,
    }  # fmt: skip
    if variant not in blocks:
        raise ValueError(f"variant {variant!r} is not known. Try one of {', '.join(blocks)}.")
    return tuple(blocks[variant])


@dataclass(frozen=True, kw_only=True)
class LatteConfig:
    """Sizes of a network; the defaults are the public text model.

    out_channels: of the answer; what stands behind the first `in_channels` there is the learned variance (`process/variance.py`).
    text_dim:     of the rows of text; None: the network reads none.      vector_dim: of the `vector` door, a class as one-hot for instance.
    layout:       what the blocks do, in order.      shared: one modulation for all blocks.
    places:       patches along a side of the frames of training; longer sides have finer steps.   place_scale: divides places in space.
    """

    in_channels: int = 4
    out_channels: int = 8
    text_dim: int | None = 4096
    vector_dim: int = 0
    dim: int = 1152
    num_heads: int = 16
    mlp_dim: int = 4608
    layout: tuple[Kind, ...] = layout("V1", 56)
    shared: bool = True
    patch: int = 2
    places: int = 32
    place_scale: float = 1.0
    num_levels: int = 1000
    eps: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", tuple(self.layout))
        if unknown := set(self.layout) - set(get_args(Kind)):
            raise ValueError(f"layout: blocks {sorted(unknown)} are unknown. Try some of {', '.join(get_args(Kind))}.")
        if self.dim % self.num_heads or self.dim % 4 or ("split" in self.layout and self.num_heads % 2):
            raise ValueError(f"dim={self.dim} and num_heads={self.num_heads}: dim is a multiple of both 4 and the heads, which split blocks halve. "
                             f"Try num_heads={max(2, self.dim // 64)}.")
        if self.out_channels < self.in_channels:
            raise ValueError(f"out_channels={self.out_channels} are fewer than the {self.in_channels} that come in. Try {2 * self.in_channels}.")

    @property
    def cell(self) -> int:
        """Latent cells of a token's side."""
        return self.patch


class Latte(TextTransformer):
    """A denoiser of latent clips; see the module's first lines."""

    def __init__(self, config: LatteConfig):
        super().__init__()
        self.config = c = config
        self.time = TimeEmbedding(c.dim, 256)
        self.vector = nn.Linear(c.vector_dim, c.dim, bias=False) if c.vector_dim else None
        self.modulation = nn.Linear(c.dim, max(3 * (1 + len(PATTERNS[kind])) for kind in c.layout) * c.dim) if c.shared else None
        self.text = None if c.text_dim is None else text_rows(c.text_dim, c.dim)
        self.embed = PatchEmbed(c.in_channels, c.dim, c.patch)
        self.blocks = nn.ModuleDict({kind: nn.ModuleList(self._block(kind) for _ in range(c.layout.count(kind))) for kind in sorted(set(c.layout))})
        self.head = Head(c.dim, c.out_channels, c.patch, own=not c.shared)
        self._initialise()

    def _block(self, kind: Kind) -> Block:
        c = self.config
        return Block(c.dim, c.num_heads, c.mlp_dim, PATTERNS[kind], text=c.text_dim is not None and kind != "temporal", own=not c.shared, eps=c.eps)

    def _initialise(self) -> None:
        xavier_(self)
        for block in self.in_order():
            block.start()
        self.head.start()
        if self.modulation is not None:
            zero_(self.modulation)

    def in_order(self) -> list[Block]:
        """The blocks as they run. Their weights are named by kind and by place among their kind."""
        rest = {kind: iter(blocks) for kind, blocks in self.blocks.items()}         # type: ignore[call-overload]
        return [next(rest[kind]) for kind in self.config.layout]

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,                               # (B, T) bool; the level of a frame says as much
        frame_index: Tensor | None = None,                                  # (B, T) real, in frames
        frame_attends: Tensor | None = None,                                # (T, T) bool, True = may attend
        image_only: Tensor | None = None,                                   # (B, T) bool, True for an image by itself: layers along time skip it
        cache: None = None,
        run: Run = run_plain,
    ) -> Tensor:
        """The network's prediction, (B, out_channels, T, H, W). Any T; H and W are multiples of `config.patch`. A single frame has no place in time.

        Raises ValueError if H or W is no multiple, without the text that the network reads, for a `cache` or `channels`, which have no
        place here, and for `image_only` where blocks look along space and time at once.
        """
        c, doors = self.config, doors or Doors()
        frames, height, width = x.shape[2:]
        check_call(x, c.patch, doors, cache, text=self.text is not None, closed=("channels",))
        if image_only is not None and {"divided", "split"} & set(c.layout):
            raise ValueError("image_only: blocks that look along space and time at once cannot be skipped by images. Try the layout of V1 or V2.")
        rows, columns = height // c.patch, width // c.patch
        emb = self._told(t, doors)                                          # (B, 1 or T, D)
        told = F.silu(emb)
        shared = told if self.modulation is None else self.modulation(told).unflatten(-1, (-1, c.dim))      # (B, 1 or T, R, D)
        tokens = self.embed(x)                                              # (B, T, S, D)
        tokens = tokens + grid_sincos(rows, columns, c.dim, c.places, c.place_scale, device=x.device).to(tokens.dtype)
        clock = None if frames == 1 else self._clock(frame_index, frames, tokens)           # (1 or B, T, 1, D), once, before time is looked along
        keys_values = iter(self.prepare(doors).keys_values or ())
        apart = None if image_only is None else image_only[:, :, None, None]
        attends = stills_apart(image_only, frame_attends)
        for kind, block in zip(c.layout, self.in_order(), strict=True):
            if kind != "spatial" and clock is not None:
                tokens, clock = tokens + (clock if apart is None else clock.masked_fill(apart, 0.0)), None
            text = next(keys_values) if block.cross is not None and c.text_dim is not None else None
            seen = run(block, tokens, shared, text, doors.token_mask, attends)
            tokens = seen if apart is None or kind != "temporal" else torch.where(apart, tokens, seen)
        return self.head.clip(tokens, emb, height, width)

    def _told(self, t: Tensor, doors: Doors) -> Tensor:
        levels = (t[:, None] if t.dim() == 1 else t).float() * self.config.num_levels - 1.0
        near = levels.round()                                               # float32 t resolves no more, and public networks know whole levels
        levels = torch.where((levels - near).abs() < 1e-3, near, levels)
        emb = self.time(levels / 1000.0)
        if self.vector is not None and doors.vector is not None:
            emb = emb + self.vector(doors.vector.to(emb.dtype))[:, None]
        return emb

    def _clock(self, frame_index: Tensor | None, frames: int, tokens: Tensor) -> Tensor:
        if frame_index is None:
            frame_index = torch.arange(frames, device=tokens.device)[None]
        return sincos(frame_index, self.config.dim)[:, :, None].to(tokens.dtype)
