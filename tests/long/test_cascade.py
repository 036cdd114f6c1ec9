"""Cascades: data that is checked, runs that go on where they were stopped, stages that can be replaced."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.conditions import TEXT, Text
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.long.cascade import (
    Cascade,
    CascadeStage,
    from_data,
    run_cascade,
    run_stage,
    settings_from,
    stages_done,
    to_data,
)
from flipbook.long.known import by_channels, masked, plain
from flipbook.long.stage import levels_with_given, sample_stage
from flipbook.process import Cosine, Process
from flipbook.systems.base import System

SHAPE = {"height": 4, "width": 4, "num_inference_steps": 2, "guidance_scale": 1.0, "sampler": "ddim", "prompt": False}


class Net(torch.nn.Module):
    """A stand-in whose x0 is what it is told: its channels, or the first noise it sees."""

    def __init__(self, answer):
        super().__init__()
        self.config = SimpleNamespace(in_channels=3)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.answer, self.calls, self.seen = answer, 0, []

    def prepare(self, doors):
        return doors

    def forward(self, x, t, doors, *, frame_is_given, frame_index):
        self.calls += 1
        self.seen.append((x.clone(), doors))
        return self.answer(x, t, doors)


def system(answer, conditions=()):
    return System(
        name="stand-in", denoiser=Net(answer), autoencoder=Pixels(PixelsConfig(patch=1, scale=1.0)), text_encoder=None,
        process=Process(Cosine(), "x0"), conditions=conditions, defaults={"sampler": "ddim", "num_inference_steps": 2, "guidance_scale": 1.0},
    )  # fmt: skip


def stages(**changes):
    return Cascade("toy", (
        CascadeStage(name="keys", makes="clip", model="keys", num_frames=3, fps=2, **SHAPE),
        CascadeStage(name="between", makes="between", model="between", num_frames=9, fps=8, gap=4, **SHAPE),
        CascadeStage(name="larger", makes="larger", model="larger", num_frames=9, fps=8, window=4, overlap=1, **{**SHAPE, "height": 8, "width": 8, **changes}),
    ))  # fmt: skip


def models():
    def between(x, t, doors):
        first, last = doors.channels[:, :3, [0]], doors.channels[:, :3, [-1]]
        share = torch.linspace(0, 1, x.shape[2])[:, None, None]
        return torch.lerp(first.expand_as(x), last.expand_as(x), share)

    keys = lambda x, t, doors: torch.linspace(-1, 1, 3)[:, None, None].expand_as(x)
    return {
        "keys": system(keys),
        "between": system(between, (by_channels(masked),)),
        "larger": system(lambda x, t, doors: doors.channels, (by_channels(plain),)),
    }


def run(cascade, folder, parts, seed=0):
    return run_cascade(cascade, "", seed, folder, lambda name: (parts[name], name))


def test_oracles_make_every_frame_right_and_chunks_leave_no_seam(tmp_path):
    video = run(stages(), tmp_path, models())
    assert video.shape == (3, 9, 8, 8)
    torch.testing.assert_close(video[0, :, 3, 5], torch.linspace(-1, 1, 9), atol=1e-5, rtol=1e-5)


def test_a_killed_run_goes_on_at_the_unfinished_stage_and_gives_the_same_bits(tmp_path):
    whole = run(stages(), tmp_path / "whole", models())
    parts = models()

    def dies(x, t, doors):
        raise KeyboardInterrupt

    dying = {**parts, "between": system(dies, (by_channels(masked),))}
    with pytest.raises(KeyboardInterrupt):
        run(stages(), tmp_path / "killed", dying)
    assert [done for _, done in stages_done(stages(), tmp_path / "killed")] == [True, False, False]
    calls = parts["keys"].denoiser.calls
    assert torch.equal(run(stages(), tmp_path / "killed", parts), whole)
    assert parts["keys"].denoiser.calls == calls


def test_a_stage_whose_clip_is_too_large_to_decode_at_once_is_decoded_in_pieces_to_the_same_bits(tmp_path):
    class Small(Pixels):
        def decode(self, z):
            if z.shape[2] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().decode(z)

    parts = models()
    for part in parts.values():
        part.autoencoder = Small(PixelsConfig(patch=1, scale=1.0))
    assert torch.equal(run(stages(), tmp_path / "small", parts), run(stages(), tmp_path / "whole", models()))


def test_a_stage_that_died_while_writing_leaves_nothing_that_counts(tmp_path, monkeypatch):
    import os

    with monkeypatch.context() as m:
        m.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            run(stages(), tmp_path, models())
    assert not any(done for _, done in stages_done(stages(), tmp_path))
    parts = models()
    run(stages(), tmp_path, parts)
    assert parts["keys"].denoiser.calls == 2


def test_another_stage_or_seed_runs_again_with_those_behind_it_and_what_is_before_is_kept(tmp_path):
    run(stages(), tmp_path, models())
    for cascade, seed, ran in (
        (stages(), 0, [0, 0, 0]),
        (stages().with_stage("between", fps=7), 0, [0, 4, 6]),
        (stages().with_stage("larger", level=0.3), 0, [0, 4, 6]),
        (stages(), 1, [2, 4, 6]),
    ):
        parts = models()
        run(cascade, tmp_path, parts, seed)
        assert [parts[name].denoiser.calls for name in ("keys", "between", "larger")] == ran


def test_other_weights_or_words_run_again(tmp_path):
    def calls(prompt="", weights=""):
        parts = models()
        run_cascade(stages(), prompt, 0, tmp_path, lambda name: (parts[name], name + weights * (name == "between")))
        return [parts[name].denoiser.calls for name in ("keys", "between", "larger")]

    assert calls() == [2, 4, 6]
    assert calls() == [0, 0, 0]
    assert calls(weights=", tuned") == [0, 4, 6]                            # the file before them does not know of these weights
    assert calls(weights=", tuned", prompt="a red ball") == [2, 4, 6]


def test_frames_between_keys_are_made_pair_by_pair_or_in_a_window_of_the_whole_clip_at_once():
    plans = [list(stages().with_stage("between", window=window).stages[1].plan()) for window in (None, 5, 9)]
    assert [[step.frames for step in plan] for plan in plans] == [[(0, 1, 2, 3, 4), (4, 5, 6, 7, 8)]] * 2 + [[tuple(range(9))]]
    assert plans[2][0].observed == (0, 4, 8)


def test_a_damaged_file_is_made_again(tmp_path):
    whole = run(stages(), tmp_path, models())
    (tmp_path / "2-between.safetensors").write_bytes(b"half a file")
    assert torch.equal(run(stages(), tmp_path, models()), whole)


def test_passes_have_noise_of_their_own_or_all_the_same():
    for same in (False, True):
        net = system(lambda x, t, doors: x, (by_channels(masked),))
        stage = CascadeStage(name="b", makes="between", model="", num_frames=9, fps=8, gap=4, same_noise=same, **SHAPE)
        run_stage(stage, net, Text(), 0, torch.zeros(3, 3, 4, 4))
        first, _, third, _ = (x for x, _ in net.denoiser.seen)
        assert torch.equal(first, third) == same


def test_a_chunk_sees_the_frame_before_it_in_full_and_the_others_small():
    net = system(lambda x, t, doors: doors.channels + 0.25, (by_channels(plain),))
    stage = CascadeStage(name="l", makes="larger", model="", num_frames=7, fps=8, window=4, overlap=1, **{**SHAPE, "height": 8, "width": 8})
    video = run_stage(stage, net, Text(), 0, torch.zeros(3, 7, 4, 4))
    told = [doors.channels[0, 0, :, 0, 0] for _, doors in net.denoiser.seen][::2]
    torch.testing.assert_close(told[0], torch.zeros(4))
    torch.testing.assert_close(told[1], torch.tensor([0.25, 0, 0, 0]))       # frame 3 as the first chunk left it
    torch.testing.assert_close(video[0, :, 0, 0], torch.full((7,), 0.25))


@pytest.mark.parametrize("clean", [False, True])
def test_the_frame_before_a_chunk_is_noised_as_the_drafts_are_unless_it_stays_clean(clean):
    net = system(lambda x, t, doors: torch.full_like(x, 0.25), (by_channels(plain),))
    stage = CascadeStage(
        name="l", makes="larger", model="", num_frames=7, fps=8, window=4, overlap=1, level=0.5, clean=clean, **{**SHAPE, "height": 8, "width": 8},
    )
    run_stage(stage, net, Text(), 0, torch.zeros(3, 7, 4, 4))
    first, second = [doors.channels[0] for _, doors in net.denoiser.seen][::2]
    assert torch.equal(second[:, 0], torch.full_like(second[:, 0], 0.25)) == clean
    assert first.std() > 0.3
    assert second[:, 1:].std() > 0.3


def test_strength_zero_gives_the_draft_back_and_one_ignores_it():
    net = system(lambda x, t, doors: torch.zeros_like(x))
    draft = torch.rand(3, 2, 4, 4)
    stage = lambda strength: CascadeStage(name="a", makes="again", model="", num_frames=2, fps=8, strength=strength, **SHAPE)
    torch.testing.assert_close(run_stage(stage(0.0), net, Text(), 0, draft), draft)
    net.denoiser.seen.clear()
    run_stage(stage(1.0), net, Text(), 0, draft)
    run_stage(stage(1.0), net, Text(), 0, -draft)
    assert torch.equal(net.denoiser.seen[0][0], net.denoiser.seen[2][0])


def test_noise_that_frames_share_keeps_a_still_clip_still_and_noise_of_their_own_makes_it_flicker():
    """A network that sees each frame by itself (Make-A-Video's last stage)."""
    net = system(lambda x, t, doors: doors.channels + 0.1 * torch.tanh(x), (by_channels(plain),))
    still = torch.rand(3, 1, 4, 4).expand(3, 5, 4, 4)
    stage = lambda shared: CascadeStage(name="l", makes="larger", model="", num_frames=5, fps=8, shared_noise=shared, **{**SHAPE, "height": 8, "width": 8})
    shared, own = (run_stage(stage(s), net, Text(), 0, still) for s in (True, False))
    assert all(torch.equal(shared[:, i], shared[:, 0]) for i in range(5))
    assert (own[:, 1] - own[:, 0]).abs().max() > 1e-3


def test_given_frames_stay_at_a_level_of_their_own():
    matrix = levels_with_given(0.1)(4, 3, given=(0,))
    assert matrix[:, 0].tolist() == [0.1] * 5
    assert matrix[:, 1].tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_what_cannot_follow_is_refused_by_name():
    first = CascadeStage(name="keys", makes="clip", model="", num_frames=3, fps=2, **SHAPE)
    with pytest.raises(ValueError, match=r"'b' makes 8 frames.*num_frames=9"):
        Cascade("x", (first, CascadeStage(name="b", makes="between", model="", num_frames=8, fps=8, gap=4, **SHAPE)))
    with pytest.raises(ValueError, match="first stage that makes a clip"):
        Cascade("x", (CascadeStage(name="b", makes="larger", model="", num_frames=8, fps=8, **SHAPE),))
    with pytest.raises(ValueError, match=r"'b' makes 3 frames \(clip\) after"):
        Cascade("x", (first, replace(first, name="b")))
    with pytest.raises(ValueError, match="one name"):
        Cascade("x", (first, CascadeStage(name="keys", makes="larger", model="", num_frames=3, fps=8, **SHAPE)))
    with pytest.raises(ValueError, match="no stage 'bigger'"):
        stages().with_stage("bigger", level=0.1)
    with pytest.raises(ValueError, match=r"no field \['noise'\]"):
        stages().with_stage("larger", noise=0.1)


def test_cascades_are_data_there_and_back():
    assert from_data(to_data(stages())) == stages()
    with pytest.raises(ValueError, match=r"stages.0 has no field \['frames'\]"):
        from_data({"stages": [{**asdict(stages().stages[0]), "frames": 3}]})
    with pytest.raises(ValueError, match="says nothing of fps, height"):
        from_data({"stages": [{"name": "a", "makes": "clip", "model": "m", "num_frames": 3, "width": 8}]})
    assert settings_from(["larger.level=0.2", "keys.model=mine"]) == [("larger", {"level": 0.2}), ("keys", {"model": "mine"})]
    with pytest.raises(ValueError, match=r"stage\.field=value"):
        settings_from(["level=0.2"])


def test_a_stage_that_reads_words_is_guided_by_them():
    words = WordEncoder(WordEncoderConfig(words=("red",), dim=8, depth=1, num_heads=2))
    net = system(lambda x, t, doors: doors.tokens[:, :, 0].mean(1)[:, None, None, None, None].expand_as(x), (TEXT,))
    net.text_encoder = words
    sample = lambda scale: sample_stage(
        net, [(Text("red"),)], num_frames=1, fps=8, height=4, width=4, seeds=[0], num_inference_steps=1, guidance_scale=scale
    )
    null, told, far = sample(0.0), sample(1.0), sample(3.0)
    torch.testing.assert_close(far, null + 3 * (told - null))
    assert (told - null).abs().max() > 1e-5
