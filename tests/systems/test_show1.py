"""Show-1: four stages, whose frames fall where the paper has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from denoisers.unet_tiny import waken
from flipbook.conditions import Text
from flipbook.long.cascade import Cascade, run_cascade, run_stage
from flipbook.systems import show1


def tiny_cascade():
    """The published plan at toy size and two steps a stage."""
    plan = show1.cascade(num_frames=3, height=4, width=4, final=(8, 8))
    return Cascade("show1", tuple(replace(s, num_inference_steps=2, window=4 if s.window else None, level=min(s.level, 0.25)) for s in plan.stages))


def models():
    made = {}
    for kind in ("keyframes", "interpolation", "upscaler", "expert"):
        torch.manual_seed(0)
        made[f"show1-{kind}"] = system = show1.build(replace(show1.TINY, kind=kind))
        waken(system.denoiser)
        system.eval()
    return made


def test_eight_keys_become_twenty_nine_frames_in_four_stages():
    plan = show1.cascade()
    assert [s.num_frames for s in plan.stages] == [8, 29, 29, 29]
    assert [(s.height, s.width) for s in plan.stages] == [(40, 64), (40, 64), (160, 256), (320, 576)]
    chunks = list(plan.stages[2].plan())
    assert [len(c.observed) for c in chunks] == [0, 1, 1, 1]
    assert sorted(f for c in chunks for f in c.generated) == list(range(29))


def test_the_keys_stand_untouched_among_the_frames_between_them():
    parts, plan = models(), tiny_cascade()
    keys = run_stage(plan.stages[0], parts["show1-keyframes"], Text("a red circle"), 0)
    between = run_stage(plan.stages[1], parts["show1-interpolation"], Text("a red circle"), 0, keys)
    assert between.shape[1] == 9
    assert torch.equal(between[:, ::4], keys)


def test_all_pairs_have_one_noise_so_equal_pairs_have_equal_frames_between():
    parts, plan = models(), tiny_cascade()
    still = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).expand(3, 3, 4, 4)
    same = run_stage(plan.stages[1], parts["show1-interpolation"], Text(), 0, still)
    assert torch.equal(same[:, 1:4], same[:, 5:8])
    own = run_stage(replace(plan.stages[1], same_noise=False), parts["show1-interpolation"], Text(), 0, still)
    assert not torch.equal(own[:, 1:4], own[:, 5:8])


def test_all_four_stages_run_from_a_sentence_to_a_clip_and_again_from_their_files(tmp_path):
    parts, plan = models(), tiny_cascade()
    load = lambda name: (parts[name], name)
    video = run_cascade(plan, "a red circle falls", 0, tmp_path, load)
    assert video.shape == (3, 9, 8, 8)
    assert video.isfinite().all()
    assert torch.equal(run_cascade(plan, "a red circle falls", 0, tmp_path, load), video)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(("kind", "door"), [("keyframes", 0), ("interpolation", 4), ("upscaler", 3), ("expert", 0)])
def test_each_model_reads_the_channels_of_its_stage(kind, door):
    config = replace(show1.TINY, kind=kind).denoiser
    assert config.channel_door == door
    assert config.in_channels == (4 if kind == "expert" else 3)
    with pytest.raises(ValueError, match="Try one of keyframes"):
        replace(show1.TINY, kind="upscale")
