"""What VideoCrafter 2 claims of its two stages, after minutes of the world: pictures are learned from stills, movement stays."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.conditions import Text
from flipbook.data.batch import Batch
from flipbook.systems import videocrafter
from systems.trained import eight_that, fresh, image_model, made, report, taught, travel, world

SENTENCES = eight_that("moves right")


def out_of_focus(n: int, first: int) -> Batch:
    """Clips of which nothing is finer than five pixels."""
    batch = world(stride=4, sentences=SENTENCES)(n, first)
    frames = F.pad(batch.video.transpose(1, 2).flatten(0, 1), (2, 2, 2, 2), mode="replicate")
    soft = F.conv2d(frames, torch.ones(3, 1, 5, 5) / 25, groups=3).unflatten(0, (n, -1)).transpose(1, 2)
    return replace(batch, video=soft)


def standing(n: int, first: int) -> Batch:
    """Sharp stills as clips whose frames are all alike."""
    batch = world(stride=4, sentences=SENTENCES)(n, first)
    return replace(batch, video=batch.video[:, :, :1].expand_as(batch.video).contiguous())


def edges(video: Tensor) -> float:
    """The steepest step between neighbours as a share of the frame's range, mean over frames of (B, 3, T, H, W)."""
    return float((video.diff(dim=-1).abs().amax((1, 3, 4)) / (video.amax((1, 3, 4)) - video.amin((1, 3, 4)))).mean())


@pytest.mark.slow
def test_sharp_stills_make_soft_clips_sharper_and_they_move_on_unless_all_weights_learn_that_clips_are_stills():
    """All weights first learn from clips out of focus. Then spatial ones learn from stills; or, from the same weights, all of them from stills as clips."""
    asked = [(Text(sentence),) for sentence in SENTENCES * 2]
    system = fresh("videocrafter", videocrafter.TINY, image=image_model())
    taught(system, {"train": {"denoiser": "all", "text_encoder": "all"}}, out_of_focus, steps=600, batch=8)
    found = {"before": made(system, asked)}
    for groups, stills, size in (("spatial", world(frames=1, sentences=SENTENCES), 24), ("all", standing, 8)):
        stage = deepcopy(system)
        taught(stage, {"train": {"denoiser": groups}}, stills, steps=150, batch=size, lr=5e-4)
        found[groups] = made(stage, asked)
    report(**{f"{name}, {what}": of(video) for name, video in found.items() for what, of in (("edges", edges), ("pixels a frame", travel))})
    assert edges(found["spatial"]) > 1.1 * edges(found["before"])
    assert abs(travel(found["spatial"]) / travel(found["before"]) - 1) < 0.1
    assert travel(found["all"]) < 0.5 * travel(found["before"])
