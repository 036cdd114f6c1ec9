"""Block-sparse attention on a GPU: torch's FlexAttention skips the blocks of tokens that a mask of frames rules out.

Elsewhere, for short clips and for masks that rule out little, the callers' own ways are as fast.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

LONG = 2048     # tokens from which blocks of 128 are worth their bookkeeping


def flex_pays(q: Tensor, frame_attends: Tensor) -> bool:
    """True on a GPU, for one mask of all samples and long clips."""
    return q.is_cuda and (frame_attends.dim() == 2 or len(frame_attends) == 1) and q.shape[1] >= LONG


def attend_flex(q: Tensor, k: Tensor, v: Tensor, cells: int, frame_attends: Tensor) -> Tensor:
    """Full attention in which token i reads token j where frame i // cells may read frame j // cells. (B, N, heads, d) as everywhere."""
    from torch.nn.attention.flex_attention import flex_attention  # slow to import

    pairs = frame_attends[0] if frame_attends.dim() == 3 else frame_attends
    mask = _block_mask(tuple(map(tuple, pairs.tolist())), cells, str(q.device))
    run = _compiled() if q.is_cuda else flex_attention
    out = run(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), block_mask=mask)
    assert isinstance(out, Tensor)
    return out.transpose(1, 2)


@lru_cache(maxsize=16)
def _block_mask(rows: tuple[tuple[bool, ...], ...], cells: int, device: str) -> BlockMask:
    from torch.nn.attention.flex_attention import create_block_mask

    pairs = torch.tensor(rows, device=device)
    n = len(rows) * cells

    def may_read(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return pairs[i // cells, j // cells]

    return create_block_mask(may_read, None, None, n, n, device=device)


@lru_cache(maxsize=1)
def _compiled():  # type: ignore[no-untyped-def]
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)
