"""Rows behind the end of a sentence, where a network was trained to read them as zeros: all alike, so that one stands for all of them."""

from __future__ import annotations

import torch
from torch import Tensor


def collapsed(tokens: Tensor, mask: Tensor) -> Tensor:
    """Each sentence's rows in front and one row of zeros at the end: (B, L, D) to (B, n + 1, D), n rows in the longest sentence.

    mask: (B, L) bool, True where a row belongs to the sentence. What stands between a shorter sentence and the last row counts for nothing:
    see `log_counts`.
    """
    longest = int(mask.sum(1).max())
    order = torch.argsort(~mask, dim=1, stable=True)[:, :longest]           # attention does not know the order of its rows
    front = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([front, front.new_zeros(len(front), 1, front.shape[-1])], dim=1)


def log_counts(mask: Tensor, length: int) -> Tensor:
    """What to add to the logits of `collapsed` rows (B, length), float32: the log of how many rows each stands for.

    0 for a sentence's own rows, log(L - n) for the last row, which stands for all zeros; -inf for rows that are only there because
    another sentence of the batch is longer.
    """
    own = mask.sum(1, keepdim=True)                                         # (B, 1)
    counts = (torch.arange(length, device=mask.device) < own).float()
    counts[:, -1] = (mask.shape[1] - own[:, 0]).float()
    return counts.log()
