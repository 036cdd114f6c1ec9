"""A codebook: vectors that stand for all vectors near them, learned by moving averages, with dead ones put to use again.

Vector quantisation of VQ-VAE (arXiv:1711.00937, section 3.1 and appendix A.1) as VideoGPT has it (arXiv:2104.10157): the codebook starts at
vectors of its first batch, and a code that hardly anything falls on restarts at one of the current batch. No gradient reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class CodebookHealth:
    """How much of a codebook is in use.

    used: codes that occur at least once.   size: codes there are.
    perplexity: exp(entropy) of how often each occurs, from 1 (always the same one) to `size` (all equally often).
    """

    used: int
    size: int
    perplexity: float


class Codebook(nn.Module):
    """`num_codes` vectors of width `dim`, as buffers.

    decay:         of the moving averages.
    restart_below: a code on which fewer vectors than this fall per update, on average, restarts; 0: none does.
    """

    vectors: Tensor
    sums: Tensor
    counts: Tensor
    started: Tensor

    def __init__(self, num_codes: int, dim: int, *, decay: float = 0.99, restart_below: float = 1.0):
        super().__init__()
        self.decay, self.restart_below = decay, restart_below
        self.register_buffer("vectors", torch.randn(num_codes, dim))
        self.register_buffer("sums", torch.zeros(num_codes, dim))
        self.register_buffer("counts", torch.zeros(num_codes))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def nearest(self, z: Tensor) -> Tensor:
        """The code of every vector of (B, D, T, H, W), by squared distance: int64 (B, T, H, W)."""
        rows = z.detach().movedim(1, -1).to(self.vectors.dtype)                          # (B, T, H, W, D)
        scores = torch.addmm(self.vectors.square().sum(1), rows.flatten(0, -2), self.vectors.t(), alpha=-2.0)
        return scores.argmin(1).view(rows.shape[:-1])

    def vectors_of(self, codes: Tensor) -> Tensor:
        """The vectors (B, D, T, H, W) of codes (B, T, H, W)."""
        return self.vectors[codes].movedim(-1, 1)

    def health(self, codes: Tensor) -> CodebookHealth:
        """Of the codes of some clips, any shape: the more there are, the nearer to the truth."""
        counts = torch.bincount(codes.flatten(), minlength=len(self.vectors)).double()
        share = counts[counts > 0] / counts.sum()
        return CodebookHealth(int((counts > 0).sum()), len(self.vectors), float(torch.exp(-(share * share.log()).sum())))

    @torch.no_grad()
    def start(self, z: Tensor, generator: torch.Generator) -> None:
        """The first time: take the vectors of (B, D, T, H, W) for codes. Later nothing happens."""
        if self.started:
            return
        self.vectors.copy_(_drawn(z, len(self.vectors), generator))
        self.sums.copy_(self.vectors)
        self.counts.fill_(1.0)
        self.started.fill_(True)

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor, generator: torch.Generator) -> int:
        """Move every code towards the mean of what fell on it; restart the dead. Returns how many restarted.

        z: (B, D, T, H, W) with codes (B, T, H, W).   generator: what the new places of dead codes are drawn with, on the CPU.
        """
        rows, where = z.movedim(1, -1).flatten(0, -2).to(self.vectors), codes.flatten()
        self.counts.mul_(self.decay).add_(torch.bincount(where, minlength=len(self.counts)).to(self.counts), alpha=1 - self.decay)
        self.sums.mul_(self.decay).index_add_(0, where, rows, alpha=1 - self.decay)
        dead = self.counts < self.restart_below
        if dead.any():
            self.sums[dead] = _drawn(z, int(dead.sum()), generator).to(self.sums)
            self.counts[dead] = 1.0
        self.vectors.copy_(self.sums / self.counts.clamp(min=1e-8)[:, None])
        return int(dead.sum())


def _drawn(z: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` vectors (count, D) of (B, D, T, H, W), each another one; where there are too few, again with a little noise, so that no two are alike."""
    rows = z.movedim(1, -1).flatten(0, -2).float()
    order = torch.randperm(len(rows), generator=generator)[:count]
    chosen = rows[order.to(rows.device)]
    if len(chosen) == count:
        return chosen
    again = chosen.repeat(-(-count // len(chosen)), 1)[:count]
    return again + torch.randn(again.shape, generator=generator).to(again) * (0.01 * rows.std())
