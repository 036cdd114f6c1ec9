"""Drawing the codes of a clip, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from flipbook.baselines.code_transformer import CodeTransformer, Grid
from flipbook.long.rollout import roll
from flipbook.nn.doors import Doors
from flipbook.nn.kv_cache import KVCache


def roll_codes(
    net: CodeTransformer, vectors: Tensor, grid: Grid, seeds: Sequence[int], branches: Sequence[tuple[Doors, float]] = (),
    *, temperature: float = 1.0, top_k: int = 0,
) -> Tensor:
    """Codes (B, T, H, W) of new clips. Each costs one token's pass through the network, for every branch.

    vectors:  (num_codes, D), the codebook.   seeds: one per clip; what is drawn for one does not depend on the others.
    branches: the guidance list on logits, as prepared doors with weights: g = l_0 + sum w_k (l_k - l_(k-1)); empty: no doors.
    temperature, top_k: see `pick`.
    """
    batch, count = len(seeds), prod(grid)
    chance = torch.stack([torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    listed = list(branches) or [(Doors(), 1.0)]
    caches = tuple(KVCache(window=count) for _ in listed)

    def step(n: int, before: Tensor | None, memory: tuple[KVCache, ...]) -> tuple[Tensor, tuple[KVCache, ...]]:
        seen = None if before is None else vectors[before]
        said: list[Tensor] = [net.step(n, seen, grid, doors, cache, batch).float() for (doors, _), cache in zip(listed, memory, strict=True)]
        logits = said[0]
        for previous, one, (_, weight) in zip(said, said[1:], listed[1:], strict=False):
            logits = logits + weight * (one - previous)
        return logits, memory

    choose = lambda n, logits: pick(logits, chance[:, n].to(logits.device), temperature=temperature, top_k=top_k)
    return torch.stack([code for _, code in roll(step, choose, None, caches, count)], dim=1).view(batch, *grid)


def pick(logits: Tensor, chance: Tensor, *, temperature: float = 1.0, top_k: int = 0) -> Tensor:
    """The code (B,) at which the sum of likelihoods passes `chance`, (B,) in [0, 1), of logits (B, K).

    temperature: logits are divided by it; 0 takes the likeliest.   top_k: only so many likeliest may be taken; 0: all.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], float("-inf"))
    reached = torch.softmax(logits.double() / temperature, dim=-1).cumsum(-1)
    reached = reached / reached[:, -1:]                                     # what rounding left over falls on no code
    return torch.searchsorted(reached, chance.double().contiguous()[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
