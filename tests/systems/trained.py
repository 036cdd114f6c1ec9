"""Tiny systems that learn the world in a minute, for the checks that only training can make: clips, lessons, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flipbook import systems
from flipbook.data.batch import Batch, Sample, collate
from flipbook.data.world import from_scene, scene_from_caption
from flipbook.interop.folder import shipped_models
from flipbook.objectives.base import Objective, build_objective
from flipbook.systems import stable_diffusion
from flipbook.systems.base import System
from flipbook.systems.demo import SENTENCES, in_v

Clips = Callable[[int, int], Batch]
"""(how many, number of the first) -> clips; clip k is a function of its number."""


def world(
    *, frames: int = 4, stride: int = 4, side: int = 32, sentences: Sequence[str] = SENTENCES, strides: Sequence[int] = (), motion: bool = False
) -> Clips:
    """Clips of the world's 16 frames at 8 fps. strides: each clip has one of these, in turn, and the frame rate that follows."""

    def clips(n: int, first: int) -> Batch:
        samples = []
        for k in range(first, first + n):
            step = strides[(k + k // len(sentences)) % len(strides)] if strides else stride
            shown = range(0, (frames - 1) * step + 1, step)
            scene = scene_from_caption(sentences[k % len(sentences)], 2 * k)
            clip = from_scene(scene, num_frames=max(16, shown[-1] + 1), height=side, width=side, frames=shown)
            lengths = np.linalg.norm(clip.optical_flow, axis=-1) if motion else np.zeros(1)
            samples.append(Sample(
                video=clip.frames, caption=clip.caption, frame_index=np.array(shown, np.float32), fps=8.0 / step, index=k, source="world",
                is_image=frames == 1, extra={"motion": float(lengths.mean() / side * 8.0 / step)},
            ))  # fmt: skip
        return collate(samples)

    return clips


def eight_that(motion: str) -> list[str]:
    """Sentences of one kind of motion, for checks that ask for no other: four colours, two shapes, black."""
    return [f"a {colour} {shape} {motion} on a black background" for colour in ("red", "green", "blue", "yellow") for shape in ("circle", "square")]


@cache
def thumbs() -> Any:
    """The shipped autoencoder, 4 x 4 pixels to a cell."""
    if "thumb" not in shipped_models():
        pytest.skip("this checkout ships no weights")
    return systems.load("thumb").autoencoder


def fresh(name: str, config: Any, *, latents: bool = True, image: System | None = None, seed: int = 0) -> System:
    """A system with fresh weights, on thumb's latents or as it is; its image network and encoders from `image`, where they fit."""
    from flipbook.demonstrate import take_over
    from flipbook.systems.describe import module_of

    torch.manual_seed(seed)
    system: System = module_of(name).build(config)
    system.process = in_v(system.process)                                   # as demonstrations do: an eps network needs hours
    if latents:
        system.autoencoder = thumbs()
    if image is not None:
        take_over(system, image)
    return system


def taught(
    system: System, options: Mapping[str, Any], clips: Clips, *, steps: int, batch: int = 16, lr: float = 2e-3, objective: str = "conditioned"
) -> Objective:
    """The system after some updates; the rate falls to zero over the last 40 % of them. Clips 0, 1, ... are seen in turn."""
    learnt = build_objective(objective, system, options)
    weights = [p for p in learnt.trainable().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
    learnt.trainable().train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 10, (1 - step / steps) / 0.4)
        data = clips(batch, batch * step)
        learnt.loss(data, [1_000 + k for k in data.index]).loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    learnt.trainable().eval()
    return learnt


@cache
def image_model() -> System:
    """A tiny Stable Diffusion that has seen stills of the world."""
    system = fresh("stable-diffusion", stable_diffusion.TINY)
    taught(system, {"train": ["denoiser", "text_encoder"]}, world(frames=1), steps=100, batch=40)
    return system


def report(**values: float) -> None:
    """What was measured, for `pytest -rP`."""
    print(", ".join(f"{name} {value:.4g}" for name, value in values.items()))


UNSEEN = 1_000_001
"""Numbers from here on are clips that no lesson showed."""


@torch.no_grad()
def loss_on(learnt: Objective, clips: Clips, *, n: int = 32, repeats: int = 3, t: float | None = None) -> float:
    """Mean loss over unseen clips at levels that are spread evenly, or at one level; the same clips and noise for whoever asks."""
    data, total = clips(n, UNSEEN), 0.0
    for r in range(repeats):
        levels = torch.full((n,), t) if t is not None else ((torch.arange(n) + (r + 0.5) / repeats) / n)
        total += float(learnt.loss(data, [7_000 + 100 * r + k for k in range(n)], t=levels).loss.mean())
    return total / repeats


def middle(video: Tensor) -> Tensor:
    """Where the middle of what is bright is in each frame of (B, 3, T, H, W): (B, T, 2) pixels from the left and from the top."""
    light = (video + 1).sum(1)
    light = (light - light.flatten(2).median(-1).values[..., None, None] - 0.3).clamp(min=0.0)              # (B, T, H, W)
    mass = light.sum((-1, -2)).clamp(min=1e-6)
    x, y = torch.arange(light.shape[-1]), torch.arange(light.shape[-2])[:, None]
    return torch.stack([(light * along).sum((-1, -2)) / mass for along in (x, y)], dim=-1)


def travel(video: Tensor) -> float:
    """How far to the right the middle of what is bright goes, pixels a frame, mean over clips (B, 3, T, H, W)."""
    x = middle(video)[..., 0]
    return float((x[:, -1] - x[:, 0]).mean() / (x.shape[1] - 1))


def flicker(video: Tensor) -> float:
    """Mean absolute second difference over frames of (B, C, T, H, W): what moves evenly hardly counts, what jumps does."""
    return float((video[:, :, 2:] - 2 * video[:, :, 1:-1] + video[:, :, :-2]).abs().mean())


@torch.no_grad()
def made(system: System, requests: Sequence[tuple], *, steps: int = 16, seed: int = 5, frames: int = 4, fps: float = 2.0, side: int = 32, **how: Any) -> Tensor:
    """A clip (3, T, H, W) for each request, by the system's own recipe, unguided unless told."""
    from flipbook.long.stage import sample_stage

    how = {"guidance_scale": 1.0, "sampler": system.defaults["sampler"], **how}
    return sample_stage(
        system, requests, num_frames=frames, fps=fps, height=side, width=side, seeds=[seed + k for k in range(len(requests))],
        num_inference_steps=steps, **how,
    )  # fmt: skip
