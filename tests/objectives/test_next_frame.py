"""Learning to predict the next frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.data.batch import collate
from flipbook.data.framing import Framing
from flipbook.data.sources.world import WorldSource
from flipbook.nn.warp import warp
from flipbook.objectives.base import build_objective
from flipbook.objectives.next_frame import fields_of
from moving_squares import squares

NAMES = ("next-frame", "convlstm", "tcn")


def objective(name="tcn", seed=0, **options):
    torch.manual_seed(seed)
    return build_objective("next_frame", systems.build(name, tiny=True), options)


def world_batch(n=2, **options):
    source = WorldSource("shapes", {"fields": True, **options}, Framing(num_frames=4, frame_stride=2, clip_frames=16, height=32, width=32), "train")
    return collate([source.sample(k, 0, k) for k in range(n)])


@pytest.mark.parametrize("name", NAMES)
def test_at_birth_the_error_is_that_of_the_frame_before_and_learning_makes_it_smaller(name):
    o, batch = objective(name), squares(4, frames=4)
    first = o.loss(batch, [1, 2, 3, 4])
    if name != "next-frame":                                                # which moves the frame from the first
        torch.testing.assert_close(first.loss, first.parts["copied"])
    optimiser = torch.optim.AdamW([p for p in o.trainable().parameters() if p.requires_grad], lr=3e-3)
    for _ in range(20):
        o.loss(batch, [1, 2, 3, 4]).loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert o.loss(batch, [1, 2, 3, 4]).loss.mean() < 0.95 * first.loss.mean()


def test_the_error_counts_the_frames_behind_the_given_ones():
    o, batch = objective(given=3), squares(2, frames=5)
    z = o.system.autoencoder.encode(batch.video)
    torch.testing.assert_close(o.loss(batch, [1, 2]).loss, (z[:, :, 3:] - z[:, :, 2:4]).square().mean((1, 2, 3, 4)))
    with pytest.raises(ValueError, match="nothing is left to predict"):
        objective(given=5).loss(batch, [1, 2])


def test_the_chance_of_own_frames_grows_over_the_ramp_and_spares_the_given():
    o = objective(given=2, own=0.6, ramp=1000)
    share = lambda k: o._own([k] * 400, list(range(400)), 6)[:, 2:].float().mean().item()
    assert share(0) == 0
    assert share(500) == pytest.approx(0.3, abs=0.05)
    assert share(5000) == pytest.approx(0.6, abs=0.05)
    with torch.no_grad():
        assert share(0) == pytest.approx(0.6, abs=0.05)                     # validation is the same at any time
    assert not o._own([5000] * 40, list(range(40)), 6)[:, :2].any()
    assert torch.equal(o._own([9, 9], [1, 2], 6), torch.cat([o._own([9], [1], 6), o._own([9], [2], 6)]))


def test_noise_is_shown_and_not_asked_for():
    o, batch = objective(noise=0.5), squares(3, frames=4)
    z = o.system.autoencoder.encode(batch.video)
    shown = o._shown(z, [1, 2, 3])
    levels = (shown - z).std((1, 2, 3, 4))
    assert ((levels > 0) & (levels < 0.5)).all()
    assert len(set(levels.tolist())) == 3
    with torch.no_grad():
        assert torch.equal(o._shown(z, [1, 2, 3]), z)


def test_the_worlds_fields_bring_each_frame_onto_the_next_and_a_search_comes_near():
    batch = world_batch()
    true, video = fields_of(batch), batch.video
    moved = warp(video[:, :, :-1], true)
    still = (video[:, :, 1:] - video[:, :, :-1]).abs().mean()
    assert (moved - video[:, :, 1:]).abs().mean() < 0.6 * still
    found = fields_of(replace(batch, extra=[]))
    assert found.shape == true.shape == (2, 2, 3, 32, 32)
    assert (warp(video[:, :, :-1], found) - video[:, :, 1:]).abs().mean() < 0.8 * still


def test_a_sheet_shows_clips_and_what_is_predicted_behind_their_beginning():
    o, batch = objective("next-frame", given=2), squares(2, frames=5)
    sheet = o.samples(batch, [], 0)
    assert sheet.shape == (4, 3, 5, 16, 16)
    torch.testing.assert_close(sheet[2:, :, :2], batch.video[:, :, :2])
    assert not torch.equal(sheet[2:, :, 2:], batch.video[:, :, 2:])


def test_other_networks_and_strange_options_are_refused():
    with pytest.raises(ValueError, match="DiT of thumb predicts no frames"):
        build_objective("next_frame", systems.build("thumb", tiny=True), {})
    with pytest.raises(ValueError, match=r"no option \['teacher'\].*unroll"):
        objective(teacher=1)
    with pytest.raises(ValueError, match="given=0"):
        objective(given=0)
    assert np.isfinite(objective(edges=1.0).loss(squares(1), [1]).loss.item())
