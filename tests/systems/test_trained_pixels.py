"""What pixel systems claim, after a minute of the world."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.conditions import Text
from flipbook.long.known import Known
from flipbook.systems import make_a_video
from flipbook.systems.demo import SENTENCES
from systems.trained import UNSEEN, fresh, made, report, taught, world

SIDE = 16
MOVING = [s for s in SENTENCES if "moves" in s and "black" in s]


@pytest.mark.slow
def test_the_frame_between_two_known_ones_is_nearer_than_a_blend_of_them():
    """Make-A-Video's completion network. Not told the two, the same network is worse than the blend."""
    clips = world(frames=3, stride=6, side=SIDE, sentences=MOVING)
    system = fresh("make-a-video", replace(make_a_video.TINY, kind="interpolation"), latents=False)
    taught(system, {"train": ["denoiser"], "drop_text": 1.0, "known": {"take": "ends"}}, clips, steps=400, batch=10, lr=3e-3)
    truth = clips(8, UNSEEN).video
    ends = [(Text(), Known(frames=clip[:, [0, -1]], places=(0, 2))) for clip in truth]
    filled, untold = (made(system, asked, frames=3, fps=8 / 6, side=SIDE, steps=8) for asked in (ends, [(Text(),)] * 8))
    blend = truth[:, :, [0, -1]].mean(2, keepdim=True)
    error = lambda middle: (middle - truth[:, :, 1:2]).square().mean().item()
    errors = error(filled[:, :, 1:2]), error(blend), error(untold[:, :, 1:2])
    report(filled=errors[0], blend=errors[1], untold=errors[2])
    assert torch.isfinite(filled).all()
    assert errors[0] < 0.5 * errors[1]
    assert errors[2] > errors[1]


@pytest.mark.slow
def test_frames_that_are_all_known_are_given_back_because_the_loss_counts_them():
    """Make-A-Video's completion as it is trained (arXiv:2209.14792, 3.2), 300 updates: with nothing hidden, it is the identity. One that is asked for
    hidden frames alone has no answer to that. Of hidden frames both know more than a blend."""
    clips = world(frames=3, stride=6, side=SIDE, sentences=MOVING)
    truth = clips(8, UNSEEN).video
    error = lambda made, frames: (made - truth)[:, :, frames].square().mean().item()
    told = lambda places: [(Text(), Known(frames=clip[:, places], places=tuple(places))) for clip in truth]
    found = {}
    for counted in (True, False):
        system = fresh("make-a-video", replace(make_a_video.TINY, kind="interpolation"), latents=False)
        options = {"train": ["denoiser"], "drop_text": 1.0, "known": {"take": "any"}, "count_known": counted}
        taught(system, options, clips, steps=300, batch=10, lr=3e-3)
        make = lambda asked, system=system: made(system, asked, frames=3, fps=8 / 6, side=SIDE, steps=8)
        found[counted] = error(make(told([0, 1, 2])), [0, 1, 2]), error(make(told([0, 2])), [1]), error(make([(Text(),)] * 8), [0, 1, 2])
    blend = error(truth[:, :, [0, -1]].mean(2, keepdim=True).expand_as(truth), [1])
    (known, between, untold), (known_off, *_) = found[True], found[False]
    report(blend=blend, known=known, between=between, untold=untold, known_where_hidden_alone_count=known_off)
    assert known < 0.2 * untold
    assert known < 0.2 * known_off
    assert between < 0.9 * blend
