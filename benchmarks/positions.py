"""Which code of time holds beyond the length of training: small transformers that differ in nothing else, asked for longer clips.

    OMP_NUM_THREADS=1 python benchmarks/positions.py runs/positions [--steps 900] [--only alibi xpos] [--lengths 16,32,48,64] [--seeds 1]
        [--sheets runs/positions] [--markdown docs/positions.md]

Every arm begins with the same fresh weights but for its code of time (`nn/time_codes.py`), and learns as many updates on the same clips of 16 frames of
32 x 32 pixels, in the latents of thumb's autoencoder: a circle that bounces, orbits or stays. Then each reads and makes longer clips, whose frames are as far
apart as in training ("as it is") or stand within the two seconds of training ("moved together"); learned places end where training did.

What a code is worth at a length is read from true clips: their denoising loss when all frames are read at once, over that of the same frames and noise, 16 at a
time. Below 1 the network makes use of what training never showed together; above 1 the code does not hold. Clips that are made are read as in `lengths.py`.
What is trained is not trained again, and what is measured is kept beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lengths import measured
from stretches import FPS, TRAINED
from tables import replace_table
from torch import Tensor

from flipbook import systems
from flipbook.data.world import is_held_out, scene_from_caption
from flipbook.data.world.domains import PICTURES
from flipbook.data.world.layers import paint
from flipbook.denoisers.dit import DiT, DiTConfig
from flipbook.encoders.wordlist import WORDS
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.generate import generate
from flipbook.nn.doors import Doors
from flipbook.nn.time_codes import CODES, TimeCode
from flipbook.objectives.base import build_objective
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.sampling import prepare
from flipbook.shapes import pixels_to_tensor
from flipbook.systems import thumb
from flipbook.systems.base import System
from flipbook.train import train
from flipbook.training.recipe import Recipe, parse_recipe
from flipbook.video import Video, contact_sheet

SIDE = 32
SENTENCES = tuple(
    f"a {colour} circle {motion} on a {background} background"
    for colour, motion, background in product(("red", "green", "blue", "yellow"), ("bounces", "orbits", "stays still"), ("black", "gray"))
    if not is_held_out(colour, "circle", motion)
)
"""Of motions that have no end, so that any stretch of a clip says the same."""
WAYS: dict[str, Callable[[int], float]] = {"as it is": lambda n: FPS, "moved together": lambda n: FPS * (n - 1) / (TRAINED - 1)}
"""The frame rate of a clip of n frames."""


def fresh(code: TimeCode) -> System:
    """A transformer of 1.2 million weights on thumb's latents that is told the time by `code`."""
    torch.manual_seed(0)
    denoiser = DiT(DiTConfig(in_channels=4, text_dim=64, dim=128, depth=4, num_heads=4, time_code=code, max_frames=TRAINED))
    words = WordEncoder(WordEncoderConfig(words=WORDS, dim=64, depth=1, num_heads=2))
    return System(
        name="thumb", denoiser=denoiser, autoencoder=systems.load("thumb").autoencoder, text_encoder=words,
        process=Process(RectifiedFlow(shift=2.0), predicts="flow"), defaults=thumb.DEFAULTS | {"height": SIDE, "width": SIDE, "guidance_scale": 3.0},
    )  # fmt: skip


def recipe_of(home: Path, steps: int) -> Recipe:
    """Single objects of the world, small."""
    return parse_recipe({
        "output": str(home), "objective": {"name": "denoising", "given": 0.0, "time_std": 1.0}, "data": [{"world": "shapes", "sentences": list(SENTENCES)}],
        "num_frames": TRAINED, "height": SIDE, "width": SIDE, "batch_size": 32, "steps": steps,
        "optimizer": {"name": "muon", "lr": 3e-3, "muon_lr": 3e-3, "weight_decay": 0.01}, "warmup": 20, "schedule": "wsd", "decay": 0.4, "ema": 0.99,
        "num_workers": 0, "threads": 1, "validation": {"every": 500, "clips": 64, "repeats": 2}, "samples": {"every": 0},
        "checkpoint": {"keep": 1}, "log": {"every": 50, "tensorboard": False},
    })  # fmt: skip


def learned(code: TimeCode, home: Path, steps: int) -> System:
    """The system that has learned with the code."""
    system, recipe = fresh(code), recipe_of(home, steps)
    options = dict(recipe.objective)
    result = train(recipe, objective=build_objective(options.pop("name"), system, options), resume=True)
    if result.stopped:
        raise SystemExit(f"{result.stopped}, {home} is saved at update {result.step}. The same command goes on from there.")
    made: System = systems.load(home / "model")
    return made


def true_clips(number: int, length: int, rate: float) -> tuple[Tensor, list[str], Tensor]:
    """Pixels (B, 3, T, H, W), captions and places in time (B, T) of clips that training did not show, longer than the world's own."""
    index = np.arange(length) * FPS / rate
    clips, captions = [], [SENTENCES[k % len(SENTENCES)] for k in range(number)]
    for k, sentence in enumerate(captions):
        scene = scene_from_caption(sentence, 2_000_003 + 2 * k)
        clips.append(paint(PICTURES["shapes"].build_stack(scene, index / (TRAINED - 1), SIDE, SIDE)))
    return pixels_to_tensor(np.stack(clips)), captions, torch.from_numpy(index).float().expand(number, -1)


@torch.no_grad()
def worth(system: System, length: int, way: str, number: int = 2 * len(SENTENCES)) -> dict[str, float]:
    """Denoising loss of true clips of `length` frames, read at once and 16 at a time: stretches as they are, or every n-th frame if moved together."""
    video, captions, index = true_clips(number, length, WAYS[way](length))
    z0 = system.autoencoder.encode(video).float()
    eps = torch.randn(z0.shape, generator=torch.Generator().manual_seed(length))
    t = ((torch.arange(number) * 0.6180339887 + 0.5) % 1.0)[:, None].expand(-1, length)
    tokens, mask = system.text_encoder.encode(captions)
    process = system.process

    def loss(frames: Sequence[int]) -> float:
        z, e, level, at = z0[:, :, frames], eps[:, :, frames], t[:, frames], index[:, frames]
        x = process.add_noise(z, e, level)
        at = at - at[:, :1] if way == "as it is" else at                   # a stretch begins where training's clips do
        answer = system.denoiser(process.network_input(x, level), process.network_time(level), Doors(tokens=tokens, token_mask=mask), frame_index=at)
        return float((answer - process.target(z, e, level)).square().mean())

    parts = length // TRAINED
    few = [range(k, length, parts) if way == "moved together" else range(TRAINED * k, TRAINED * (k + 1)) for k in range(parts)]
    return {"at once": loss(range(length)), "16 at a time": float(np.mean([loss(frames) for frames in few]))}


def found(code: TimeCode, home: Path, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """'way, length' to what was measured there."""
    record = home / "lengths.json"
    known: dict[str, dict[str, float]] = json.loads(record.read_text()) if record.is_file() else {}
    ready = prepare(learned(code, home, asked.steps))
    for way, rate in WAYS.items():
        if code == "none" and way != "as it is":                           # it is told nothing, however far apart
            continue
        for length in map(int, asked.lengths.split(",")):
            key = f"{way}, {length}"
            if key in known or (length == TRAINED and way != "as it is") or (code == "learned" and way == "as it is" and length > TRAINED):
                continue

            def make(sentence: str, n: int, seed: int, rate: Callable[[int], float] = rate) -> Video:
                (small,) = generate(ready, sentence, num_frames=n, fps=rate(n), seed=seed, num_inference_steps=asked.num_inference_steps)
                return replace(small, frames=small.frames.repeat(2, 1).repeat(2, 2))               # of the size that the reader knows

            read, shown = measured(make, length, asked.seeds, SENTENCES)
            known[key] = read | worth(ready.system, length, way)
            if asked.sheets:
                thinned = [replace(video, frames=video.frames[:: max(1, length // TRAINED)]) for video in shown[::4]]
                asked.sheets.mkdir(parents=True, exist_ok=True)
                contact_sheet(thinned, titles=list(SENTENCES[::4])).save(asked.sheets / f"{code}-{way.replace(' ', '-')}-{length}.png")
            record.write_text(json.dumps(known, indent=1) + "\n")
            print(code, key, {name: round(value, 3) for name, value in known[key].items()}, flush=True)
    return known


def table(results: dict[str, dict[str, dict[str, float]]], lengths: list[int]) -> list[str]:
    """A line for each code and way: the loss of 16 frames, and by length the loss at once over that of 16 at a time, one object throughout, flicker."""
    lines = ["| code of time | frames | loss of 16 | " + " | ".join(f"{n}" for n in lengths) + " |", "|---|---|---|" + "---|" * len(lengths)]
    for code, known in results.items():
        for way in WAYS:
            cells = [known.get(f"{way}, {n}") or (known.get(f"as it is, {n}") if n == TRAINED else None) for n in lengths]
            if not any(cells[1:]):
                continue
            told = [
                "-" if one is None else f"{one['at once'] / one['16 at a time']:.2f}, {100 * one['objects']:.0f} %, {one['flicker']:.2f}" for one in cells
            ]  # fmt: skip
            lines.append(f"| {code} | {way} | {known[f'as it is, {TRAINED}']['at once']:.3f} | " + " | ".join(told) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--only", nargs="*", default=list(CODES), choices=list(CODES))
    parser.add_argument("--lengths", default="16,32,48,64")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--num-inference-steps", type=int, default=16)
    parser.add_argument("--sheets", type=Path, help="a folder for pictures of some of the clips")
    parser.add_argument("--train-only", action="store_true", help="measure nothing yet")
    parser.add_argument("--markdown", type=Path, help="write the table into this page, in the place of the last one")
    asked = parser.parse_args()
    results: dict[str, Any] = {}
    for code in asked.only:
        if asked.train_only:
            learned(code, asked.output / code, asked.steps)
            continue
        results[code] = found(code, asked.output / code, asked)
    lines = table(results, [int(n) for n in asked.lengths.split(",")])
    print(*lines, sep="\n")
    if asked.markdown and not asked.train_only:
        replace_table(asked.markdown, "codes", lines, sys.argv)


if __name__ == "__main__":
    main()
