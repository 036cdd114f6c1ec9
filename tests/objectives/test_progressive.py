"""Progressive distillation: exact steps, and a student that learns to make two of them in one."""

from __future__ import annotations

import pytest
import torch

from analytic import well_apart
from clips import batch
from denoisers.unet_tiny import waken
from flipbook import systems
from flipbook.objectives.base import build_objective
from flipbook.objectives.progressive import ddim_step, x0_between
from flipbook.process import VP, Cosine, Process, initial_noise
from flipbook.samplers import sample_ddim

SEEDS = [1, 2, 3, 4]


@pytest.mark.parametrize("path", [Cosine(), VP()], ids=str)
def test_the_target_is_the_x0_whose_one_step_ends_where_two_steps_end(path):
    process, mixture = Process(path, "v"), well_apart(path)
    x, t = initial_noise((2, 4, 2, 2), [0, 1]), torch.tensor([0.9, 0.5])[:, None].expand(2, 4)
    middle, last = t - 0.1, t - 0.2
    y = ddim_step(process, mixture.denoise(x, t), x, t, middle)
    y = ddim_step(process, mixture.denoise(y, middle), y, middle, last)
    x0 = x0_between(process, x, t, y, last)
    torch.testing.assert_close(ddim_step(process, x0, x, t, last), y, atol=1e-5, rtol=1e-5)
    matrix = torch.tensor([[0.9], [0.8], [0.7]], dtype=torch.float64).expand(3, 4)
    torch.testing.assert_close(sample_ddim(mixture.denoise, x[:1], path, matrix), y[:1], atol=1e-5, rtol=1e-5)


def test_frames_that_keep_their_level_keep_their_bits():
    process = Process(Cosine(), "v")
    x = initial_noise((1, 2, 2, 2), [0])
    t, t_next = torch.tensor([[0.2, 0.9]]), torch.tensor([[0.2, 0.5]])
    moved = ddim_step(process, torch.zeros_like(x), x, t, t_next)
    assert torch.equal(moved[:, :, 0], x[:, :, 0])
    assert not torch.equal(moved[:, :, 1], x[:, :, 1])


def distilling(**options):
    torch.manual_seed(0)
    system = systems.build("imagen-video", tiny=True)
    waken(system.denoiser, only="conv_out")
    waken(system.denoiser, only="leave")                                     # what words do is silent at birth
    return build_objective("progressive", system, {"steps": 4, "drop_text": 0.0, **options})


def test_the_student_starts_as_its_teacher_and_the_teacher_never_moves():
    o = distilling()
    assert all(torch.equal(a, b) for a, b in zip(o.teacher.parameters(), o.system.denoiser.parameters(), strict=True))
    assert not any(p.requires_grad for p in o.teacher.parameters())
    assert set(o.trainable()) == {"denoiser"}
    losses = o.loss(batch(), SEEDS)
    assert set((losses.t * 4).tolist()) <= {1.0, 2.0, 3.0, 4.0}
    assert losses.loss.min() > 0


def test_a_student_is_saved_with_its_own_steps_and_without_the_guidance_that_it_took_up(tmp_path):
    guided, plain = distilling(guidance=3.0), distilling()
    for o in (guided, plain):
        assert o.system.defaults["num_inference_steps"] == 4
    assert guided.system.defaults["guidance_scale"] == 1.0
    assert plain.system.defaults["guidance_scale"] == systems.build("imagen-video", tiny=True).defaults["guidance_scale"]


def test_a_student_of_a_teacher_that_draws_noise_between_its_steps_draws_none():
    system = systems.build("thumb", tiny=True)
    assert system.defaults["sampler"] == "euler_ancestral"
    build_objective("progressive", system, {"steps": 4, "guidance": 4.0, "drop_text": 0.0})
    assert system.defaults["sampler"] == "euler"


def test_a_student_of_more_steps_in_one_is_asked_for_where_all_of_them_lead(monkeypatch):
    """Three of the teacher's steps in one: to the end of a third of the way, of a sampler of six steps in all."""
    o = distilling(steps=2, teacher_steps=3)
    seen = []
    taught = o._taught
    monkeypatch.setattr(o, "_taught", lambda rows, wordless, x, t: (seen.append((x, t)), taught(rows, wordless, x, t))[1])
    rows = o.rows(batch(), [0, 1, 2, 3], SEEDS, torch.full((4,), 1.0), False)
    target = o._taught_steps(rows, None)
    torch.testing.assert_close(torch.stack([t[0, 0] for _, t in seen]), torch.tensor([6, 5, 4]) / 6)
    process, (x, t) = o.system.process, seen[-1]
    last = ddim_step(process, taught(rows, None, x, t), x, t, t - 1 / 6)
    torch.testing.assert_close(ddim_step(process, target, rows.x, rows.t, rows.t - 0.5), last, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="teacher_steps=1"):
        distilling(teacher_steps=1)


def test_a_system_that_is_given_frames_learns_to_go_on_from_them_in_fewer_steps():
    """thumb reads given frames in the clip itself: they stand there clean, are said to be given, and the loss leaves them out."""
    torch.manual_seed(0)
    o = build_objective("progressive", systems.build("thumb", tiny=True), {"steps": 2, "drop_text": 0.0, "known": {"take": "first", "counts": [1]}})
    b = batch()
    rows = o.rows(b, [0, 1, 2, 3], SEEDS, torch.full((4,), 1.0), False)
    assert rows.is_given.tolist() == [[True, False, False]] * 4
    assert torch.equal(rows.counts, ~rows.is_given)
    assert rows.t[:, 0].eq(0).all()
    torch.testing.assert_close(rows.x[:, :, 0], o.system.autoencoder.encode(b.video)[:, :, 0], atol=1e-5, rtol=1e-5)
    moved = o._taught_steps(rows, None)
    assert torch.equal(moved[:, :, 0], rows.x[:, :, 0])


def test_guidance_of_the_teacher_changes_what_is_learnt():
    plain, guided = distilling().loss(batch(), SEEDS).loss, distilling(guidance=6.0).loss(batch(), SEEDS).loss
    assert (plain - guided).abs().max() > 1e-4


@pytest.mark.slow
def test_a_student_of_half_the_steps_matches_two_steps_of_its_teacher():
    """On noise that training never saw, five times nearer than one long step of the teacher itself."""
    torch.manual_seed(0)
    o = distilling()
    process, net = o.system.process, o.system.denoiser
    optimizer = torch.optim.Adam(o.trainable().parameters(), lr=2e-3)
    from dataclasses import replace

    for step in range(300):
        b = replace(batch(), index=[4 * step + i for i in range(4)])
        optimizer.zero_grad()
        o.loss(b, [100 + 4 * step + i for i in range(4)]).loss.mean().backward()
        optimizer.step()
    rows = o.rows(batch(), range(4), [9001, 9002, 9003, 9004], torch.tensor([0.25, 0.5, 0.75, 1.0]), False)
    with torch.no_grad():
        wanted = o._taught_steps(rows, None)
        one = lambda network: process.to_x0(network(rows.x, rows.t, rows.doors, frame_is_given=rows.is_given, frame_index=rows.index), rows.x, rows.t)
        student, teacher = ((one(network) - wanted).square().mean() for network in (net, o.teacher))
    assert student < teacher / 5
