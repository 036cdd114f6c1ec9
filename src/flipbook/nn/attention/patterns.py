"""Which tokens may read which: attention patterns as data.

Tokens stand on a grid of T frames with S cells each (or H rows of W cells), in (t h w) order. A pattern says what a token reads:

    full        every token                         spatial     the tokens of its own frame
    temporal    its own cell in every frame         identity    itself
    Window      the box of the grid that it stands in
    SplitHeads  each share of the heads reads in a pattern of its own

A mask of frames, bool (T, T) with True where frame i may read frame j, narrows any of them: `causal`, `block_causal`, `band`,
`teacher_forcing`, and `apart`, under which images of one batch cannot see each other. Divided attention is two layers, a spatial and
a temporal one. Where a frame reads whole frames and few of them, a table of frames (T, m) says which: `sparse_causal`, `first_frame`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

Pattern = Literal["full", "spatial", "temporal", "identity"]
PATTERNS: tuple[Pattern, ...] = ("full", "spatial", "temporal", "identity")

Grid = tuple[int, ...]      # (T, S) or (T, H, W)


@dataclass(frozen=True)
class Window:
    """Boxes of so many frames, rows and columns, laid from the grid's first corner; the last ones may be cut off."""

    frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.sides) < 1:
            raise ValueError(f"{self}: a window has at least one frame, row and column. Try Window(1, 16, 16).")

    @property
    def sides(self) -> tuple[int, int, int]:
        return self.frames, self.height, self.width


@dataclass(frozen=True)
class SplitHeads:
    """Equal shares of the heads, in order, each with its pattern."""

    parts: tuple[Pattern | Window, ...]

    def share(self, heads: int) -> int:
        """Heads for each part. Raises ValueError where they cannot be shared equally."""
        if not self.parts or heads % len(self.parts):
            raise ValueError(f"{heads} heads cannot be shared equally by {len(self.parts)} patterns. Try {len(self.parts) * max(1, heads // 2)} heads.")
        return heads // len(self.parts)


AnyPattern = Pattern | Window | SplitHeads


def causal(frames: int) -> Tensor:
    """A frame reads itself and what came before it (`directed` attention)."""
    return torch.ones(frames, frames, dtype=torch.bool).tril()


def apart(frames: int) -> Tensor:
    """A frame reads itself alone: images, and clips whose motion is left out."""
    return torch.eye(frames, dtype=torch.bool)


def band(frames: int, reach: int) -> Tensor:
    """A frame reads itself and the `reach` frames before it."""
    return block_causal(frames, 1, window=reach + 1)


def block_causal(frames: int, chunk: int, *, window: int | None = None, sink: int = 0) -> Tensor:
    """Chunks of frames see themselves whole, and earlier chunks.

    window: a chunk sees so many chunks, itself included; None: all.      sink: the first frames, which all later ones always see.
    """
    block = torch.arange(frames) // chunk
    reach = block[:, None] - block                                          # chunks between frame i and an earlier frame j
    seen = reach >= 0
    if window is not None:
        seen &= (reach < window) | (torch.arange(frames) < sink)
    return seen


def teacher_forcing(frames: int, chunk: int, *, window: int | None = None, sink: int = 0) -> Tensor:
    """A clean clip and, behind it, the same clip noisy: (2 T, 2 T). Clean chunks are block-causal among themselves; a noisy chunk sees itself
    and the clean chunks before it, so that one pass trains every step of a rollout (arXiv:2412.07772, section 4.2).

    window, sink: see `block_causal`."""
    block = torch.arange(frames) // chunk
    seen, same = block_causal(frames, chunk, window=window, sink=sink), block[:, None] == block
    return torch.cat([torch.cat([seen, torch.zeros_like(same)], dim=1), torch.cat([seen & ~same, same], dim=1)])


def sparse_causal(frames: int) -> Tensor:
    """Every frame reads the first one and the one before it: (T, 2) frame numbers (arXiv:2212.11565, eq. 6)."""
    before = (torch.arange(frames) - 1).clamp(min=0)
    return torch.stack([torch.zeros_like(before), before], dim=1)


def first_frame(frames: int) -> Tensor:
    """Every frame reads the first one alone: (T, 1) frame numbers (arXiv:2303.13439, section 3.3.2)."""
    return torch.zeros(frames, 1, dtype=torch.long)


def box(grid: Grid) -> tuple[int, int, int]:
    """The grid as frames, rows and columns. Raises ValueError for a grid whose cells have no rows."""
    if len(grid) != 3:
        raise ValueError(f"grid={grid}: a window needs to know the rows and columns of a frame. Try (frames, rows, columns).")
    return grid[0], grid[1], grid[2]


def pattern_mask(
    grid: Grid,
    pattern: AnyPattern = "full",
    frame_attends: Tensor | None = None,
    kv_frames: Tensor | None = None,
    *,
    heads: int = 1,
    device: torch.device | str = "cpu",
) -> Tensor:
    """What token i may read of token j, spelled out for all N = T S tokens: bool, (N, N), or (1, heads, N, N) where heads differ.

    frame_attends: (T, T), or (B, T, T), and then the mask is (B, 1 or heads, N, N).
    kv_frames:     (T, m); then the mask is what to add to the logits, float: a frame that stands in a row twice counts twice.
    """
    if isinstance(pattern, SplitHeads):
        masks = [pattern_mask(grid, part, frame_attends, device=device) for part in pattern.parts]
        masks = [m[:, 0] if m.dim() == 4 else m[None] for m in masks]       # (1 or B, N, N)
        return torch.stack(masks, dim=1).repeat_interleave(pattern.share(heads), dim=1)
    frames, cells = grid[0], prod(grid[1:])
    frame = torch.arange(frames, device=device).repeat_interleave(cells)
    cell = torch.arange(cells, device=device).repeat(frames)
    if kv_frames is not None:
        counts = torch.zeros(frames, frames, device=device)
        counts.scatter_add_(1, kv_frames.to(device), torch.ones(kv_frames.shape, device=device))
        return counts.log()[frame][:, frame]
    if isinstance(pattern, Window):
        _, _, columns = box(grid)
        places = (frame // pattern.frames, cell // columns // pattern.height, cell % columns // pattern.width)
        mask = torch.stack([place[:, None] == place for place in places]).all(0)
    else:
        same_frame, same_cell = frame[:, None] == frame, cell[:, None] == cell
        known = {"full": same_frame | ~same_frame, "spatial": same_frame, "temporal": same_cell, "identity": same_frame & same_cell}
        if pattern not in known:
            raise ValueError(f"attention pattern {pattern!r} is unknown. Try one of {', '.join(PATTERNS)}, Window or SplitHeads.")
        mask = known[pattern]
    if frame_attends is None:
        return mask
    narrowed = mask & frame_attends.to(device)[..., frame, :][..., frame]
    return narrowed if narrowed.dim() == 2 else narrowed[:, None]
