"""Cascades as data: keyframes, frames between them, larger pictures; each stage a model, a frame plan, a level, a sampler.

A run writes one file per stage, whole or not at all, with the recipe that made it. What is there and was made by the same recipe is
not made again: a run that was killed goes on at the unfinished stage, and with one stage replaced only it and those behind run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flipbook.conditions import Condition, Text
from flipbook.data.seeds import derive_seed
from flipbook.hints import nearest
from flipbook.long.known import Known, resized
from flipbook.long.plan import FramePlan, Pass, autoregressive, between_keys, checked, keys, whole
from flipbook.long.stage import sample_stage

Makes = Literal["clip", "between", "larger", "again"]


@dataclass(frozen=True, kw_only=True)
class CascadeStage:
    """One stage: what it makes, of how many frames in which size, with which model.

    makes:    "clip"     frames from the request alone, in chunks if `window` is set;
              "between"  the frames between those of the stage before, which stand `gap` apart: pair by pair, or, if `window`
                         is the whole clip, all of them at once;
              "larger"   larger pictures of the same frames, in chunks if `window` is set;
              "again"    the same clip by another model, from a noised draft (`strength`, SDEdit): its own look, the draft's content.
    model:    what the caller's loader finds a system by.
    window, overlap: frames of a chunk, and how many of them are known from the chunk before.
    level:    noise level of the draft (noise augmentation).   clean: frames of the chunk before stand beside it in full and without noise (Show-1).
    shared_noise: all frames of a pass have the same noise.   same_noise: all passes do, each as the first.
    prompt:   False for stages that are not told the sentence.
    sampler, num_inference_steps, guidance_scale: None: as the system has it.
    """

    name: str
    makes: Makes
    model: str
    num_frames: int
    fps: float
    height: int
    width: int
    gap: int = 1
    window: int | None = None
    overlap: int = 0
    level: float = 0.0
    clean: bool = False
    strength: float = 1.0
    shared_noise: bool = False
    same_noise: bool = False
    prompt: bool = True
    sampler: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        if self.makes not in get_args(Makes):
            raise ValueError(f"stage {self.name!r} makes {self.makes!r}, which is unknown. Try one of {', '.join(get_args(Makes))}.")

    def plan(self) -> FramePlan:
        """The passes of the stage."""
        if self.makes == "between":
            if self.window == self.num_frames:
                return whole(self.num_frames, keys(self.num_frames, self.gap))
            return between_keys(self.num_frames, self.gap)
        return autoregressive(self.num_frames, min(self.window or self.num_frames, self.num_frames), self.overlap)


@dataclass(frozen=True)
class Cascade:
    """Stages in their order. Raises ValueError where one cannot follow the other."""

    name: str
    stages: tuple[CascadeStage, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        if not self.stages or self.stages[0].makes != "clip":
            raise ValueError(f"cascade {self.name!r} needs a first stage that makes a clip.")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"cascade {self.name!r} has stages of one name among {names}. Give each its own.")
        for before, stage in zip(self.stages, self.stages[1:], strict=False):
            wanted = (before.num_frames - 1) * stage.gap + 1 if stage.makes == "between" else before.num_frames
            if stage.makes == "clip" or stage.num_frames != wanted:
                raise ValueError(
                    f"stage {stage.name!r} makes {stage.num_frames} frames ({stage.makes}) after {before.num_frames} "
                    f"of stage {before.name!r}. Try num_frames={wanted}."
                )

    def with_stage(self, name: str, **changes: Any) -> Cascade:
        """The same cascade with one stage changed: another model, another level, more steps. Raises ValueError for unknown names."""
        known = [stage.name for stage in self.stages]
        if name not in known:
            raise ValueError(f"cascade {self.name!r} has no stage {name!r}. {nearest(name, known)}")
        if unknown := set(changes) - {f.name for f in fields(CascadeStage)}:
            raise ValueError(f"a stage has no field {sorted(unknown)}. Try some of {', '.join(f.name for f in fields(CascadeStage))}.")
        return Cascade(self.name, tuple(replace(s, **changes) if s.name == name else s for s in self.stages))


def from_data(data: Mapping[str, Any]) -> Cascade:
    """A cascade as it stands in a YAML or JSON file: {name: ..., stages: [{...}, ...]}. Raises ValueError for unknown fields."""
    known = {f.name for f in fields(CascadeStage)}
    for number, stage in enumerate(data.get("stages", ())):
        if unknown := set(stage) - known:
            raise ValueError(f"stages.{number} has no field {sorted(unknown)}. {nearest(sorted(unknown)[0], known)}")
        if missing := {"name", "makes", "model", "num_frames", "fps", "height", "width"} - set(stage):
            raise ValueError(f"stages.{number} says nothing of {', '.join(sorted(missing))}. Give them.")
    return Cascade(str(data.get("name", "cascade")), tuple(CascadeStage(**stage) for stage in data.get("stages", ())))


def to_data(cascade: Cascade) -> dict[str, Any]:
    """What `from_data` reads, with all defaults said."""
    return {"name": cascade.name, "stages": [asdict(stage) for stage in cascade.stages]}


Load = Callable[[str], tuple[Any, str]]
"""A stage's `model` to the system, ready for inference, and a fingerprint of its weights."""
Told = Callable[[str, int, int], None]
"""(stage, passes done, passes in all)"""


def run_cascade(
    cascade: Cascade, prompt: str | Text, seed: int, folder: Path | str, load: Load, *, told: Told | None = None
) -> Tensor:
    """Run every stage that is not done yet. Returns the last stage's pixels, (3, T, H, W) in about [-1, 1].

    folder: keeps `<number>-<stage>.safetensors` with float32 pixels and the stage's recipe in its header.
    A stage's randomness depends on (seed, its name, the pass) alone, so another stage before it changes only what it is given.
    """
    folder, text = Path(folder), Text(prompt) if isinstance(prompt, str) else prompt
    folder.mkdir(parents=True, exist_ok=True)
    video: Tensor | None = None
    history = ""
    for number, stage in enumerate(cascade.stages, 1):
        system, fingerprint = load(stage.model)
        made = {"stage": asdict(stage), "weights": fingerprint, "text": asdict(text), "seed": seed, "after": history}
        history = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
        path = folder / f"{number}-{stage.name}.safetensors"
        kept = _kept(path, made)
        video = kept if kept is not None else run_stage(stage, system, text, seed, video, told=told)
        if kept is None:
            _keep(path, video, made)
    assert video is not None
    return video


def run_stage(
    stage: CascadeStage, system: Any, text: Text, seed: int, draft: Tensor | None = None, *, told: Told | None = None
) -> Tensor:
    """One stage: the draft (3, T', H', W') of the stage before to pixels (3, T, H, W)."""
    canvas = torch.zeros(3, stage.num_frames, stage.height, stage.width)
    done: tuple[int, ...] = ()
    if draft is not None and stage.makes == "between":
        done = keys(stage.num_frames, stage.gap)
        canvas[:, list(done)] = resized(draft[None], stage.height, stage.width)[0]
    plan = list(checked(stage.plan(), stage.num_frames, done))
    for number, step in enumerate(plan):
        frames, start = list(step.frames), None
        conditions: list[Condition] = [text] if stage.prompt else []
        noise_seed = derive_seed(seed, stage.name, 0 if stage.same_noise else number)
        if stage.makes == "again":
            assert draft is not None
            start = resized(draft[None, :, frames], stage.height, stage.width)
        elif (known := _known(stage, step, canvas, draft)) is not None:
            conditions.append(known)
        clip = sample_stage(
            system, [tuple(conditions)], num_frames=len(frames), fps=stage.fps, height=stage.height, width=stage.width,
            seeds=[noise_seed], start=start, strength=stage.strength, shared_noise=stage.shared_noise,
            **_settings(stage, system),
        )[0]  # fmt: skip
        places = [frames.index(frame) for frame in step.generated]
        canvas[:, list(step.generated)] = clip[:, places]
        if told:
            told(stage.name, number + 1, len(plan))
    return canvas


def _known(stage: CascadeStage, step: Pass, canvas: Tensor, draft: Tensor | None) -> Known | None:
    """What a pass is told: known frames at their places, or a small picture of each frame, with those that are done already in full."""
    if stage.makes == "larger":
        assert draft is not None
        frames = resized(draft[None, :, list(step.frames)], stage.height, stage.width)[0].clone()
        frames[:, list(step.places)] = canvas[:, list(step.observed)]
        return Known(frames=frames, level=stage.level, clean=tuple(step.places) if stage.clean else ())
    if not step.observed:
        return None
    return Known(frames=canvas[:, sorted(step.observed)], places=step.places, level=stage.level)


def _settings(stage: CascadeStage, system: Any) -> dict[str, Any]:
    names = ("sampler", "num_inference_steps", "guidance_scale")
    return {name: system.defaults[name] if getattr(stage, name) is None else getattr(stage, name) for name in names}


def _kept(path: Path, made: dict[str, Any]) -> Tensor | None:
    """The stage's pixels if this very recipe has made them."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if json.loads((file.metadata() or {}).get("recipe", "null")) != json.loads(json.dumps(made)):
                return None
            return file.get_tensor("video")
    except (SafetensorError, ValueError):
        return None                                                         # damaged by something else than us: make it again


def _keep(path: Path, video: Tensor, made: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    unfinished = path.with_name(f".unfinished-{path.name}")
    save_file({"video": video.contiguous()}, unfinished, metadata={"recipe": json.dumps(made)})
    os.replace(unfinished, path)


def stages_done(cascade: Cascade, folder: Path | str) -> Iterator[tuple[CascadeStage, bool]]:
    """Each stage, and whether its file is there."""
    for number, stage in enumerate(cascade.stages, 1):
        yield stage, (Path(folder) / f"{number}-{stage.name}.safetensors").is_file()


def settings_from(pairs: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Changes from the command line, `stage.field=value` with the value in YAML. Raises ValueError for another form."""
    import yaml

    changes = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name, dot, field = key.rpartition(".")
        if not (equals and dot and name and field):
            raise ValueError(f"{pair!r} changes nothing: write stage.field=value, such as upscale.level=0.2.")
        changes.append((name, {field: yaml.safe_load(value)}))
    return changes
