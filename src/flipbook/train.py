"""The one training loop.

A run is a recipe. Update s sees samples s * batch_size to (s + 1) * batch_size - 1 of its data stream, and the noise of
a sample depends on (seed, s, its number). All that a checkpoint must hold is therefore the step, the weights, their
average and the optimiser: a run killed at any moment goes on bit for bit.

    output/
        recipe.yaml  log.jsonl  tensorboard/  samples/step-001000.png
        checkpoint-000500/ ...   to resume from
        model/                   the averaged weights as a model folder, renewed with every checkpoint
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor, nn

from flipbook import parallel
from flipbook.checkpoint import CheckpointError, list_checkpoints, load_newest, save_checkpoint
from flipbook.data.batch import Batch
from flipbook.data.cache import CachedEncoders
from flipbook.data.seeds import derive_seed
from flipbook.data.sources.prefetch import batches, naming_dead_workers
from flipbook.objectives.base import Objective
from flipbook.training.blocks import recompute
from flipbook.training.clock import Clock, Signals, progress, reason_to_stop, save_is_due
from flipbook.training.log import TrainLog
from flipbook.training.optim import Average, Optimizer, copy_tensors, lr_factor, named_tensors
from flipbook.training.plan import (
    check_bucket_sizes,
    make_cache,
    make_objective,
    make_streams,
    micro_batch_size,
    micro_batches,
    sample_numbers,
    validation_batches,
)
from flipbook.training.recipe import Recipe
from flipbook.training.shown import averaged, shard
from flipbook.training.validation import Scores, validate
from flipbook.training.words import taught_words, teach


class NonFiniteLoss(RuntimeError):
    """A loss or gradient that is not a finite number; the weights were not touched."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    step: updates done.   stopped: why it ended before its time, or None.   validation: this session's last scores.
    """

    step: int
    stopped: str | None
    validation: Scores | None


@dataclass
class Run:
    """What changes while training, besides tensors."""

    step: int = 0
    seconds: float = 0.0  # on the clock, over all sessions
    meter: dict[str, float] = field(default_factory=dict)  # sums since the last line of the log
    untrained: float | None = None  # validation loss before the first update
    taught: dict[str, list[str]] = field(default_factory=dict)  # words that text encoders have met, see training/words.py
    scores: Scores | None = None


COUNT = "updates with "
"""Before a term's name in the meter: how many updates had it, where networks that learn in turns have terms of their own."""


def train(recipe: Recipe, *, resume: bool = False, objective: Objective | None = None) -> TrainResult:
    """Train until the recipe's end, its time limit, or SIGTERM / SIGINT (which save and return).

    resume: go on from the newest whole checkpoint in `recipe.output`; with none there, start.
    objective: one that is built already, instead of the recipe's.
    Raises ValueError when the recipe cannot be run, NonFiniteLoss, CheckpointError, DataWorkerError.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    group = parallel.join(recipe.device)
    try:
        with naming_dead_workers():
            return _train(recipe, resume, objective, group)
    finally:
        parallel.leave()


def _train(recipe: Recipe, resume: bool, objective: Objective | None, group: parallel.Group) -> TrainResult:
    micro_batch = micro_batch_size(recipe, group)
    if not resume and list_checkpoints(recipe.output):
        raise ValueError(
            f"{recipe.output} holds checkpoints of an earlier run. Add --resume, or choose another output."
        )
    torch.manual_seed(recipe.seed)  # fresh weights depend on the recipe alone
    objective = objective or make_objective(recipe, group)
    model = objective.trainable().to(group.device).train()
    sharded = recipe.parallel == "fsdp" and group.size > 1
    whole = shard(objective, group) if sharded else None
    if recipe.gradient_checkpointing:
        recompute(model)
    optimizer, average, run = Optimizer(model, recipe.optimizer), Average(model, recipe.ema), Run()
    changed = _resume(recipe, run, model, optimizer, average) if resume else []
    if recipe.compile:
        for part in (*model.children(), *getattr(objective, "asked", ())):
            getattr(part, "compile_blocks", part.compile)()
    cache = make_cache(recipe, objective)
    stream, held_back = make_streams(recipe, cache)
    check_bucket_sizes(recipe, stream, micro_batch, group)
    fixed = validation_batches(recipe, held_back, micro_batch, group)
    autocast = lambda: torch.autocast(group.device.type, torch.bfloat16, enabled=recipe.dtype == "bf16")
    clock, stopped = Clock(run.seconds), None
    last_saved, saved_step = clock.seconds(), run.step

    def save() -> None:
        nonlocal last_saved, saved_step
        run.seconds, run.taught = clock.seconds(), taught_words(model, group)
        if whole is not None:
            teach(whole.trainable(), run.taught)
        if group.leads or sharded:
            tensors = {"model": named_tensors(model), "ema": average.tensors(), "optimizer": optimizer.tensors()}
            together = group if sharded else None
            save_checkpoint(recipe.output, run.step, tensors, _state(run, recipe), recipe.checkpoint.keep, together)
        with averaged(objective, average, whole, group) as shown:
            if group.leads:
                _save_model(shown, recipe.output / "model")
        group.wait()
        last_saved, saved_step = clock.seconds(), run.step

    def show(last: bool = False) -> None:
        """Validation and sample sheet, where they are due, with the averaged weights."""
        due = lambda every: every > 0 and (last or run.step % every == 0)
        if due(recipe.validation.every):
            with average.in_place():
                run.scores = validate(objective, fixed, recipe.validation.repeats, group, autocast)
            _log_scores(log, run)
        if due(recipe.samples.every) and run.step:
            with averaged(objective, average, whole, group) as shown:
                if group.leads:
                    _draw_samples(shown, fixed[0], recipe, log, run.step, autocast)

    log = TrainLog(recipe.output, recipe.steps, run.step, tensorboard=recipe.log.tensorboard, speaks=group.leads)
    with log, Signals() as signals:
        _announce(log, recipe, run, model, changed)
        if run.step == 0:
            show()
        numbers = sample_numbers(recipe, stream, run.step, micro_batch, group)
        with contextlib.closing(batches(stream, numbers, recipe.num_workers)) as data:
            done = progress(recipe, run.step, clock.seconds(), group)
            while done < 1.0 and not stopped:
                began = clock.seconds()
                share = [next(data).to(group.device) for _ in range(micro_batches(recipe, micro_batch, group))]
                waited = clock.seconds() - began
                facts = _gradients(objective, share, recipe, run.step, group, autocast, cache)
                factor = lr_factor(recipe, run.step, done)
                optimizer.step(factor)
                run.step += 1
                average.update(run.step)
                run.seconds = clock.seconds()
                done = progress(recipe, run.step, run.seconds, group)
                _log_update(log, run, recipe, {**facts, "waited": waited}, factor, run.seconds - began, done)
                show(last=done >= 1.0)
                stopped = reason_to_stop(recipe, group, signals, clock)
                if save_is_due(recipe, run.step, clock.seconds() - last_saved, group):
                    save()
        if run.step != saved_step:
            save()
        log.say(_farewell(recipe, run, stopped if done < 1.0 else None))
    return TrainResult(run.step, stopped if done < 1.0 else None, run.scores)


def _gradients(
    objective: Objective,
    share: Sequence[Batch],
    recipe: Recipe,
    step: int,
    group: parallel.Group,
    autocast: Callable[[], Any],
    cache: CachedEncoders | None = None,
) -> dict[str, float]:
    """Fill the gradients of one update, summed over micro-batches and processes and clipped; returns what to log."""
    clips = sum(map(len, share)) * group.size  # batch_size, or that of the update's bucket
    model = objective.trainable()
    if hasattr(objective, "begin"):
        objective.begin(step)
    params = [p for p in model.parameters() if p.requires_grad]  # of whose turn it is, if there are turns
    local: list[Tensor] = []  # (B,) per micro-batch
    parts: dict[str, Tensor] = {}
    for batch in share:
        seeds = [derive_seed(recipe.seed, "noise", step, k) for k in batch.index]
        torch.manual_seed(seeds[0])  # for layers with chances of their own, such as dropout
        with cache.serving(batch) if cache else contextlib.nullcontext(), autocast():
            losses = objective.loss(batch, seeds)
        (losses.loss.float().sum() / clips).backward()
        local.append(losses.loss.detach().float())
        for name, part in losses.parts.items():
            parts[name] = parts.get(name, 0.0) + part.detach().float().mean() * len(batch) / clips
    group.sum_gradients(params)
    group.average_buffers(model)
    grad_norm = float(group.clip_gradients(params, recipe.clip_norm or math.inf))
    loss, *means = group.sum(torch.stack([torch.cat(local).sum() / clips, *parts.values()])).tolist()
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        raise NonFiniteLoss(_name_culprits(step, share, local, grad_norm))
    return {"loss": loss, "grad_norm": grad_norm, "clips": clips, **{f"loss/{n}": m for n, m in zip(parts, means, strict=True)}}


def _name_culprits(step: int, share: Sequence[Batch], local: Sequence[Tensor], grad_norm: float) -> str:
    rows = [
        (loss, k, source, caption)
        for batch, losses in zip(share, local, strict=True)
        for loss, k, source, caption in zip(losses.tolist(), batch.index, batch.source, batch.captions, strict=True)
    ]
    rows = [row for row in rows if not math.isfinite(row[0])] or rows
    named = [f"\n  sample {k} of {source}, loss {loss:g}: {caption!r}" for loss, k, source, caption in rows[:8]]
    more = f"\n  and {len(rows) - 8} more" if len(rows) > 8 else ""
    return (
        f"update {step + 1} stopped before it touched the weights: a loss or the gradient (norm {grad_norm:g}) is not "
        "finite. The last checkpoint is good. Look at these samples, or lower optimizer.lr, or set dtype=fp32."
        + "".join(named)
        + more
    )


# --- what is kept ---------------------------------------------------------------------------------------------------


def _state(run: Run, recipe: Recipe) -> dict[str, Any]:
    kept = {key: value for key, value in asdict(run).items() if key not in ("step", "scores")}
    return {**kept, "recipe": recipe.model_dump(mode="json"), "torch": torch.__version__}


def _resume(recipe: Recipe, run: Run, model: nn.Module, optimizer: Optimizer, average: Average) -> list[str]:
    """Take over the newest whole checkpoint, if there is one. Returns what differs between its recipe and this one."""
    checkpoint = load_newest(recipe.output, named_tensors(model))
    if checkpoint is None:
        return []
    copy_tensors(checkpoint.tensors["model"], named_tensors(model))
    average.load(checkpoint.tensors["ema"])
    optimizer.load(checkpoint.tensors["optimizer"])
    run.step = checkpoint.step
    run.seconds, run.meter, run.untrained = (checkpoint.state[key] for key in ("seconds", "meter", "untrained"))
    teach(model, checkpoint.state.get("taught", {}))
    before, now = checkpoint.state["recipe"], recipe.model_dump(mode="json")
    return [f"{key}: {before.get(key)!r} -> {now[key]!r}" for key in now if before.get(key) != now[key]]


def _save_model(objective: Objective, folder: Path) -> None:
    """Write a whole model folder beside the old one, then swap them."""
    fresh, old = folder.with_name(f".unfinished-{folder.name}"), folder.with_name(f".unfinished-old-{folder.name}")
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    try:
        objective.save(fresh)
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise CheckpointError(
            f"the checkpoint is saved, but not the model folder {folder} ({error}). Free some space, then --resume."
        ) from error
    shutil.rmtree(old, ignore_errors=True)


# --- what is told ---------------------------------------------------------------------------------------------------


def _announce(log: TrainLog, recipe: Recipe, run: Run, model: nn.Module, changed: Sequence[str]) -> None:
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log.say(
        f"{params / 1e6:.2f} M trained parameters, {recipe.steps} updates of {recipe.batch_size} clips "
        f"({recipe.num_frames} x {recipe.height} x {recipe.width}), output {recipe.output}"
    )
    if run.step:
        log.say(f"resumed at step {run.step}")
    for change in changed:
        log.say(f"the recipe has changed since the checkpoint: {change}")
    log.write("recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def _log_update(
    log: TrainLog, run: Run, recipe: Recipe, facts: dict[str, float], factor: float, seconds: float, done: float
) -> None:
    """Add to the meter; when a line is due, write means over the updates since the last one that had such a term."""
    for name, value in {**facts, "updates": 1, "seconds": seconds}.items():
        for key, one in ((name, value), (COUNT + name, 1)):
            run.meter[key] = run.meter.get(key, 0.0) + one
    if run.step % recipe.log.every and done < 1.0:
        return
    counted = lambda name: run.meter.get(COUNT + name, run.meter["updates"])
    means = {name: total / counted(name) for name, total in run.meter.items() if not name.startswith(COUNT)}
    seconds, waited, clips, _ = (means.pop(name) for name in ("seconds", "waited", "clips", "updates"))
    rate = clips / seconds
    log.record(
        run.step,
        **means,
        lr=recipe.optimizer.lr * factor,
        clips_per_second=round(rate, 3),
        data_share=round(waited / seconds, 4),  # of the time, in which there was nothing to do but wait for clips
        seconds=round(run.seconds, 1),
    )
    log.progress(run.step, means["loss"], rate, seconds * run.step * (1 / done - 1))
    run.meter.clear()


def _log_scores(log: TrainLog, run: Run) -> None:
    assert run.scores is not None
    if run.step == 0:
        run.untrained = run.scores.loss
    ratio = run.scores.loss / run.untrained if run.untrained else None
    log.record(run.step, validation={**asdict(run.scores), "against_untrained": ratio})
    log.say(
        f"step {run.step}: validation loss {run.scores.loss:.5f}"
        + (f", {ratio:.3f} of what it was before training" if ratio is not None and run.step else "")
    )


def _draw_samples(
    objective: Objective, batch: Batch, recipe: Recipe, log: TrainLog, step: int, autocast: Callable[[], Any]
) -> None:
    model = objective.trainable()
    model.eval()
    with torch.no_grad(), autocast():
        prompts = recipe.samples.prompts or batch.captions[:4]
        videos = objective.samples(batch, prompts, derive_seed(recipe.seed, "samples"))
    model.train()
    if videos is not None:
        log.sheet(step, videos.float())


def _farewell(recipe: Recipe, run: Run, stopped: str | None) -> str:
    if stopped:
        return f"{stopped} after {run.step} of {recipe.steps} updates; saved in {recipe.output}. Go on with --resume."
    return f"done after {run.step} updates: the model is in {recipe.output / 'model'}"
