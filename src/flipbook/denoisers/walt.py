"""W.A.L.T. (arXiv:2312.06662): a transformer of causal latents whose layers look into windows, of one frame and of space and time by turns.

    x += gate Attn_window(mod LN x);   x += CrossAttn(x, text), in layers that look within frames;   x += gate MLP(mod LN x)

Windows do not overlap: what they part is joined by the next layer, whose windows are of the other shape. In an image every token of a layer
of space and time reads itself alone, so that one network learns from images and clips. Shift, scale and gate come from one network for
all layers and a product of two thin matrices for each (adaLN-LoRA). Places are learned, of frame, row and column apart; within a window queries and
keys turn with them, so that distances count too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.attention.patterns import Window
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
from flipbook.nn.inserts.micro_conditioning import Scalars, VectorEmbedding
from flipbook.nn.patches import PatchEmbed
from flipbook.nn.positions import LearnedPlaces, interpolated
from flipbook.nn.rope_pairs import rotary_pairs
from flipbook.nn.run import Run, run_plain

Sides = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class WALTConfig:
    """Sizes of a network of latents with 16 x 16 cells in 5 frames.

    channel_door: channels that the `channels` door adds: what is known of the clip.   told: the `vector` door is the level of that.
    self_conditioned: it reads what it said of the clean clip in the step before (arXiv:2208.04202).
    windows:      frames, rows and columns of a window, of the layers in turn; those that are one frame high read the text.
    places:       frames, rows and columns of the clips of training; in longer and larger ones places stand closer.
    rank:         of each layer's own part of the modulation.
    """

    in_channels: int = 8
    channel_door: int = 0
    told: bool = False
    self_conditioned: bool = False
    text_dim: int = 4096
    dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_dim: int = 4096
    windows: tuple[Sides, ...] = ((1, 16, 16), (5, 8, 8))
    places: Sides = (5, 16, 16)
    rank: int = 2
    patch: int = 1
    eps: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(tuple(sides) for sides in self.windows))
        object.__setattr__(self, "places", tuple(self.places))
        check_heads(self.dim, self.num_heads)
        for sides in self.windows:
            Window(*sides)                                                  # which refuses empty ones

    @property
    def cell(self) -> int:
        """Latent cells of a token's side."""
        return self.patch


class WALT(TextTransformer):
    """A denoiser of latent clips; see the module's first lines."""

    def __init__(self, config: WALTConfig):
        super().__init__()
        self.config = c = config
        self.time = TimeEmbedding(c.dim, 256)
        self.vector = VectorEmbedding(Scalars(names=("level",), silent=False), c.dim) if c.told else None
        self.modulation = nn.Linear(c.dim, 6 * c.dim)
        self.text = text_rows(c.text_dim, c.dim)
        self.embed = PatchEmbed((1 + c.self_conditioned) * c.in_channels + c.channel_door, c.dim, c.patch)
        self.positions = nn.ModuleList(LearnedPlaces(n, c.dim) for n in c.places)
        self.blocks = nn.ModuleList(Block(c, Window(*c.windows[i % len(c.windows)])) for i in range(c.depth))
        self.head = Head(c.dim, c.in_channels, c.patch, eps=c.eps)
        xavier_(self)
        self.head.start()
        zero_(self.modulation)
        for block in self.in_order():
            block.start()

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,                               # (B, T) bool; the level of a frame says as much
        frame_index: Tensor | None = None,                                  # (B, T) real, in latent frames
        frame_attends: Tensor | None = None,                                # (T, T) or (B, T, T) bool, True = may attend
        image_only: Tensor | None = None,                                   # (B, T) bool, True for an image by itself; a single frame is one
        cache: None = None,
        run: Run = run_plain,
    ) -> Tensor:
        """The network's prediction, same shape as x. Any T; H and W are multiples of `config.patch`. Text is needed.

        The `channels` door, if the network has one: without it zeros, nothing is known; so it is with `estimate`.
        Raises ValueError if H or W is no multiple, without text, for a `cache`, and for what comes by a door that the network has not.
        """
        c, doors = self.config, doors or Doors()
        b, _, frames, height, width = x.shape
        closed = [name for name, there in (("channels", c.channel_door), ("vector", c.told), ("estimate", c.self_conditioned)) if not there]
        check_call(x, c.patch, doors, cache, text=True, closed=closed)
        rows, columns = height // c.patch, width // c.patch
        if c.channel_door:
            beside = x.new_zeros(b, c.channel_door, frames, height, width) if doors.channels is None else doors.channels
            x = torch.cat([x, beside], dim=1)
        if c.self_conditioned:
            estimate = x.new_zeros(b, c.in_channels, frames, height, width) if doors.estimate is None else doors.estimate
            x = torch.cat([x, estimate], dim=1)
        frame_index = frame_numbers(frame_index, x)
        if frames == 1:
            image_only = torch.ones(b, 1, dtype=torch.bool, device=x.device)
        emb = self.time(t[:, None] if t.dim() == 1 else t)                  # (B, 1 or T, D)
        if self.vector is not None and doors.vector is not None:
            emb = emb + self.vector(doors.vector)[:, None]
        told = F.silu(emb)
        shared = self.modulation(told).unflatten(-1, (6, c.dim))            # (B, 1 or T, 6, D)
        tokens = self.embed(x)                                              # (B, T, S, D)
        tokens = tokens + self._placed(frame_index, rows, columns).to(tokens.dtype)
        turns = rotary_pairs(frame_index, rows, columns, c.dim // c.num_heads)
        attends = stills_apart(image_only, frame_attends)
        keys_values = iter(self.prepare(doors).keys_values or ())
        for block in self.in_order():
            text = None if block.cross is None else next(keys_values)
            tokens = run(block, tokens, told, shared, text, doors.token_mask, turns, columns, attends, image_only)
        return self.head.clip(tokens, emb, height, width)

    def _placed(self, frame_index: Tensor, rows: int, columns: int) -> Tensor:
        """The learned places of all tokens, (B, T, S, D): of the frame, counted from the first, and of row and column."""
        row, column = (torch.arange(float(n), device=frame_index.device)[None] for n in (rows, columns))
        t, y, x = (
            learned(interpolated(index, n))                                 # (1 or B, n, D)
            for learned, index, n in zip(self.positions, (frame_index - frame_index[:, :1], row, column), self.config.places, strict=True)
        )
        return t[:, :, None] + (y[:, :, None] + x[:, None]).flatten(1, 2)[:, None]


class Block(nn.Module):
    """One layer; see the module's first lines."""

    def __init__(self, config: WALTConfig, window: Window):
        super().__init__()
        c = config
        self.eps, self.within_frames = c.eps, window.frames == 1
        self.down, self.up = nn.Linear(c.dim, c.rank, bias=False), nn.Linear(c.rank, 6 * c.dim, bias=False)
        self.attention = PatternAttention(c.dim, c.num_heads, window, qk_norm=True, eps=c.eps)
        self.cross = TextAttention(c.dim, c.num_heads) if self.within_frames else None
        self.mlp = GELULayers(c.dim, c.mlp_dim)

    def start(self) -> None:
        """The weights of birth: the shared modulation alone; the text joins gradually."""
        nn.init.zeros_(self.up.weight)
        if self.cross is not None:
            zero_(self.cross.out)

    def forward(
        self,
        x: Tensor,                                                          # (B, T, S, D)
        told: Tensor,                                                       # (B, 1 or T, D)
        shared: Tensor,                                                     # (B, 1 or T, 6, D)
        text: KeysValues | None,
        text_mask: Tensor | None,
        turns: Tensor,
        columns: int,
        frame_attends: Tensor | None,
        image_only: Tensor | None,
    ) -> Tensor:
        rows = (shared + self.up(self.down(told)).unflatten(-1, (6, -1))).unsqueeze(3)      # (B, 1 or T, 6, 1, D)
        shift1, scale1, gate1, shift2, scale2, gate2 = rows.unbind(2)
        attends, alone = (None, None) if self.within_frames else (frame_attends, image_only)
        x = torch.addcmul(x, gate1, self.attention(modulated(x, shift1, scale1, self.eps), attends, turns, columns, alone))
        if self.cross is not None and text is not None:
            x = x + self.cross(x, text, text_mask)
        return torch.addcmul(x, gate2, self.mlp(modulated(x, shift2, scale2, self.eps)))
