"""Imagen Video: v in angle form, seven stages as data, guidance that oscillates, stages that hear of noise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from analytic import well_apart
from denoisers.unet_tiny import waken
from flipbook.conditions import Text
from flipbook.long.known import Known
from flipbook.long.stage import sample_stage
from flipbook.process import Cosine, Process, initial_noise, noise_levels
from flipbook.samplers import sample_ddim
from flipbook.systems import imagen_video


def test_ddim_in_angle_form_is_ddim():
    """z' = cos(phi' - phi) z + sin(phi' - phi) v with phi = pi t / 2, against the sampler in x0 and eps."""
    path = Cosine()
    process, mixture, matrix = Process(path, "v"), well_apart(path), noise_levels(12, 4)
    net = mixture.network(process)
    x = z = initial_noise((2, 4, 2, 2), [0, 1]).double()
    for t, t_next in zip(matrix[:-1, 0].tolist(), matrix[1:, 0].tolist(), strict=True):
        turn = math.pi / 2 * (t_next - t)
        z = math.cos(turn) * z + math.sin(turn) * net(z, torch.full((2,), t))
    torch.testing.assert_close(sample_ddim(process.denoiser(net), x, path, matrix), z, atol=1e-5, rtol=1e-5)


def test_seven_stages_follow_each_other_as_in_the_paper():
    plan = imagen_video.cascade()
    assert [stage.makes for stage in plan.stages] == ["clip", "between", "larger", "larger", "between", "between", "larger"]
    assert [stage.num_frames for stage in plan.stages] == [16, 31, 31, 31, 61, 121, 121]
    assert (plan.stages[-1].height, plan.stages[-1].width) == (768, 1280)
    assert [stage.level > 0 for stage in plan.stages] == [False] + [True] * 6
    assert plan.stages[-1].fps == 24


def test_a_configured_system_oscillates_between_its_scale_and_one():
    torch.manual_seed(0)
    system = imagen_video.build(replace(imagen_video.TINY, oscillate=8))
    weight = system.guidance(12.0, 4)
    read = [weight(torch.full((1, 4), t))[0, 0].item() for t in noise_levels(8, 1)[:-1, 0].tolist()]
    assert read == [12, 12, 12, 12, 12, 1, 12, 1]
    assert imagen_video.build(imagen_video.TINY).guidance(12.0, 4) == 12.0


@pytest.mark.parametrize("kind", ["temporal", "spatial"])
def test_a_stage_hears_its_draft_and_the_level_of_its_noise(kind):
    torch.manual_seed(0)
    system = imagen_video.build(replace(imagen_video.TINY, kind=kind))
    waken(system.denoiser)
    frames, places = (torch.rand(3, 3, 4, 4), None) if kind == "spatial" else (torch.rand(3, 2, 16, 16), (0, 2))

    def made(**changes):
        known = Known(**{"frames": frames, "places": places, "level": 0.2, **changes})
        return sample_stage(
            system, [(Text("a red circle"), known)], num_frames=3, fps=6, height=16, width=16, seeds=[0], num_inference_steps=2, guidance_scale=1.0
        )

    base = made()
    assert torch.equal(made(), base)
    assert (made(frames=1 - frames) - base).abs().max() > 1e-3
    assert (made(declared=0.9) - base).abs().max() > 1e-4


@pytest.mark.slow
def test_a_stage_trusts_its_draft_less_the_noisier_it_is_told_to_be():
    """On moving squares: the answer follows a change of the draft the less, the higher the declared level; and telling the
    wrong level costs loss."""
    from flipbook.objectives.base import build_objective
    from moving_squares import squares

    torch.manual_seed(0)
    system = imagen_video.build(replace(imagen_video.TINY, kind="spatial"))
    o = build_objective("conditioned", system, {"known": {"take": "small", "factor": 4, "levels": (0.0, 1.0)}, "drop_text": 1.0})
    optimizer = torch.optim.Adam(o.trainable().parameters(), lr=3e-3)
    for step in range(250):
        b = squares(8, first=8 * step)
        optimizer.zero_grad()
        o.loss(b, [1000 + i for i in b.index]).loss.mean().backward()
        optimizer.step()
    b = squares(8, first=100_000)
    at = torch.full((8,), 0.9)
    rows = o.rows(b, range(8), list(range(8)), at, False)
    with torch.no_grad():
        moved, losses = [], []
        for level in (0.05, 0.5, 0.95):
            told = rows.doors.with_(vector=torch.full((8, 1), level))
            other = told.with_(channels=told.channels.flip(0))
            moved.append((o.predict(rows, doors=told) - o.predict(rows, doors=other)).square().mean().item())
        clean = build_objective("conditioned", system, {"known": {"take": "small", "factor": 4, "levels": (0.1, 0.1)}, "drop_text": 1.0})
        rows = clean.rows(b, range(8), list(range(8)), at, False)
        for declared in (0.1, 0.9):
            told = rows.doors.with_(vector=torch.full((8, 1), declared))
            losses.append(clean.errors(rows, clean.predict(rows, doors=told)).mean().item())
    assert moved[0] > moved[1] > moved[2]
    assert losses[0] < losses[1]
