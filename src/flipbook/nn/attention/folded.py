"""Attention in a pattern, folded: what cannot be read is never computed.

`attend_dense` is the plain reference, one masked product over all pairs of tokens. `attend` agrees with it and computes, wherever the
pattern is regular, only the pairs that count: frames, cells or windows become a batch, whole frames that are read are gathered, and under
a mask of frames the frames that see the same ones are answered together. Which of these is taken is decided by what they cost.
"""

from __future__ import annotations

from itertools import groupby, product
from math import prod

import torch
from torch import Tensor

from flipbook.nn.attention.flex import attend_flex, flex_pays
from flipbook.nn.attention.kernels import attend_frames, softmax_attention
from flipbook.nn.attention.patterns import PATTERNS, AnyPattern, Grid, SplitHeads, Window, box, pattern_mask

CALL = 8192     # a call of the kernel costs as much as so many logits, over the batch and all heads

Run = tuple[int, int, tuple[int, ...]]      # frames first to last - 1 all read these frames


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: Grid,
    pattern: AnyPattern = "full",
    frame_attends: Tensor | None = None,
    kv_frames: Tensor | None = None,
) -> Tensor:
    """Self-attention over a grid of tokens, (T, S) or (T, H, W). q, k, v and the result: (B, N, heads, head_dim), N = T S.

    frame_attends: bool (T, T) or (1 or B, T, T), True where frame i may read frame j; every frame reads at least one.
    kv_frames:     (T, m), the frames that each frame reads whole; only where the pattern is "full".
    Raises ValueError for an unknown pattern, for a window on a grid without rows, and for what does not go together.
    """
    frames, cells = grid[0], prod(grid[1:])
    if kv_frames is not None:
        if pattern != "full" or frame_attends is not None:
            raise ValueError(f"kv_frames with pattern={pattern!r}: a table of frames says all that is read. Leave pattern and frame_attends out.")
        return _gathered(q, k, v, frames, kv_frames)
    if isinstance(pattern, SplitHeads):
        n = pattern.share(q.shape[2])
        shares = zip(*(x.split(n, dim=2) for x in (q, k, v)), pattern.parts, strict=True)
        return torch.cat([attend(q_n, k_n, v_n, grid, part, frame_attends) for q_n, k_n, v_n, part in shares], dim=2)
    if isinstance(pattern, Window):
        return _windowed(q, k, v, box(grid), pattern, frame_attends)
    if pattern == "identity":
        return v
    if pattern == "spatial":
        q, k, v = (x.unflatten(1, (frames, cells)).flatten(0, 1) for x in (q, k, v))
        return softmax_attention(q, k, v).unflatten(0, (-1, frames)).flatten(1, 2)
    if pattern == "temporal":
        attends = frame_attends[None] if frame_attends is not None and frame_attends.dim() == 2 else frame_attends
        q, k, v = (x.unflatten(1, (frames, cells)) for x in (q, k, v))
        return attend_frames(q, k, v, attends).flatten(1, 2)
    if pattern == "full":
        return softmax_attention(q, k, v) if frame_attends is None else _among_frames(q, k, v, frames, frame_attends)
    raise ValueError(f"attention pattern {pattern!r} is unknown. Try one of {', '.join(PATTERNS)}, Window or SplitHeads.")


def attend_past(q: Tensor, k: Tensor, v: Tensor, cells: int, pattern: AnyPattern = "full") -> Tensor:
    """Attention of the last frames of a clip, which read the frames before them too. q and the result: (B, N, heads, d), N = T S; k, v hold
    the earlier frames in front, (B, P S + N, heads, d). `cells` is S.

    Raises ValueError for patterns whose boxes of frames the past would shift.
    """
    if pattern == "full":
        return softmax_attention(q, k, v)
    if pattern == "temporal":
        q, k, v = (x.unflatten(1, (-1, cells)) for x in (q, k, v))
        return attend_frames(q, k, v).flatten(1, 2)
    if pattern in ("spatial", "identity"):                                  # a frame reads itself alone
        n = q.shape[1]
        return attend(q, k[:, -n:], v[:, -n:], (n // cells, cells), pattern)
    raise ValueError(f"attention pattern {pattern!r} has no past to read. Try full, temporal, spatial or identity.")


def attend_dense(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: Grid,
    pattern: AnyPattern = "full",
    frame_attends: Tensor | None = None,
    kv_frames: Tensor | None = None,
) -> Tensor:
    """The same as `attend`, as one masked product over all pairs of tokens: slow, and plainly right.

    Spatial and identity patterns stay within a frame, so that `frame_attends` has nothing to narrow there and is left out.
    """
    if pattern in ("spatial", "identity"):
        frame_attends = None
    return softmax_attention(q, k, v, pattern_mask(grid, pattern, frame_attends, kv_frames, heads=q.shape[2], device=q.device))


def _gathered(q: Tensor, k: Tensor, v: Tensor, frames: int, table: Tensor) -> Tensor:
    """Every frame reads the frames of its row of `table` (T, m), side by side."""
    if table.dim() != 2 or len(table) != frames:
        raise ValueError(f"kv_frames of shape {tuple(table.shape)}: {frames} frames need a row of frame numbers each. Try shape ({frames}, m).")
    k, v = (x.unflatten(1, (frames, -1)) for x in (k, v))                   # (B, T, S, heads, d)
    if not torch.compiler.is_compiling() and q.device.type == "cpu" and bool((table == table[:1]).all()):
        return softmax_attention(q, k[:, table[0]].flatten(1, 2), v[:, table[0]].flatten(1, 2))     # all frames read the same: nothing is copied for each
    q = q.unflatten(1, (frames, -1)).flatten(0, 1)                          # (B T, S, heads, d)
    k, v = (x[:, table].flatten(2, 3).flatten(0, 1) for x in (k, v))        # (B T, m S, heads, d)
    return softmax_attention(q, k, v).unflatten(0, (-1, frames)).flatten(1, 2)


def _windowed(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int, int], window: Window, frame_attends: Tensor | None) -> Tensor:
    """The windows of each part of the grid in which they are all of one size: the inside, and the cut-off ones along its ends."""
    q, k, v = (x.unflatten(1, grid) for x in (q, k, v))                     # (B, T, H, W, heads, d)
    out = torch.empty_like(v)
    for part in product(*(_even(n, side) for n, side in zip(grid, window.sides, strict=True))):
        sides = tuple(min(side, end - start) for side, (start, end) in zip(window.sides, part, strict=True))
        where = (slice(None), *(slice(start, end) for start, end in part))
        mask = None if frame_attends is None else frame_attends[..., slice(*part[0]), slice(*part[0])]
        out[where] = _tiled(q[where], k[where], v[where], sides, mask)
    return out.flatten(1, 3)


def _even(n: int, side: int) -> list[tuple[int, int]]:
    """0 to n, as the stretch that windows fill, and what is left behind it."""
    full = n // side * side
    return [stretch for stretch in ((0, full), (full, n)) if stretch[0] < stretch[1]]


def _tiled(q: Tensor, k: Tensor, v: Tensor, sides: tuple[int, ...], frame_attends: Tensor | None) -> Tensor:
    """(B, T, H, W, heads, d), each axis a multiple of its side: the windows become a batch."""
    b, *grid = q.shape[:4]
    counts = [n // side for n, side in zip(grid, sides, strict=True)]
    split = [b, *(n for pair in zip(counts, sides, strict=True) for n in pair), *q.shape[4:]]               # (B, nT, t, nH, h, nW, w, heads, d)
    q, k, v = (x.reshape(split).permute(0, 1, 3, 5, 2, 4, 6, 7, 8).flatten(4, 6).flatten(0, 3) for x in (q, k, v))
    mask = None
    if frame_attends is not None:
        t, cells = sides[0], sides[1] * sides[2]
        pairs = frame_attends if frame_attends.dim() == 3 else frame_attends[None]
        pairs = torch.stack([pairs[:, i * t : (i + 1) * t, i * t : (i + 1) * t] for i in range(counts[0])], dim=1)          # (1 or B, nT, t, t)
        pairs = pairs.repeat_interleave(cells, 2).repeat_interleave(cells, 3)
        mask = pairs[:, :, None, None].expand(b, counts[0], counts[1], counts[2], -1, -1).flatten(0, 3)[:, None]
    out = softmax_attention(q, k, v, mask)
    return out.reshape(b, *counts, *sides, *q.shape[2:]).permute(0, 1, 4, 2, 5, 3, 6, 7, 8).reshape(b, *grid, *q.shape[2:])


def _among_frames(q: Tensor, k: Tensor, v: Tensor, frames: int, frame_attends: Tensor) -> Tensor:
    """Full attention narrowed by a mask of frames, the cheapest way."""
    cells = q.shape[1] // frames
    if flex_pays(q, frame_attends):
        return attend_flex(q, k, v, cells, frame_attends)
    runs = None if q.device.type != "cpu" or torch.compiler.is_compiling() else cheaper_runs(frame_attends, cells, q.shape[0] * q.shape[2])
    if runs is None:
        mask = frame_attends.repeat_interleave(cells, -2).repeat_interleave(cells, -1)
        return softmax_attention(q, k, v, mask)
    q, k, v = (x.unflatten(1, (frames, cells)) for x in (q, k, v))
    out = []
    for first, last, seen in runs:
        read = slice(seen[0], seen[-1] + 1) if seen[-1] - seen[0] == len(seen) - 1 else list(seen)      # neighbours are a view
        out.append(softmax_attention(q[:, first:last].flatten(1, 2), k[:, read].flatten(1, 2), v[:, read].flatten(1, 2)))
    return torch.cat(out, dim=1)


def cheaper_runs(frame_attends: Tensor, cells: int, batch_heads: int) -> list[Run] | None:
    """Frames that read the same frames, as runs, if answering run by run costs less than one masked product over all; else None."""
    if frame_attends.dim() == 3:
        if len(frame_attends) > 1:
            return None
        frame_attends = frame_attends[0]
    frames = len(frame_attends)
    rows = [tuple(j for j, seen in enumerate(row) if seen) for row in frame_attends.tolist()]
    runs, first = [], 0
    for seen, group in groupby(rows):
        last = first + sum(1 for _ in group)
        runs.append((first, last, seen))
        first = last
    if not all(seen for _, _, seen in runs):
        raise ValueError("a frame may read no frame at all, so that its attention is undefined. Let it read itself at least.")
    by_runs = sum((last - first) * len(seen) for first, last, seen in runs) * cells**2 * batch_heads + CALL * len(runs)
    return runs if by_runs < frames**2 * cells**2 * batch_heads + CALL else None
