"""Rotations that fade with distance (xPos, arXiv:2212.10554, section 3.2).

A logit is the sum over channel pairs of zeta_m^(|i - j| / scale) times what plain rotations give, zeta_m < 1: fast waves fade early, so that
distances which training never saw are seen faintly. The paper has causal models, where queries carry zeta^i and keys zeta^-j; in both
directions the distance counts without its sign, which takes one product for the keys before and one for those behind.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flipbook.nn.positions import frame_rotation, real
from flipbook.nn.rope import rotate

SCALE = 512.0       # frames over which pair m fades to zeta_m


def fading(head_dim: int) -> Tensor:
    """zeta_m of each channel pair, (head_dim / 2,) float64: (2 m + 0.4 d) / 1.4 d."""
    return (torch.arange(0, head_dim, 2, dtype=torch.float64) + 0.4 * head_dim) / (1.4 * head_dim)


def fading_logits(q: Tensor, k: Tensor, index: Tensor, scale: float = SCALE) -> Tensor:
    """Logits of every frame for every other. q, k: (B, T, S, heads, d), index: (1 or B, T); returns (B, S, heads, T, T), divided by sqrt(d)."""
    index = real(index)
    d = q.shape[-1]
    table = frame_rotation(index, d)
    q, k = (rotate(x, (table[0][:, :, None], table[1][:, :, None])) for x in (q / math.sqrt(d), k))
    middle = index.mean(-1, keepdim=True)                                   # powers stay near 1 wherever the clip stands
    power = fading(d).to(index).log() * ((index - middle) / scale)[..., None]           # (1 or B, T, d / 2)
    q, k = (x.permute(0, 2, 3, 1, 4) for x in (q, k))                       # (B, S, heads, T, d)
    return fading_products(q, k, power[:, None, None])


def fading_products(q: Tensor, k: Tensor, power: Tensor) -> Tensor:
    """q k^T of turned queries and keys (..., N, d), which fade with the distance in both directions: (..., N, N).

    power: (..., N, d / 2), the logarithm of how each channel pair fades up to where the token stands; the first pair fades.
    """
    pairs = torch.cat([power, power], dim=-1)
    grow, fade = pairs.neg().exp().to(q.dtype), pairs.exp().to(q.dtype)
    later = power[..., :, None, 0] <= power[..., None, :, 0]                # token i is not before token j
    return torch.where(later, (q * fade) @ (k * grow).transpose(-2, -1), (q * grow) @ (k * fade).transpose(-2, -1))


def attend_fading(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index: Tensor,
    attends: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float = SCALE,
) -> Tensor:
    """Attention over T in every cell, as `attend_frames`, with logits that fade. q, k, v and the result: (B, T, S, heads, d).

    attends: bool (1 or B, T, T), True where frame i may read frame j.      bias: added to the logits, (1 or B, heads, T, T).
    """
    scores = fading_logits(q, k, index, scale)
    if bias is not None:
        scores = scores + bias[:, None].to(scores.dtype)
    if attends is not None:
        scores = scores.masked_fill(~attends[:, None, None], float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    return torch.einsum("bshij,bjshd->bishd", weights, v)
