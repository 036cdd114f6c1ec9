"""What follows from a recipe before the first update: the objective, and which process sees which samples when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flipbook.data.batch import Batch, collate
from flipbook.data.sources import Framing, Stream, build_stream
from flipbook.objectives.base import Objective, build_objective
from flipbook.parallel import Group
from flipbook.recipe import Recipe

_VALIDATION_SEED = 0  # the same clips for every run of the same data, so that runs can be compared


def make_objective(recipe: Recipe, group: Group) -> Objective:
    """The recipe's objective over its system, on the group's device. Raises ValueError for what is not known."""
    options = dict(recipe.objective)
    return build_objective(options.pop("name"), _make_system(recipe, group), options)


def _make_system(recipe: Recipe, group: Group) -> Any:
    if recipe.system is None and recipe.init is None:
        return None  # some objectives bring their own network
    from flipbook import systems

    if recipe.init is not None:
        system = systems.load(recipe.init)
    else:
        assert recipe.system is not None
        system = systems.build(recipe.system, **recipe.system_config)
    for name, folder in recipe.parts.items():
        if name not in system.parts:
            raise ValueError(f"parts.{name}: system {system.name!r} has no such part. Try {', '.join(system.parts)}.")
        setattr(system, name, systems.load(folder).parts[name])
    for part in system.parts.values():
        part.eval().to(group.device)  # the loop switches what trains to training
    return system


def make_streams(recipe: Recipe) -> tuple[Stream, Stream]:
    """The training stream and the validation stream."""
    framing = Framing(
        num_frames=recipe.num_frames, frame_stride=recipe.frame_stride, clip_frames=recipe.clip_frames,
        random_start=recipe.random_start, height=recipe.height, width=recipe.width,
    )  # fmt: skip
    return (
        build_stream(recipe.data, framing, recipe.seed, "train"),
        build_stream(recipe.data, framing, _VALIDATION_SEED, "val"),
    )


def micro_batch_size(recipe: Recipe, group: Group) -> int:
    """Samples per network call. Raises ValueError when batch size, processes and micro-batch do not divide."""
    share, rest = divmod(recipe.batch_size, group.size)
    micro_batch = recipe.micro_batch or share
    if rest or share == 0 or share % micro_batch:
        fitting = max(1, share // micro_batch) * micro_batch * group.size
        raise ValueError(
            f"batch_size={recipe.batch_size} over {group.size} process(es) cannot be split into micro-batches of "
            f"{micro_batch}. Try batch_size={fitting}."
        )
    return micro_batch


def sample_numbers(recipe: Recipe, first_step: int, micro_batch: int, group: Group) -> Iterator[list[int]]:
    """The sample numbers of this process's micro-batches, from the update after `first_step` updates to the last.

    Update s sees samples s * batch_size to (s + 1) * batch_size - 1, and each process a contiguous share of them.
    """
    for step in range(first_step, recipe.steps):
        share = group.share(range(step * recipe.batch_size, (step + 1) * recipe.batch_size))
        yield from map(list, _chunks(share, micro_batch))


def validation_batches(recipe: Recipe, stream: Stream, micro_batch: int, group: Group) -> list[Batch]:
    """This process's share of the fixed clips, clip k with process k mod size; sample sheets look at them too."""
    if not recipe.validation.every and not recipe.samples.every:
        return []
    mine = range(group.rank, recipe.validation.clips, group.size)
    return [collate([stream.sample(k) for k in chunk]).to(group.device) for chunk in _chunks(mine, micro_batch)]


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
