"""STDiT3, the transformer of Open-Sora 1.2 (arXiv:2412.20404): blocks that look within frames and blocks that look along time by turns.

Both kinds read the text, and are told the noise level of their frame and the frame rate by one network for all blocks and a table for each. Given
frames stand clean in the clip, at level 0. The blocks along time are silent at birth: their three last layers are zero, and the network is
PixArt's image transformer, frame by frame. Queries and keys are normalised; along time they turn with their frame's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.dit_block import Block
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
from flipbook.nn.inserts.micro_conditioning import Scalars, VectorEmbedding
from flipbook.nn.patches import PatchEmbed
from flipbook.nn.positions import grid_sincos
from flipbook.nn.rope_pairs import frame_pairs
from flipbook.nn.run import Run, run_plain


@dataclass(frozen=True, kw_only=True)
class STDiTConfig:
    """Sizes of a network; the defaults are the public one.

    out_channels: of the head; what stands behind the first `in_channels` there is a learned variance, which nothing here reads.
    null_rows:    rows that stand for no text, as in the public weights; 0: the empty sentence does.
    base_cells:   latent cells of the side of a frame at which places of patches count 1; in larger frames they stand closer.
    temporal:     False: the image model.
    """

    in_channels: int = 4
    out_channels: int = 8
    text_dim: int = 4096
    null_rows: int = 0
    dim: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_dim: int = 4608
    patch: int = 2
    qk_norm: bool = True
    base_cells: int = 64
    temporal: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        check_heads(self.dim, self.num_heads)
        if self.out_channels < self.in_channels:
            raise ValueError(f"out_channels={self.out_channels} are fewer than the {self.in_channels} that come in. Try {2 * self.in_channels}.")

    @property
    def cell(self) -> int:
        """Latent cells of a token's side."""
        return self.patch


class STDiT(TextTransformer):
    """A denoiser of latent clips; see the module's first lines."""

    null_text: Tensor

    def __init__(self, config: STDiTConfig):
        super().__init__()
        self.config = c = config
        self.time = TimeEmbedding(c.dim, 256)
        self.vector = VectorEmbedding(Scalars(names=("fps",)), c.dim)
        self.modulation = nn.Linear(c.dim, 6 * c.dim)
        self.text = text_rows(c.text_dim, c.dim)
        if c.null_rows:
            self.register_buffer("null_text", torch.randn(c.null_rows, c.text_dim) / c.text_dim**0.5)
        self.embed = PatchEmbed(c.in_channels, c.dim, c.patch)
        self.spatial, self.temporal = (
            nn.ModuleList(
                Block(c.dim, c.num_heads, c.mlp_dim, (kind,), text=True, own=False, qk_norm=c.qk_norm, eps=c.eps) for _ in range(c.depth)
            )
            for kind in ("spatial", "temporal")
        )  # fmt: skip
        if not c.temporal:
            del self.temporal
        self.head = Head(c.dim, c.out_channels, c.patch, keep=c.in_channels, eps=c.eps)
        xavier_(self)
        self.head.start()
        zero_(self.vector.leave)
        for name, weight in self.temporal_parameters():
            if name.split(".", 2)[2].startswith(("attention.0.out.", "cross.out.", "mlp.2.")):
                nn.init.zeros_(weight)

    def in_order(self) -> list[Block]:
        """The blocks as they run."""
        pairs = zip(self.spatial, self.temporal, strict=True) if self.config.temporal else ((block,) for block in self.spatial)
        return [block for block in chain.from_iterable(pairs) if isinstance(block, Block)]

    def temporal_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights of the blocks along time, by name: all others are the image model."""
        return ((name, weight) for name, weight in self.named_parameters() if name.startswith("temporal."))

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,                               # (B, T) bool; the level of a frame says as much
        frame_index: Tensor | None = None,                                  # (B, T) real, in latent frames
        frame_attends: Tensor | None = None,                                # (T, T) or (B, T, T) bool, True = may attend
        image_only: Tensor | None = None,                                   # (B, T) bool, True for an image by itself: it sees itself along time
        cache: None = None,
        run: Run = run_plain,
    ) -> Tensor:
        """The network's prediction, same shape as x. Any T; H and W are multiples of `config.patch`. Text is needed; `vector` is the frame rate.

        Raises ValueError if H or W is no multiple, without text, and for a `cache` or `channels`, which have no place here.
        """
        c, doors = self.config, doors or Doors()
        height, width = x.shape[-2:]
        check_call(x, c.patch, doors, cache, text=True, closed=("channels",))
        rows, columns = height // c.patch, width // c.patch
        emb = self.time(t[:, None] if t.dim() == 1 else t)                  # (B, 1 or T, D)
        if doors.vector is not None:
            emb = emb + self.vector(doors.vector)[:, None]
        shared = self.modulation(F.silu(emb)).unflatten(-1, (6, c.dim))     # (B, 1 or T, 6, D)
        places, scale = round((rows * columns) ** 0.5), (height * width) ** 0.5 / c.base_cells
        tokens = self.embed(x)                                              # (B, T, S, D)
        tokens = tokens + grid_sincos(rows, columns, c.dim, places, scale, device=x.device).to(tokens.dtype)
        turns = frame_pairs(frame_numbers(frame_index, x), rows * columns, c.dim // c.num_heads)
        attends = stills_apart(image_only, frame_attends)
        keys_values = self.prepare(doors).keys_values
        assert keys_values is not None
        for block, text in zip(self.in_order(), keys_values, strict=True):
            along_time = block.attention[0].pattern == "temporal"
            tokens = run(block, tokens, shared, text, doors.token_mask, *((attends, turns) if along_time else (None, None)))
        return self.head.clip(tokens, emb, height, width)
