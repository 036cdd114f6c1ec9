"""What only training shows of DIGAN: that how much moves is taught by a discriminator of two frames and their time, and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flipbook import systems
from flipbook.baselines.implicit import vectors
from flipbook.data.batch import Batch
from flipbook.generate import sample
from flipbook.objectives.base import build_objective
from flipbook.sampling import prepare, settle
from flipbook.train import train
from flipbook.training.recipe import load_recipe
from systems.trained import UNSEEN, report, world

RECIPE = Path(__file__).parents[2] / "recipes" / "digan-small.yaml"

NET = {"content": 16, "motion": 16, "dim": 32, "frequencies": 16, "base": 8, "widths": (24, 20), "layers": (2, 1), "rank": 3, "time_bandwidth": 2.0}
FRAMES = 6


def fresh():
    torch.manual_seed(0)
    return systems.build("digan", denoiser=NET)


@torch.no_grad()
def clips(system, first, n=16, *, still=False):
    """Clips of a generator, 6 frames, t from 0 to 0.9375; still: each stands at one of those moments, so that its pictures are those of moving clips."""
    index, numbers = torch.arange(FRAMES) * 3.0, torch.arange(first, first + n)
    t = (index / 16.0).expand(n, -1)                                        # (B, T)
    if still:
        t = t[:, :1] + (index / 16.0)[numbers % FRAMES, None].expand(-1, FRAMES)
    content, motion = (vectors(numbers.tolist(), what, 16) for what in ("content", "motion"))
    return Batch(
        video=system.denoiser(content, motion, t), captions=[""] * n, frame_index=index.expand(n, -1), fps=torch.full((n,), 8 / 3),
        index=numbers.tolist(), source=["own"] * n,
    )  # fmt: skip


def taught(lessons, kinds, steps):
    """A generator that began as the one whose clips the lessons are, after turns of its own and of these discriminators."""
    system = fresh()
    learnt = build_objective("adversarial", system, {"dim": 8, "max_dim": 24, "augment": False, "discriminators": kinds})
    optimizer = torch.optim.AdamW(learnt.trainable().parameters(), 1e-2, betas=(0.0, 0.99), weight_decay=0.0, fused=True)
    for step in range(steps):
        learnt.begin(step)
        learnt.loss(lessons[step % len(lessons)], [10_000 + 100 * step + k for k in range(16)]).loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return system


def moved(system):
    """How far the last frame is from the first, mean over pixels and clips that no lesson showed."""
    video = clips(system, 1_000_000, 64).video
    return float((video[:, :, -1] - video[:, :, 0]).abs().mean())


@pytest.mark.slow
def test_only_a_discriminator_of_two_moments_teaches_to_stand_still():
    """The lessons are the generator's own pictures, each standing still: pictures alone say nothing of what is to be learnt."""
    lessons = [clips(fresh(), 16 * k, still=True) for k in range(16)]
    assert all(torch.equal(one.video[:, :, 0], one.video[:, :, -1]) for one in lessons)
    found = {"before": moved(fresh())}
    found |= {name: moved(taught(lessons, kinds, 400)) for name, kinds in (("with it", ["image", "motion"]), ("without it", ["image"]))}
    report(**found)
    assert found["with it"] < 0.5 * found["before"]
    assert found["with it"] < 0.6 * found["without it"]


def goes(video):
    """How far each frame is from the first, mean over clips and pixels: (T - 1,)."""
    return (video[:, :, 1:] - video[:, :, :1]).abs().mean((0, 1, 3, 4))


@pytest.mark.slow
def test_clips_of_the_world_move_as_it_does_and_hardly_without_the_motion_discriminator(tmp_path):
    """Two trainings by the recipe, a third of its updates each; what is made is set beside clips of the world that neither saw."""
    truth = goes(world(frames=8, stride=2, side=16)(48, UNSEEN).video)
    off = {}
    for kinds in ("[image, motion]", "[image]"):
        home = tmp_path / kinds
        train(load_recipe(RECIPE, [f"objective.discriminators={kinds}", f"output={home}", "steps=1000", "threads=1", "num_workers=0", "samples.every=0"]))
        system = systems.load(home / "model")
        video = sample(prepare(system, dtype="float32"), [()] * 48, settle(system, num_frames=8, fps=4.0), range(48)).clamp(-1, 1)
        off[kinds] = float((goes(video) - truth).abs().mean() / truth.mean())
    report(**off)
    assert off["[image, motion]"] < 0.4
    assert off["[image, motion]"] < 0.6 * off["[image]"]
