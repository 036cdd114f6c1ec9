"""What follows from a recipe before the first update: the objective, and which process sees which samples when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flipbook.data.batch import Batch, collate
from flipbook.data.cache import CachedEncoders
from flipbook.data.sources import Stream, build_stream
from flipbook.data.sources.bucketed import BucketStream, build_bucketed
from flipbook.objectives.base import Objective, build_objective
from flipbook.parallel import Group
from flipbook.training.recipe import Recipe

AnyStream = Stream | BucketStream

_VALIDATION_SEED = 0  # the same clips for every run of the same data, so that runs can be compared


def make_objective(recipe: Recipe, group: Group) -> Objective:
    """The recipe's objective over its system, on the group's device. Raises ValueError for what is not known."""
    system, options = _make_system(recipe, group), dict(recipe.objective)
    if "stage" in options:
        options = _of_stage(system, options.pop("stage"), options)
    return build_objective(options.pop("name"), system, options)


def _of_stage(system: Any, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The objective of a stage of the system's own training, but for what a recipe says otherwise: `known.factor` alone, for instance."""
    from flipbook import systems

    options = systems.stage(getattr(system, "method", ""), name).recipe()
    for key, value in changes.items():
        old = options.get(key)
        options[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return options


def _make_system(recipe: Recipe, group: Group) -> Any:
    if recipe.system is None and recipe.init is None:
        return None  # some objectives bring their own network
    from flipbook import systems
    from flipbook.systems.image_weights import start_from_image_model

    if recipe.init is not None:
        system = systems.load(recipe.init)
    else:
        assert recipe.system is not None
        system = systems.build(recipe.system, **recipe.system_config)
    for name, folder in recipe.parts.items():
        if name not in system.parts:
            raise ValueError(f"parts.{name}: system {system.name!r} has no such part. Try {', '.join(system.parts)}.")
        setattr(system, name, systems.load(folder).parts[name])
    if recipe.image is not None:
        start_from_image_model(system.denoiser, systems.load(recipe.image).denoiser.state_dict())
    lengths = {recipe.num_frames} if recipe.buckets is None else {level.num_frames for level in recipe.buckets.levels}
    for num_frames in sorted(lengths):
        system.latent_ends(num_frames)                                      # refused before the first clip is read
    for part in system.parts.values():
        part.eval().to(group.device)  # the loop switches what trains to training
    return system


def make_cache(recipe: Recipe, objective: Objective) -> CachedEncoders | None:
    """What stands before the objective's frozen encoders, if the recipe names a cache. Raises ValueError where none can."""
    if recipe.cache is None:
        return None
    return CachedEncoders(getattr(objective, "system", None), **recipe.cache.model_dump())


def make_streams(recipe: Recipe, cache: CachedEncoders | None = None) -> tuple[AnyStream, AnyStream]:
    """The training stream and the validation stream."""
    framing, cached = recipe.framing(), cache.keys if cache else None
    if recipe.buckets is not None:
        shape = recipe.data, framing, recipe.buckets, recipe.batch_size
        return (
            build_bucketed(*shape, recipe.seed, "train", cached=cached),
            build_bucketed(*shape, _VALIDATION_SEED, "val"),
        )
    return (
        build_stream(recipe.data, framing, recipe.seed, "train", cached=cached),
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


def sample_numbers(
    recipe: Recipe, stream: AnyStream, first_step: int, micro_batch: int, group: Group
) -> Iterator[list[int]]:
    """The sample numbers of this process's micro-batches, from the update after `first_step` updates to the last.

    Update s sees samples s * batch_size to (s + 1) * batch_size - 1, or those of its bucket, and each process a
    contiguous share of them, in as many micro-batches whatever the bucket.
    """
    turns = micro_batches(recipe, micro_batch, group)
    for step in range(first_step, recipe.steps):
        if isinstance(stream, BucketStream):
            numbers = stream.numbers(step)
        else:
            numbers = range(step * recipe.batch_size, (step + 1) * recipe.batch_size)
        share = group.share(numbers)
        yield from map(list, _chunks(share, len(share) // turns))


def micro_batches(recipe: Recipe, micro_batch: int, group: Group) -> int:
    """Network calls per update and process."""
    return recipe.batch_size // group.size // micro_batch


def check_bucket_sizes(recipe: Recipe, stream: AnyStream, micro_batch: int, group: Group) -> None:
    """Raises ValueError where a bucket's batch cannot be shared out evenly."""
    parts = group.size * micro_batches(recipe, micro_batch, group)
    if isinstance(stream, BucketStream) and any(size % parts for size in stream.sizes):
        raise ValueError(
            f"buckets have batches of {sorted(set(stream.sizes))} clips, which {group.size} process(es) with "
            f"{parts // group.size} micro-batches cannot share. Set buckets.batch_multiple={parts}."
        )


def validation_batches(recipe: Recipe, stream: AnyStream, micro_batch: int, group: Group) -> list[Batch]:
    """This process's share of the fixed clips, clip k with process k mod size; sample sheets look at them too."""
    if not recipe.validation.every and not recipe.samples.every:
        return []
    clips = recipe.validation.clips
    if clips < group.size:
        raise ValueError(f"validation.clips={clips}: each of {group.size} processes looks at one at least. Try validation.clips={group.size}.")
    numbers = stream.first(clips) if isinstance(stream, BucketStream) else range(clips)
    mine = numbers[group.rank :: group.size]
    return [batch.to(group.device) for chunk in _chunks(mine, micro_batch) for batch in _by_shape(stream, chunk)]


def _by_shape(stream: AnyStream, numbers: Sequence[int]) -> Iterator[Batch]:
    """One batch, or one per shape where these samples come from several buckets."""
    samples = [stream.sample(k) for k in numbers]
    for shape in dict.fromkeys(s.video.shape for s in samples):
        yield collate([s for s in samples if s.video.shape == shape])


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
