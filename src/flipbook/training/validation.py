"""The validation loss: fixed clips, fixed noise, by noise level, against the network before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.objectives.base import Objective
from flipbook.parallel import Group

LEVELS = 10


@dataclass(frozen=True)
class Scores:
    """loss: mean over all clips.   by_level: mean per tenth of t, from data to noise.

    `by_level` has None where nothing fell, and is empty for objectives without noise levels.
    """

    loss: float
    by_level: list[float | None]


@torch.no_grad()
def validate(
    objective: Objective,
    batches: Sequence[Batch],
    repeats: int,
    group: Group,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Scores:
    """Mean loss over this process's `batches` and those of its fellows.

    Every clip is seen at `repeats` of ten evenly spread noise levels, with noise that depends on the clip's number
    alone, so two evaluations differ by the weights only.
    """
    model = objective.trainable()
    was_training = model.training
    model.eval()
    sums, counts = torch.zeros(LEVELS + 1, dtype=torch.float64), torch.zeros(LEVELS + 1, dtype=torch.float64)
    for i in range(group.most(len(batches))):  # processes that share weights make as many calls each
        batch, counted = batches[min(i, len(batches) - 1)], float(i < len(batches))
        for turn in range(repeats):
            seeds = [derive_seed("validation", k, turn) for k in batch.index]
            t = torch.tensor([_level(k, turn, repeats) for k in batch.index], device=batch.video.device)
            with autocast():
                losses = objective.loss(batch, seeds, t=t)
            loss = losses.loss.double().cpu()  # (B,)
            where = torch.full_like(loss, LEVELS, dtype=torch.long)
            if losses.t is not None:
                where = (losses.t.double().cpu() * LEVELS).long().clamp(0, LEVELS - 1)
            sums.index_add_(0, where, loss * counted)
            counts.index_add_(0, where, torch.full_like(loss, counted))
    model.train(was_training)
    sums, counts = group.sum(torch.stack([sums, counts])).cpu()
    levels = zip(sums[:LEVELS].tolist(), counts[:LEVELS].tolist(), strict=True)
    by_level = [total / count if count else None for total, count in levels] if counts[:LEVELS].any() else []
    return Scores(float(sums.sum() / counts.sum()), by_level)


def _level(k: int, turn: int, repeats: int) -> float:
    """Clip k's noise level at its `turn`: ten clips, or the turns of one clip, take every tenth of [0, 1] alike."""
    tenth = (k + turn * max(1, LEVELS // repeats)) % LEVELS
    return (tenth + derive_seed("level", k, turn) / 2**62) / LEVELS
