"""The one training loop.

A run is a recipe. Update s sees samples s * batch_size ... (s + 1) * batch_size - 1 of its data stream; the noise of a sample depends
on (seed, s, its number). What a checkpoint must hold is therefore the step, the weights, their average and the optimiser: then a run
killed at any moment goes on bit for bit.

    output/
        recipe.yaml  log.jsonl  tensorboard/  samples/step-001000.png
        checkpoint-000500/ ...        to resume from
        model/                        the averaged weights as a model folder, renewed with every checkpoint
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from flipbook import parallel
from flipbook.checkpoint import list_checkpoints, load_newest, save_checkpoint
from flipbook.data.batch import Batch, collate
from flipbook.data.seeds import derive_seed
from flipbook.data.sources import Framing, Stream, build_stream
from flipbook.data.sources.prefetch import batches
from flipbook.objectives.base import Objective, build_objective
from flipbook.optim import Average, Optimizer, copy_tensors, lr_factor, named_tensors
from flipbook.recipe import Recipe
from flipbook.trainlog import TrainLog
from flipbook.validation import Scores, validate


class NonFiniteLoss(RuntimeError):
    """A loss or gradient that is not a finite number; the weights were not touched."""


@dataclass(frozen=True)
class TrainResult:
    """step: updates done.   stopped: why the run ended early, or None.   validation: the last scores, if any."""

    step: int
    stopped: str | None
    validation: Scores | None


@dataclass
class Run:
    """Everything that changes while training."""

    step: int = 0
    seconds: float = 0.0                                      # on the clock, over all sessions
    meter: dict[str, float] = field(default_factory=dict)     # sums since the last line of the log
    untrained: float | None = None                            # validation loss before the first update
    scores: Scores | None = None


def train(recipe: Recipe, *, resume: bool = False, objective: Objective | None = None) -> TrainResult:
    """Train until the recipe's end, its time limit, or SIGTERM / SIGINT (which save and return).

    resume: go on from the newest whole checkpoint in `recipe.output`; with none there, start.
    objective: one built already, instead of the recipe's.
    Raises ValueError when the recipe cannot be run, NonFiniteLoss, CheckpointError, DataWorkerError.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    group = parallel.join(recipe.device)
    try:
        return _train(recipe, resume, objective, group)
    finally:
        parallel.leave()


def _train(recipe: Recipe, resume: bool, objective: Objective | None, group: parallel.Group) -> TrainResult:
    micro_batch = _micro_batch(recipe, group)
    _refuse_to_overwrite(recipe.output, resume)
    torch.manual_seed(recipe.seed)                            # fresh weights depend on the recipe alone
    objective = objective or _build_objective(recipe, group)
    model = objective.trainable().to(group.device).train()
    optimizer, average, run = Optimizer(model, recipe.optimizer), Average(model, recipe.ema), Run()
    changed = _resume(recipe, run, model, optimizer, average) if resume else []
    if recipe.compile:
        for part in model.children():
            getattr(part, "compile_blocks", part.compile)()

    stream, held_back = (build_stream(recipe.data, _framing(recipe), seed, split)
                         for seed, split in ((recipe.seed, "train"), (0, "val")))
    autocast = lambda: torch.autocast(group.device.type, torch.bfloat16, enabled=recipe.dtype == "bf16")
    fixed = _validation_batches(recipe, held_back, micro_batch, group)
    clock = _Clock(run.seconds)
    last_saved = clock.seconds()

    def save() -> None:
        nonlocal last_saved
        run.seconds = clock.seconds()
        if group.leads:
            tensors = {"model": named_tensors(model), "ema": average.tensors(), "optimizer": optimizer.tensors()}
            save_checkpoint(recipe.output, run.step, tensors, _state(run, recipe), recipe.checkpoint.keep)
            with average.in_place():
                _save_model(objective, recipe.output / "model")
        group.wait()
        last_saved = clock.seconds()

    def look() -> None:
        """Validation and sample sheet, with the averaged weights."""
        wanted = lambda every: every and (run.step % every == 0 or run.step == recipe.steps)
        with average.in_place():
            if fixed and wanted(recipe.validation.every):
                run.scores = validate(objective, fixed, recipe.validation.repeats, group, autocast)
                run.untrained = run.scores.loss if run.step == 0 else run.untrained
                ratio = run.scores.loss / run.untrained if run.untrained else None
                log.record(run.step, validation={**asdict(run.scores), "against_untrained": ratio})
                log.say(f"step {run.step}: validation loss {run.scores.loss:.5f}"
                        + (f", {ratio:.3f} of the untrained network's" if ratio is not None else ""))
            if group.leads and fixed and run.step and wanted(recipe.samples.every):
                _draw_samples(objective, fixed[0], recipe, log, run.step, autocast)

    with TrainLog(recipe.output, steps=recipe.steps, steps_done=run.step, tensorboard=recipe.log.tensorboard,
                  speaks=group.leads) as log, _Signals() as signals:
        _announce(log, recipe, run, model, changed)
        if group.leads:
            _write_recipe(recipe)
        if run.step == 0:
            look()
        stopped: str | None = None
        numbers = _numbers(recipe, run.step, micro_batch, group)
        with contextlib.closing(batches(stream, numbers, recipe.num_workers)) as data:
            while run.step < recipe.steps:
                began = clock.seconds()
                progress = _progress(recipe, run.step, began, group)
                if progress >= 1.0:
                    break
                loss, parts, grad_norm = _update(objective, data, recipe, run.step, micro_batch, group, autocast)
                factor = lr_factor(recipe, run.step, progress)
                optimizer.step(factor)
                run.step += 1
                average.update(run.step)
                _log_update(log, run, recipe, loss, parts, grad_norm, factor, began, clock.seconds())
                look()
                stopped = _reason_to_stop(recipe, group, signals, clock)
                if stopped:
                    break
                if _save_is_due(recipe, run.step, group, clock.seconds() - last_saved):
                    save()
        save()
        log.say(f"{stopped or 'done'}: step {run.step} of {recipe.steps} saved in {recipe.output}"
                + (". Go on with --resume." if stopped else f", the model in {recipe.output / 'model'}"))
    return TrainResult(run.step, stopped, run.scores)


def _update(objective: Objective, data: Iterator[Batch], recipe: Recipe, step: int, micro_batch: int, group: parallel.Group,
            autocast: Callable[[], Any]) -> tuple[float, dict[str, float], float]:
    """Gradients of one update, summed over micro-batches and processes and clipped: (mean loss, its parts, gradient norm)."""
    params = [p for p in objective.trainable().parameters() if p.requires_grad]
    local, seen, sums = [], [], {}
    for _ in range(recipe.batch_size // group.size // micro_batch):
        batch = next(data).to(group.device)
        seeds = [derive_seed(recipe.seed, "noise", step, k) for k in batch.index]
        torch.manual_seed(seeds[0])                           # for layers with chances of their own, such as dropout
        with autocast():
            losses = objective.loss(batch, seeds)
        (losses.loss.float().sum() / recipe.batch_size).backward()
        local.append(losses.loss.detach().float())
        seen.append(batch)
        for name, value in losses.parts.items():
            sums[name] = sums.get(name, 0.0) + value.detach().float().mean() * len(batch) / recipe.batch_size
    group.sum_gradients(params)
    grad_norm = torch.nn.utils.clip_grad_norm_(params, recipe.clip_norm or float("inf"))
    facts = group.sum(torch.stack([torch.cat(local).sum() / recipe.batch_size, *sums.values()])).tolist()
    if not all(map(_finite, (facts[0], grad_norm.item()))):
        raise NonFiniteLoss(_name_batch(step, seen, local, grad_norm.item()))
    return facts[0], dict(zip(sums, facts[1:], strict=True)), grad_norm.item()


def _finite(value: float) -> bool:
    return value - value == 0.0


def _name_batch(step: int, seen: Sequence[Batch], local: Sequence[Tensor], grad_norm: float) -> str:
    rows = [(loss, k, source, caption) for batch, losses in zip(seen, local, strict=True)
            for loss, k, source, caption in zip(losses.tolist(), batch.index, batch.source, batch.captions, strict=True)]
    bad = [row for row in rows if not _finite(row[0])] or rows
    named = "".join(f"\n  sample {k} of {source}, loss {loss}: {caption!r}" for loss, k, source, caption in bad[:8])
    return (f"update {step} stopped before it touched the weights: the loss or its gradient (norm {grad_norm}) is not finite. "
            f"The last checkpoint is good. Look at the samples, or lower optimizer.lr, or use dtype=fp32.{named}"
            + (f"\n  and {len(bad) - 8} more" if len(bad) > 8 else ""))


# --- what a run starts from ---------------------------------------------------------------------------------------------------

def _build_objective(recipe: Recipe, group: parallel.Group) -> Objective:
    options = dict(recipe.objective)
    return build_objective(options.pop("name"), _build_system(recipe, group), options)


def _build_system(recipe: Recipe, group: parallel.Group) -> Any:
    if recipe.system is None and recipe.init is None:
        return None                                           # some objectives bring their own network
    from flipbook import systems

    system = systems.load(recipe.init) if recipe.init is not None else systems.build(recipe.system, **recipe.system_config)
    for part in system.parts.values():
        part.eval().to(group.device)                          # the loop switches what trains to training
    return system


def _framing(recipe: Recipe) -> Framing:
    return Framing(num_frames=recipe.num_frames, frame_stride=recipe.frame_stride, clip_frames=recipe.clip_frames,
                   random_start=recipe.random_start, height=recipe.height, width=recipe.width)


def _micro_batch(recipe: Recipe, group: parallel.Group) -> int:
    share, rest = divmod(recipe.batch_size, group.size)
    micro_batch = recipe.micro_batch or share
    if rest or share % micro_batch:
        raise ValueError(f"batch_size={recipe.batch_size} over {group.size} process(es) cannot be split into micro-batches of "
                         f"{micro_batch}. Try batch_size={max(1, share // micro_batch) * micro_batch * group.size}.")
    return micro_batch


def _numbers(recipe: Recipe, first_step: int, micro_batch: int, group: parallel.Group) -> Iterator[Sequence[int]]:
    """The sample numbers of this process's micro-batches from `first_step` on."""
    for step in range(first_step, recipe.steps):
        share = group.share(range(step * recipe.batch_size, (step + 1) * recipe.batch_size))
        for start in range(0, len(share), micro_batch):
            yield list(share[start: start + micro_batch])


def _validation_batches(recipe: Recipe, stream: Stream, micro_batch: int, group: parallel.Group) -> list[Batch]:
    if not recipe.validation.every:
        return []
    mine = range(group.rank, recipe.validation.clips, group.size)
    chunks = [mine[start: start + micro_batch] for start in range(0, len(mine), micro_batch)]
    return [collate([stream.sample(k) for k in chunk]).to(group.device) for chunk in chunks]


def _refuse_to_overwrite(output: Path, resume: bool) -> None:
    if not resume and list_checkpoints(output):
        raise ValueError(f"{output} holds checkpoints of an earlier run. Add --resume to go on, or choose another output.")


def _resume(recipe: Recipe, run: Run, model: torch.nn.Module, optimizer: Optimizer, average: Average) -> list[str]:
    """Take over the newest checkpoint, if there is one. Returns what differs between its recipe and this one."""
    checkpoint = load_newest(recipe.output)
    if checkpoint is None:
        return []
    copy_tensors(checkpoint.tensors["model"], named_tensors(model))
    average.load(checkpoint.tensors["ema"])
    optimizer.load(checkpoint.tensors["optimizer"])
    state = checkpoint.state
    run.step, run.seconds, run.meter, run.untrained = checkpoint.step, state["seconds"], state["meter"], state["untrained"]
    before, now = state["recipe"], recipe.model_dump(mode="json")
    return [f"{key}: {before.get(key)!r} -> {now[key]!r}" for key in now if before.get(key) != now[key]]


def _state(run: Run, recipe: Recipe) -> dict[str, Any]:
    return {"seconds": run.seconds, "meter": run.meter, "untrained": run.untrained,
            "recipe": recipe.model_dump(mode="json"), "torch": torch.__version__}


# --- when, and what is told ---------------------------------------------------------------------------------------------------

class _Clock:
    """Seconds of this run, those of earlier sessions included."""

    def __init__(self, before: float) -> None:
        self._before, self._start = before, time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def session(self) -> float:
        return time.monotonic() - self._start


class _Signals:
    """Inside this context SIGTERM and SIGINT only leave a note. Outside the main thread signals stay as they are."""

    received: str | None = None

    def __enter__(self) -> _Signals:
        self._before = {}
        with contextlib.suppress(ValueError):
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        self.received = signal.Signals(number).name


def _progress(recipe: Recipe, step: int, seconds: float, group: parallel.Group) -> float:
    """The share of the run that is done, by steps or, with `schedule_minutes`, by the leading process's clock where that is ahead."""
    by_steps = step / recipe.steps
    if recipe.schedule_minutes is None:
        return by_steps
    by_clock = group.sum(torch.tensor(seconds / 60 / recipe.schedule_minutes if group.leads else 0.0))
    return max(by_steps, float(by_clock))


def _reason_to_stop(recipe: Recipe, group: parallel.Group, signals: _Signals, clock: _Clock) -> str | None:
    if group.any(signals.received is not None):
        return f"stopped by {signals.received or 'a signal'}"
    if recipe.time_limit_minutes and group.any(clock.session() > recipe.time_limit_minutes * 60):
        return f"stopped at the time limit of {recipe.time_limit_minutes:g} minutes"
    return None


def _save_is_due(recipe: Recipe, step: int, group: parallel.Group, seconds_since: float) -> bool:
    every, minutes = recipe.checkpoint.every, recipe.checkpoint.minutes
    return (every > 0 and step % every == 0) or (minutes > 0 and group.any(seconds_since > minutes * 60))


def _log_update(log: TrainLog, run: Run, recipe: Recipe, loss: float, parts: dict[str, float], grad_norm: float, factor: float,
                began: float, now: float) -> None:
    facts = {"loss": loss, "grad_norm": grad_norm, "seconds": now - began, "updates": 1, **{f"loss/{n}": v for n, v in parts.items()}}
    for name, value in facts.items():
        run.meter[name] = run.meter.get(name, 0.0) + value
    if run.step % recipe.log.every and run.step != recipe.steps:
        return
    means = {name: value / run.meter["updates"] for name, value in run.meter.items()}
    rate = recipe.batch_size / means["seconds"]
    left = (recipe.steps - run.step) * means["seconds"]
    if recipe.schedule_minutes:
        left = min(left, recipe.schedule_minutes * 60 - now)
    del means["updates"], means["seconds"]
    log.record(run.step, **means, lr=recipe.optimizer.lr * factor, clips_per_second=round(rate, 3), seconds=round(now, 3))
    log.progress(run.step, means["loss"], rate, max(0.0, left))
    run.meter.clear()


def _announce(log: TrainLog, recipe: Recipe, run: Run, model: torch.nn.Module, changed: Sequence[str]) -> None:
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log.say(f"{params / 1e6:.2f} M trained parameters, {recipe.steps} updates of {recipe.batch_size} clips "
            f"({recipe.num_frames} x {recipe.height} x {recipe.width}), output {recipe.output}")
    if run.step:
        log.say(f"resumed at step {run.step}")
    for change in changed:
        log.say(f"the recipe has changed since the checkpoint: {change}")


def _draw_samples(objective: Objective, batch: Batch, recipe: Recipe, log: TrainLog, step: int, autocast: Callable[[], Any]) -> None:
    model = objective.trainable()
    model.eval()
    with torch.no_grad(), autocast():
        videos = objective.samples(batch, recipe.samples.prompts or batch.captions[:4], derive_seed(recipe.seed, "samples"))
    model.train()
    if videos is not None:
        log.sheet(step, videos.float())


def _write_recipe(recipe: Recipe) -> None:
    path = recipe.output / "recipe.yaml"
    path.with_suffix(".tmp").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    os.replace(path.with_suffix(".tmp"), path)


def _save_model(objective: Objective, folder: Path) -> None:
    """Write a whole model folder beside the old one, then swap them."""
    fresh, old = folder.with_name(f".unfinished-{folder.name}"), folder.with_name(f".unfinished-old-{folder.name}")
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    objective.save(fresh)
    if folder.exists():
        os.replace(folder, old)
    if fresh.exists():
        os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)
