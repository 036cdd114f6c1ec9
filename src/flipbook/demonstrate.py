"""Train a system's demonstration through its stages and make its clips: what `flipbook systems run` does.

    FOLDER/
        run.json                    what was asked for; a folder belongs to one run
        fresh-NETWORK/              the network as it was before its first lesson
        1-NETWORK-STAGE/ ...        one training each (`flipbook.train`): recipe.yaml, log, checkpoints, model/
        cascade-0/ ...              results of the stages of a cascade, clip by clip
        video.mp4  sheet.png        the first clip, and all that are shown
        result.json                 what was trained how long, and what was measured

All of it is resumable: what is there is not made again, and a training that was killed goes on bit for bit.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flipbook import systems
from flipbook.files.temporary import written_whole
from flipbook.systems.demo import BEGINNING, SENTENCES, SHOWN, Demo, Lesson, in_v
from flipbook.systems.image_weights import has_inserts, start_from_image_model, without_inserts
from flipbook.video import Video

MEASURED = 16
"""Clips that are measured, where a clip is cheap; a cascade makes those of the sheet alone."""
READABLE = 32
"""Pixels of a side from which on the truth reader finds shapes."""
Told = Callable[[str], None]


def demo_of(name: str) -> Demo:
    """The demonstration of a system. Raises ValueError for an unknown system, or one that has none."""
    if name not in systems.SYSTEMS:
        from flipbook.hints import nearest

        raise ValueError(f"system {name!r} is not known. {nearest(name, systems.SYSTEMS)}")
    demo = getattr(importlib.import_module(systems.SYSTEMS[name]), "DEMO", None)
    if demo is None:
        raise ValueError(f"system {name!r} has no demonstration to train. If it ships with flipbook, try flipbook generate --model {name}.")
    return demo


def run_demo(
    name: str, folder: Path | str, *, minutes: float | None = None, steps: int | None = None, seed: int = 0, told: Told = print
) -> dict[str, Any]:
    """Train what is not trained yet, make what is not made yet; returns what `result.json` holds.

    minutes, steps: of training, over all lessons; one of the two. A system that starts from another's image model takes the one in the
    folder of that name beside this one, or trains it there first, as long again.
    Raises ValueError for a folder of another run, InterruptedError when a signal ended a training, which is saved.
    """
    if (minutes is None) == (steps is None):
        raise ValueError(f"minutes={minutes}, steps={steps}: give one of the two. Try minutes=1.")
    folder, demo = Path(folder), demo_of(name)
    _claim(folder, {"system": name, "minutes": minutes, "steps": steps, "seed": seed})
    if (folder / "result.json").is_file():
        told(f"{name}: done already")
        return dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))
    trained: dict[str, Path] = {}
    lessons = []
    shares = sum(lesson.share for lesson in demo.lessons)
    for number, lesson in enumerate(demo.lessons, 1):
        start = _start(name, folder, demo, lesson, trained, minutes, steps, seed, told)
        output = folder / f"{number}-{lesson.network}-{lesson.stage.replace(' ', '-')}"
        part = lesson.share / shares
        told(f"{name}: lesson {number} of {len(demo.lessons)}, {lesson.stage!r} for {lesson.network!r}")
        lessons.append(_teach(name, lesson, start, output, minutes and minutes * part, steps and max(1, round(steps * part)), seed))
        trained[lesson.network] = output / "model"
    result = {
        "system": name, "seed": seed, "lessons": lessons, **_made(name, demo, trained, folder, seed, told),
        "parameters": {network: _parameters(path) for network, path in trained.items()}, "threads": torch.get_num_threads(),
    }  # fmt: skip
    _write(folder / "result.json", result)
    return result


# ---------------------------------------------------------------- training


def _claim(folder: Path, asked: dict[str, Any]) -> None:
    path = folder / "run.json"
    if path.is_file() and (found := json.loads(path.read_text(encoding="utf-8"))) != asked:
        raise ValueError(f"{folder} belongs to another run, {found}. Choose another folder, or ask for the same.")
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, asked)


def _start(
    name: str, folder: Path, demo: Demo, lesson: Lesson, trained: Mapping[str, Path], minutes: float | None, steps: int | None, seed: int, told: Told
) -> Path:
    """The model folder that a lesson starts from."""
    if lesson.network in trained:
        return trained[lesson.network]
    fresh = folder / f"fresh-{lesson.network}"
    if (fresh / "model_index.json").is_file():
        return fresh
    torch.manual_seed(seed)
    system = importlib.import_module(systems.SYSTEMS[name]).build(demo.networks[lesson.network])
    system.process = in_v(system.process)
    if demo.latents is True or (demo.latents and lesson.network in demo.latents):
        system.autoencoder = systems.load("thumb").autoencoder
    if lesson.start:
        source = trained.get(lesson.start)
        if source is None:
            beside = folder.parent / lesson.start
            if not (beside / "result.json").is_file():
                run_demo(lesson.start, beside, minutes=minutes, steps=steps, seed=seed, told=told)
            source = _last_model(beside)
        take_over(system, systems.load(source))
    from flipbook.interop.folder import save_pretrained

    return save_pretrained(system, fresh)


def take_over(system: Any, source: Any) -> None:
    """Weights of another system into this one: its image network whole, inserts and encoders where they are of one shape."""
    own = system.denoiser.state_dict()
    state = {key: value for key, value in source.denoiser.state_dict().items() if key in own and (own[key].shape == value.shape or key == "conv_in.weight")}
    start_from_image_model(system.denoiser, state)
    for part in ("text_encoder", "image_encoder"):
        theirs, ours = source.parts.get(part), system.parts.get(part)
        if theirs is not None and ours is not None and type(theirs) is type(ours) and theirs.config == ours.config:
            ours.load_state_dict(theirs.state_dict())


def _last_model(folder: Path) -> Path:
    return max(folder.glob("*/model"), key=lambda path: int(path.parent.name.split("-")[0]))


def _teach(name: str, lesson: Lesson, start: Path, output: Path, minutes: float | None, steps: int | None, seed: int) -> dict[str, Any]:
    from flipbook.train import train
    from flipbook.training.recipe import parse_recipe

    (stage,) = [stage for stage in importlib.import_module(systems.SYSTEMS[name]).STAGES if stage.name == lesson.stage]
    recipe = parse_recipe({
        "init": str(start), "output": str(output), "objective": {**stage.recipe(), **lesson.options}, "seed": seed,
        "data": [{"world": "shapes", "sentences": list(SENTENCES), **lesson.data}],
        "num_frames": lesson.frames, "frame_stride": lesson.stride if lesson.frames > 1 else 1, "height": lesson.side, "width": lesson.side,
        "batch_size": lesson.batch, "num_workers": 0, "warmup": 10, "decay": 0.4, "ema": 0.99,
        "steps": steps or 1_000_000, "schedule_minutes": minutes,
        "optimizer": {"name": "muon", "lr": 2e-3, "muon_lr": 4e-3},
        "validation": {"every": 0}, "samples": {"every": 0}, "checkpoint": {"minutes": 2.0}, "log": {"every": 20, "tensorboard": False},
        **lesson.recipe,
    })  # fmt: skip
    result = train(recipe, resume=True)
    if result.stopped:
        raise InterruptedError(f"{result.stopped} after {result.step} updates of {lesson.stage!r}; the same command goes on from there.")
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    seconds = max((row["seconds"] for row in rows if "seconds" in row), default=0.0)
    return {
        "network": lesson.network, "stage": lesson.stage, "from": lesson.start, "updates": result.step,
        "batch": lesson.batch, "frames": lesson.frames, "seconds": seconds, "loss": losses[-1] if losses else None,
    }  # fmt: skip


# ---------------------------------------------------------------- what it makes


def _made(name: str, demo: Demo, trained: Mapping[str, Path], folder: Path, seed: int, told: Told) -> dict[str, Any]:
    """The clips, on disk, and what is measured of them; where a U-Net has inserts, also what it makes without them, from the same noise."""
    from flipbook.files.sheet import contact_sheet, write_sheet

    told(f"{name}: sampling")
    settings, network = _first_of(demo)
    system = systems.load(trained[network])
    videos, sentences = _cascaded(demo, trained, folder, seed) if demo.cascade else _sampled(demo, system, settings, seed)
    titles = [sentence or "(nothing is asked)" for sentence in sentences]
    made = [replace(video, frames=video.frames[BEGINNING if demo.asks == "beginning" else 0 :]) for video in videos]      # what was given is not measured
    shown = videos[: len(SHOWN)]
    videos[0].write(folder / "video.mp4")
    write_sheet(contact_sheet(shown, titles=titles[: len(shown)]), folder / "sheet.png")
    measured = measure(made, sentences)
    result = {"video": "video.mp4", "sheet": "sheet.png", "shown": titles[: len(shown)], "measured": measured}
    if not has_inserts(system):
        return result
    told(f"{name}: sampling without inserts")
    together = measure(*_sampled(demo, system, settings, seed)) if demo.cascade else measured
    apart = measure(*_sampled(demo, without_inserts(system), settings, seed))
    return {**result, "without": {"network": network, "together": together, "apart": apart}}


def _first_of(demo: Demo) -> tuple[dict[str, Any], str]:
    """How the network is asked that makes clips from the request alone, and its name."""
    if demo.cascade is None:
        return dict(demo.settings), demo.lessons[-1].network
    first = demo.cascade.stages[0]
    settings = {key: getattr(first, key) for key in ("num_frames", "fps", "height", "width", "sampler", "num_inference_steps", "guidance_scale")}
    settings["num_frames"] = first.window or first.num_frames
    return {key: value for key, value in settings.items() if value is not None}, first.model


def _sampled(demo: Demo, system: Any, settings: dict[str, Any], seed: int) -> tuple[list[Video], list[str]]:
    from flipbook.conditions import FirstFrame, Frames, Text
    from flipbook.data.world import from_scene, scene_from_caption
    from flipbook.generate import generate

    sentences = [*SHOWN, *(s for s in SENTENCES[:: len(SENTENCES) // MEASURED] if s not in SHOWN)][:MEASURED]
    requests: list[Any] = [[Text(sentence)] for sentence in sentences]
    if demo.asks == "nothing":
        requests = [[Text()] for _ in sentences]
    elif demo.asks in ("picture", "beginning"):
        step = round(8 / settings["fps"])                                   # the world's own rate is 8
        places = [0] if demo.asks == "picture" else range(0, BEGINNING * step, step)
        size = {"height": settings["height"], "width": settings["width"], "frames": places}
        begun = [from_scene(scene_from_caption(s, 2 * i + 1), **size).frames for i, s in enumerate(sentences)]
        requests = [[FirstFrame(frames[0]) if demo.asks == "picture" else Frames(dict(enumerate(frames)))] for frames in begun]
    videos = generate(system, requests, seed=seed, batch_size=MEASURED, dtype="float32", **settings)
    return videos, sentences if demo.asks != "nothing" else [""] * len(sentences)


def _cascaded(demo: Demo, trained: Mapping[str, Path], folder: Path, seed: int) -> tuple[list[Video], list[str]]:
    from flipbook.interop.folder import weights_hash
    from flipbook.long.cascade import run_cascade
    from flipbook.shapes import tensor_to_pixels

    assert demo.cascade is not None
    loaded = {network: systems.load(path) for network, path in trained.items()}
    load = lambda network: (loaded[network], weights_hash(loaded[network]))
    sentences = list(SHOWN) if demo.asks == "sentence" else [""] * len(SHOWN)
    fps, videos = demo.cascade.stages[-1].fps, []
    for number, sentence in enumerate(sentences):
        pixels = run_cascade(demo.cascade, sentence, seed + number, folder / f"cascade-{number}", load)
        videos.append(Video(tensor_to_pixels(pixels), fps=fps))
    return videos, sentences


def measure(videos: Sequence[Video], sentences: Sequence[str]) -> dict[str, Any]:
    """Shares of the clips that show the colour, shape and motion of their sentence, and how much parts of the picture flicker.

    colour, shape, motion: in [0, 1], against the world's truth; only where a sentence was asked for.   steady: share of the clips with one object, seen in
    nearly all frames.   flicker: grey levels, the mean of `flipbook check`'s local flicker.   clips: how many were measured.
    Clips too small for the reader are measured with each pixel enlarged to a square.
    """
    from flipbook.metrics.probes.base import Footage
    from flipbook.metrics.probes.flicker import local_flicker
    from flipbook.metrics.truth.reader import read_clip
    from flipbook.metrics.truth.score import score_reading

    mean = lambda values: round(sum(values) / len(values), 3)
    videos = [_readable(video) for video in videos]
    readings = [read_clip(video.frames) for video in videos]
    scores = [score_reading(reading, sentence) for reading, sentence in zip(readings, sentences, strict=True) if sentence]
    told = {name: mean([bool(getattr(one, name)) for one in scores]) for name in ("colour", "shape", "motion")} if scores else {}
    return {
        "clips": len(videos), **told,
        "steady": mean([len(reading.objects) == 1 and reading.objects[0].steady for reading in readings]),
        "flicker": mean([local_flicker(Footage.of(video.frames, video.fps, cuts=[])).value for video in videos]),
    }  # fmt: skip


def _readable(video: Video) -> Video:
    times = -(-READABLE // min(video.height, video.width))
    return replace(video, frames=video.frames.repeat(times, axis=1).repeat(times, axis=2)) if times > 1 else video


def _parameters(folder: Path) -> int:
    from flipbook.interop.folder import describe

    return int(describe(folder)["parts"]["denoiser"]["parameters"])


def _write(path: Path, value: Any) -> None:
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
