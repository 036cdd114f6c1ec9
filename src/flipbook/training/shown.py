"""The averaged weights in place: what is validated, drawn and saved."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from flipbook import parallel
from flipbook.objectives.base import Objective
from flipbook.training.blocks import blocks_of
from flipbook.training.optim import Average, copy_tensors, named_tensors


def shard(objective: Objective, group: parallel.Group) -> Objective | None:
    """Shard an objective's trained weights over all processes, which call this together.

    Returns a whole copy of the objective in the leading process, for `averaged`: one process alone can neither draw nor save
    from slices. Raises ValueError where nothing can be sharded.
    """
    model = objective.trainable()
    blocks = blocks_of(model)
    if not blocks:
        raise ValueError("parallel=fsdp: the trained parts have no lists of blocks to shard. Try parallel=ddp.")
    whole = copy.deepcopy(objective) if group.leads else None
    parallel.shard(model, blocks, group)
    return whole


@contextmanager
def averaged(objective: Objective, average: Average, whole: Objective | None, group: parallel.Group) -> Iterator[Objective]:
    """An objective that computes with the averaged weights, alone in its process: the objective itself or, where its weights
    are sharded, the leading process's `whole` copy of it. All processes enter together."""
    model = objective.trainable()
    if not any(map(parallel.is_sharded, model.parameters())):
        with average.in_place():
            yield objective
        return
    tensors = parallel.gather({**named_tensors(model), **average.tensors()}, group)
    if whole is not None:
        copy_tensors(tensors, named_tensors(whole.trainable()))
    yield whole or objective
