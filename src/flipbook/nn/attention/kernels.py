"""Softmax attention, by the fastest way this device has: plain products for short keys, chunks of queries, the fused kernels of torch.

On CPUs the fused kernel is slow on the short rows of time; in bf16 it gains nothing without tile instructions (AMX), and its backward is
slow up to a few hundred keys even with them. `benchmarks/unets.py` and `benchmarks/train_step.py` measure what comes of it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.machine import cpu_flags

SHORT = 80      # keys up to which plain products beat the fused kernel on a CPU; a text of 77 rows is among them
LEARNING = 512  # the same for bf16 where gradients are wanted
CHUNK = 128     # query rows per product on a CPU, at least, and more where keys are few: the scores stay in cache
SCORES = 2**16  # numbers in the scores of such a chunk and one head
WIDE = 64       # keys and
TALL = 128      # queries from which a bound on all logits costs less than the largest of every row
BOUND = 80.0    # logits up to which exp and its sum over SHORT keys stay inside float32 and bf16 as they are
TOGETHER = 2**20                        # numbers in the scores of as many clips as are asked at once
VECTOR = 64     # bytes of the widest register: softmax over shorter rows goes across the rows instead
TILES = "amx_bf16" in cpu_flags()


def attend_frames(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attends: Tensor | None = None,
    bias: Tensor | None = None,
    tables: tuple[Tensor, Tensor] | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """Attention over T in every cell. q, k, v and the result: (B, T, S, heads, d), frames by cells.

    attends: bool (1 or B, T, T), True where frame i may read frame j.
    bias:    added to the logits, (1 or B, heads, T, T).
    tables:  a key and a value for every pair of frames, (1 or B, T, T, d) each (Shaw, arXiv:1803.02155).
    kept:    bool (1 or B, T, T), False where a weight of the softmax becomes 0 and is not shared out among the others.
    """
    frames, d = q.shape[1], q.shape[-1]
    q, k, v = (x.permute(0, 2, 3, 1, 4) for x in (q, k, v))                 # (B, S, heads, T, d)
    if tables is None and bias is None and kept is None and not _by_products(q, frames):
        mask = None if attends is None else attends[:, None, None]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).permute(0, 3, 1, 2, 4)
    q = q * (1.0 / math.sqrt(d))
    scores = torch.matmul(q, k.transpose(-2, -1))                           # (B, S, heads, T, T)
    if tables is not None:
        scores = scores + torch.einsum("bshid,bijd->bshij", q, tables[0].to(q.dtype).expand(q.shape[0], -1, -1, -1))
    if bias is not None:
        scores = scores + bias[:, None].to(scores.dtype)
    if attends is not None:
        scores = scores.masked_fill(~attends[:, None, None], float("-inf"))
    weights = _softmax(scores)
    if kept is not None:
        weights = weights * kept[:, None, None]
    out = torch.matmul(weights, v)
    if tables is not None:
        out = out + torch.einsum("bshij,bijd->bshid", weights, tables[1].to(v.dtype).expand(q.shape[0], -1, -1, -1))
    return out.permute(0, 3, 1, 2, 4)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v. q: (B, N, heads, d); k, v: (B, M, heads, d); mask broadcasts to (B, heads, N, M): bool, True = may attend,
    or floats that are added to the logits.

    The policy behind one front: on a CPU plain products for short keys, and in bf16 for all keys without tile instructions, in chunks of
    queries; the fused kernel elsewhere and on GPUs.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))                        # (B, heads, N, d)
    if mask is not None and mask.dim() == 3:
        mask = mask[:, None]
    if _by_products(q, k.shape[2]):
        out = _products(q, k, v, mask)
    else:
        mask = mask if mask is None or mask.dtype == torch.bool else mask.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2)


def _by_products(q: Tensor, keys: int) -> bool:
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return q.device.type == "cpu" and keys <= SHORT
    learning = torch.is_grad_enabled() and q.requires_grad
    return not TILES or keys <= (LEARNING if learning else SHORT)


def _products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scale = 1.0 / math.sqrt(q.shape[-1])
    k_t = k.transpose(-2, -1)
    rows, chunk = q.shape[2], max(CHUNK, SCORES // k.shape[2])
    if mask is None and rows >= TALL and k.shape[2] >= WIDE and _are_small(q, k):
        return _rows_as_they_are(q * scale, k_t, v)
    if rows <= 2 * chunk:
        return _rows(q * scale, k_t, v, mask)
    out = []
    for start in range(0, rows, chunk):
        part = None if mask is None else mask[..., start : start + chunk, :] if mask.shape[-2] == rows else mask
        out.append(_rows(q[:, :, start : start + chunk] * scale, k_t, v, part))
    return torch.cat(out, dim=2)


def _are_small(q: Tensor, k: Tensor) -> bool:
    """Whether no logit can pass BOUND, by the longest query and the longest key."""
    if k.shape[2] > SHORT or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    longest = [torch.linalg.vector_norm(x, dim=-1).amax().float() for x in (q, k)]
    return bool(longest[0] * longest[1] <= BOUND * math.sqrt(q.shape[-1]))


def _rows_as_they_are(q: Tensor, k_t: Tensor, v: Tensor) -> Tensor:
    """Small logits need not have their largest taken away, and the sum of their weights is one more column of the values."""
    values, step, out = F.pad(v, (0, 1), value=1.0), max(1, TOGETHER // (q.shape[1] * q.shape[2] * v.shape[2])), []
    for start in range(0, len(q), step):
        some = slice(start, start + step)
        sums = torch.matmul(torch.matmul(q[some], k_t[some]).exp_(), values[some])
        out.append(sums[..., :-1] / sums[..., -1:])
    return torch.cat(out)


def _rows(q: Tensor, k_t: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores = torch.matmul(q, k_t)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return torch.matmul(_softmax(scores).to(v.dtype), v)                   # floats in the mask make float32 of the scores


def _softmax(scores: Tensor) -> Tensor:
    """Over the last axis. torch computes it in float32 for bf16 too and rounds the result once, but takes rows that do not fill registers faster as
    float32, if they are not too long."""
    keys, numbers = scores.shape[-1], VECTOR // scores.element_size()
    if scores.device.type == "cpu" and keys < numbers:
        return torch.softmax(scores.flatten(0, -2).t().contiguous(), dim=0).t().reshape(scores.shape)
    inside = torch.float32 if keys <= SHORT and keys % numbers else scores.dtype
    return torch.softmax(scores, dim=-1, dtype=inside).to(scores.dtype)
