"""Regression on trajectories: states lie on the teacher's way, the target is its end, a causal student sees what its cache will hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.guidance import guide
from flipbook.interop.folder import save_pretrained
from flipbook.long.streaming import Streaming
from flipbook.objectives.base import build_objective
from flipbook.objectives.taught import noise_of, tell
from flipbook.process.matrix import noise_levels
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.samplers import sample_euler
from objectives.test_matching import SEEDS, awake, clips


def objective(streaming=False, tmp_path=None, **options):
    system = awake()
    if streaming:
        save_pretrained(awake(1), tmp_path / "teacher")
        options |= {"teacher": str(tmp_path / "teacher"), "streaming": {"chunk": 2, "window": 2}}
    return build_objective("regression", system, {"steps": 2, "teacher_steps": 4, "given": 0.0} | options)


def way(o, batch):
    """What is told, the noise, the states and the end."""
    told = tell(o.system, o.teacher, batch, SEEDS, given=o.options.given, drop_text=0.0)
    noise = noise_of(told.z0, SEEDS, "trajectory")
    return told, noise, *o.trajectory(told, noise)


def test_states_lie_on_the_way_of_the_teachers_own_sampler():
    o = objective(guidance=3.0)
    told, noise, states, end = way(o, clips())
    process, matrix = o.teacher.process, noise_levels(4, 6)
    denoise = guide(
        {name: process.denoiser(o.teacher.denoiser, doors, frame_index=told.index) for name, doors in (("null", told.null), ("text", told.rich))},
        [("null", 1.0), ("text", 3.0)],
    )
    with torch.no_grad():
        torch.testing.assert_close(sample_euler(denoise, noise, process.path, matrix), end, atol=1e-4, rtol=0)
        torch.testing.assert_close(sample_euler(denoise, states[1], process.path, matrix[2:]), end, atol=1e-4, rtol=0)
    torch.testing.assert_close(states[0], noise)
    assert (way(objective(guidance=1.0), clips())[3] - end).abs().max() > 1e-3


def test_a_student_that_is_its_teacher_knows_the_end_from_the_last_level_and_not_from_noise():
    """The teacher's last step leads to its x0: there the error is 0, whatever the weights."""
    o = objective(steps=4, guidance=1.0)
    last, first = (o.loss(clips(), SEEDS, t=torch.full((4,), t)).loss for t in (0.25, 1.0))
    assert last.max() < 1e-9
    assert first.min() > 1e-4


def test_only_the_student_learns_and_a_few_updates_bring_it_nearer_to_the_end():
    o = objective()
    optimiser = torch.optim.Adam(o.trainable().parameters(), 3e-3)
    errors = []
    for _ in range(6):
        loss = o.loss(clips(), SEEDS).loss.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    assert errors[-1] < 0.8 * errors[0]
    assert all(p.grad is None for part in (o.teacher.denoiser, o.system.text_encoder, o.system.autoencoder) for p in part.parameters())


def test_a_causal_student_stands_at_a_level_in_each_chunk_and_sees_what_its_cache_will_hold(tmp_path):
    o, told = objective(streaming=True, tmp_path=tmp_path), []
    o.system.denoiser.register_forward_pre_hook(lambda net, args, how: told.append((args[1], how["frame_attends"])), with_kwargs=True)
    o.loss(clips(), SEEDS)
    ((t, attends),) = told
    assert torch.equal(attends, Streaming(chunk=2, window=2).attends(6))
    assert attends.int().tolist()[2:4] == [[1, 1, 1, 1, 0, 0]] * 2
    assert attends.int().tolist()[4] == [0, 0, 1, 1, 1, 1]
    assert torch.equal(t[:, 0::2], t[:, 1::2])
    places = o._places(range(400), 6)
    assert (places[:, 0] != places[:, 2]).float().mean() == pytest.approx(0.5, abs=0.1)
    assert places.unique().tolist() == [0, 1]
    whole = objective()._places(range(400), 6)
    assert torch.equal(whole, whole[:, :1].expand(-1, 6))


def test_given_frames_stay_on_the_whole_way_and_are_not_counted():
    o = objective(given=1.0)
    told, _, states, end = way(o, clips())
    here = told.given[:, None, :, None, None].expand_as(end)
    assert here.any()
    assert torch.equal(end[here], told.z0[here])
    assert all(torch.equal(state[here], told.z0[here]) for state in states)


def test_a_samples_loss_depends_on_its_seed_and_not_on_its_neighbours():
    o, b = objective(), clips()
    one = replace(b, video=b.video[1:2], captions=b.captions[1:2], frame_index=b.frame_index[1:2], fps=b.fps[1:2], index=b.index[1:2], source=b.source[1:2])
    torch.testing.assert_close(o.loss(one, SEEDS[1:2]).loss, o.loss(b, SEEDS).loss[1:2], atol=1e-5, rtol=1e-4)
    assert not torch.equal(o.loss(one, [99], t=torch.ones(1)).loss, o.loss(one, SEEDS[1:2], t=torch.ones(1)).loss)


def test_the_model_is_saved_with_the_settings_of_a_student(tmp_path):
    o = objective()
    assert {key: o.system.defaults[key] for key in ("num_inference_steps", "guidance_scale", "sampler")} == {
        "num_inference_steps": 2, "guidance_scale": 1.0, "sampler": "euler",
    }  # fmt: skip
    o.save(tmp_path / "model")
    assert o.samples(clips(), ["a red circle falls"], 0).shape == (1, 3, 6, 16, 16)


def test_what_cannot_teach_says_what_to_try(tmp_path):
    for options, says in (
        ({"steps": 2, "teacher_steps": 5}, "Try steps=2, teacher_steps=4"), ({"steps": 0}, "Try steps=1"), ({"pairs": 3}, r"no option \['pairs'\]"),
        ({"streaming": {"chunk": 2, "window": 2}}, "Try teacher: thumb"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            build_objective("regression", awake(), options)
    save_pretrained(awake(), tmp_path / "teacher")
    other = awake()
    other.process = Process(RectifiedFlow(shift=9.0), predicts="flow")
    with pytest.raises(ValueError, match="Try a teacher of the same path"):
        build_objective("regression", other, {"teacher": str(tmp_path / "teacher")})
