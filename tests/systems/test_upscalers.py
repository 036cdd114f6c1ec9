"""Stages that enlarge: told the small clip and its noise, trained by stages of their own, last in cascades that go on where they stopped."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, get_args

import pytest
import torch

from denoisers.unet_tiny import waken
from flipbook.conditions import Size, Text, branches, empty_inputs
from flipbook.long.cascade import Cascade, run_cascade
from flipbook.long.known import Known, resized
from flipbook.objectives.base import build_objective
from flipbook.process.noise import NoiseSource
from flipbook.systems import SYSTEMS, lavie, magicvideo, make_a_video, videoldm
from flipbook.systems.parameter_groups import groups_of
from systems.trained import fresh, world

UPSCALERS: dict[str, tuple[str, Any]] = {
    "make-a-video": ("make-a-video", replace(make_a_video.TINY, kind="upscaler")),
    "make-a-video, frame by frame": ("make-a-video", replace(make_a_video.TINY, kind="frame-upscaler")),
    "magicvideo": ("magicvideo", replace(magicvideo.TINY, kind="upscaler")),
    "videoldm": ("videoldm", replace(videoldm.TINY, kind="upscaler")),
    "lavie": ("lavie", lavie.tiny_stage("upscaler")),
}
every_upscaler = pytest.mark.parametrize("which", UPSCALERS)
FRAMES, SIDE = 4, 16
LEVEL = 0.3


def upscaler(which):
    """A tiny upscaler, all of whose weights are random."""
    name, config = UPSCALERS[which]
    system = fresh(name, config, latents=False)
    waken(system.denoiser)
    return system.eval()


def small(seed=0):
    return torch.rand(3, FRAMES, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def asked(system, known, seed=7):
    """Doors of the branch that is told everything, and the grid of the latents."""
    size = Size(num_frames=FRAMES, fps=8, height=SIDE, width=SIDE)
    latent = (system.denoiser.config.in_channels, FRAMES, SIDE // system.autoencoder.stride, SIDE // system.autoencoder.stride)
    _, doors = branches(system.conditions, system, [(Text("a red circle"), known)], empty_inputs(size, latent, [seed], "cpu"))
    return list(doors.values())[-1], latent


@torch.no_grad()
@every_upscaler
def test_the_small_clip_enters_enlarged_with_as_much_noise_as_is_told_and_none_of_the_samplers(which):
    system = upscaler(which)
    clean, latent = asked(system, Known(frames=small()))
    in_pixels = which == "lavie"                                            # one pixel to a latent cell
    wanted = resized(small()[None], *latent[2:]) if in_pixels else system.autoencoder.encode(resized(small()[None], SIDE, SIDE))
    torch.testing.assert_close(clean.channels, wanted.to(clean.channels))
    assert clean.vector[0, -1] == 0
    noisy, _ = asked(system, Known(frames=small(), level=LEVEL))
    assert noisy.vector[0, -1] == pytest.approx(1000 * LEVEL - 1 if in_pixels else LEVEL)
    path, t = lavie.SMALL_CLIP if in_pixels else system.process.path, torch.tensor(LEVEL)
    noise = (noisy.channels - path.alpha(t) * wanted) / path.sigma(t)
    assert noise.std() == pytest.approx(1.0, abs=0.15)
    first = NoiseSource(latent, [7])()
    alike = torch.corrcoef(torch.stack([noise.flatten(), first.flatten()[: noise.numel()]]))[0, 1]
    assert alike.abs() < 0.2                                                # the sampler starts from another draw
    declared, _ = asked(system, Known(frames=small(), level=LEVEL, declared=0.1))
    assert torch.equal(declared.channels, noisy.channels)
    assert declared.vector[0, -1] < noisy.vector[0, -1]


@torch.no_grad()
@every_upscaler
def test_the_answer_follows_the_small_clip_and_the_level_that_is_told(which):
    system = upscaler(which)
    doors, latent = asked(system, Known(frames=small(), level=LEVEL))
    other, _ = asked(system, Known(frames=small(1), level=LEVEL))
    declared, _ = asked(system, Known(frames=small(), level=LEVEL, declared=0.9))
    x = torch.randn(1, *latent, generator=torch.Generator().manual_seed(3))
    answer = lambda told: system.denoiser(x, torch.tensor([0.6]), told)
    assert (answer(doors) - answer(other)).abs().max() > 1e-3
    assert (answer(doors) - answer(declared)).abs().max() > 1e-4
    with pytest.raises(ValueError):                                         # there is nothing to enlarge
        system.denoiser(x, torch.tensor([0.6]), doors.with_(channels=None))


STAGES = [
    (which, stage.name) for which, (name, _) in UPSCALERS.items() for stage in importlib.import_module(SYSTEMS[name]).STAGES
    if stage.name == "image-upscaler" or (stage.name == "upscaler" and "frame by frame" not in which)
]  # fmt: skip


@pytest.mark.parametrize(("which", "stage"), STAGES)
def test_a_stage_of_training_moves_its_groups_and_keeps_the_bits_of_all_others(which, stage):
    """Of VideoLDM and LaVie the image upscaler, whose temporal layers are all that learns in the end."""
    name, _ = UPSCALERS[which]
    (found,) = [one for one in importlib.import_module(SYSTEMS[name]).STAGES if one.name == stage]
    system = upscaler(which)
    before = {key: value.clone() for key, value in system.denoiser.state_dict().items()}
    recipe = {key: value for key, value in found.recipe().items() if key != "name"}
    objective = build_objective(found.objective, system, recipe)
    clips = world(frames=1 if stage.startswith("image") else FRAMES, side=SIDE)
    weights = [p for p in objective.trainable().parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(weights, lr=0.1)
    objective.loss(clips(2, 0), [0, 1]).loss.mean().backward()
    optimiser.step()
    moved = {key for key, value in system.denoiser.state_dict().items() if not torch.equal(value, before[key])}
    groups = set().union(*(groups_of(key, system.denoiser) for key in moved))
    assert set(found.trains) <= groups
    assert all(groups_of(key, system.denoiser) & set(found.trains) for key in moved)
    if stage == "upscaler" and name in ("videoldm", "lavie"):
        assert groups == {"temporal"}


@dataclass(frozen=True)
class Whole:
    """A system's cascade at toy size, and the config of each of its networks."""

    module: ModuleType
    plan: Cascade
    configs: dict[str, Any]


def wholes():
    kinds = lambda module, names: {f"{module.CARD.name}-{kind}": replace(module.TINY, kind=kind) for kind in names}
    yield "make-a-video", Whole(
        make_a_video, make_a_video.cascade(num_frames=2, skip=2, height=4, width=4), kinds(make_a_video, get_args(make_a_video.Kind))
    )
    lengths = {"keyframes": 2, "interpolation": 3, "upscaler": 2}
    adapted = {f"magicvideo-{kind}": replace(magicvideo.TINY, kind=kind, num_frames=n) for kind, n in lengths.items()}
    yield "magicvideo", Whole(magicvideo, magicvideo.cascade(num_frames=2, gap=2, height=8, width=8), adapted)
    yield "videoldm", Whole(videoldm, videoldm.cascade(num_frames=2, height=8, width=8), kinds(videoldm, ("keyframes", "interpolation", "upscaler")))
    yield "lavie", Whole(lavie, lavie.cascade(num_frames=2, height=16, width=16), {f"lavie-{kind}": lavie.tiny_stage(kind) for kind in lavie.PLANS})


@pytest.mark.parametrize(("name", "whole"), list(wholes()))
def test_another_upscaler_leaves_the_stages_before_it_as_they_are(tmp_path, name, whole):
    plan, made = whole.plan, []
    for stage in plan.stages:
        plan = plan.with_stage(stage.name, num_inference_steps=1, sampler="ddim")
    loaded = {}
    for model, config in whole.configs.items():
        torch.manual_seed(0)
        loaded[model] = whole.module.build(config).eval()
    run = lambda cascade, prints: run_cascade(
        cascade, "a red circle", 0, tmp_path, lambda model: (loaded[model], prints.get(model, model)), told=lambda stage, *_: made.append(stage)
    )
    last = plan.stages[-1]
    video = run(plan, {})
    assert video.shape == (3, last.num_frames, last.height, last.width)
    assert torch.isfinite(video).all()
    assert [stage.makes for stage in plan.stages].count("larger") == (2 if name == "make-a-video" else 1)
    assert set(made) == {stage.name for stage in plan.stages}
    made.clear()
    assert torch.equal(run(plan, {}), video)                                # nothing is left to do
    assert not made
    run(plan, {last.model: "other weights"})
    assert set(made) == {last.name}
    made.clear()
    run(plan.with_stage(last.name, level=0.5), {last.model: "other weights"})
    assert set(made) == {last.name}


@pytest.mark.parametrize(("name", "frames"), [("make-a-video", 76), ("magicvideo", 46), ("videoldm", 113), ("lavie", 61)])
def test_the_published_cascades_enlarge_every_frame_once(name, frames):
    """Where chunks share a frame they come out even: MagicVideo's adaptors know one length."""
    plan = importlib.import_module(SYSTEMS[name]).cascade()
    stage = next(one for one in plan.stages if one.makes == "larger")
    passes = list(stage.plan())
    assert sorted(frame for step in passes for frame in step.generated) == list(range(frames))
    lengths = {len(step.frames) for step in passes}
    assert max(lengths) == stage.window
    if name in ("magicvideo", "videoldm"):
        assert lengths == {stage.window}
