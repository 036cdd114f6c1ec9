"""What predictors of the next frame claim, after seconds to a minute of training."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from flipbook.autoencoders.pixels import Pixels, PixelsConfig
from flipbook.baselines.conv_lstm import ConvLSTM, ConvLSTMConfig
from flipbook.baselines.next_frame import NextFrame, NextFrameConfig
from flipbook.baselines.tcn import TCN, TCNConfig
from flipbook.long.frames import roll_frames
from moving_squares import squares
from systems.trained import report


def fitted(net, loss, *, updates, lr=3e-3):
    """The network after some updates; the rate falls to zero over the last half of them. loss: update -> scalar."""
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for k in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 2.0 * (1 - k / updates))
        loss(k).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return net.eval().requires_grad_(False)


# ---------------------------------------------------------------- optical flow


def wandering(n, first, frames=4, side=16, size=4):
    """Squares that jump by up to two pixels, another way each step, and the true fields back to the frame before."""
    video = torch.full((n, 3, frames, side, side), -1.0)
    field = torch.zeros(n, 2, frames - 1, side, side)
    for row in range(n):
        g = torch.Generator().manual_seed(104729 * (first + row) + 5)
        y, x, colour = (int(v) for v in torch.randint(0, side - size, (3,), generator=g))
        for t in range(frames):
            if t:
                dy, dx = (int(v) for v in torch.randint(-2, 3, (2,), generator=g))
                dy, dx = (d if 0 <= p + d <= side - size else -d for p, d in ((y, dy), (x, dx)))
                y, x = y + dy, x + dx
                field[row, :, t - 1, y : y + size, x : x + size] = torch.tensor([-dx, -dy]).view(2, 1, 1)
            video[row, colour % 3, t, y : y + size, x : x + size] = 1.0
    return video, field


@pytest.mark.slow
def test_a_predictor_that_reads_the_flow_knows_where_random_steps_lead():
    """The same network without the flow cannot know; the frame before, moved, leaves the square behind where it was."""

    def errors(motion):
        torch.manual_seed(0)
        net = NextFrame(NextFrameConfig(context=2, dim=48, depth=1, num_heads=2, motion=motion))

        def loss(first, n=16):
            video, field = wandering(n, first)
            said = roll_frames(net, video, 4, motion=field, own=torch.zeros(n, 4, dtype=torch.bool))
            return (said - video[:, :, 1:]).square().mean()

        fitted(net, lambda k: loss(16 * k), updates=250)
        return loss(1_000_000, 64).item()

    video, field = wandering(64, 1_000_000)
    from flipbook.baselines.predictor import MotionCompensation

    moved = roll_frames(MotionCompensation(), video, 4, motion=field, own=torch.zeros(64, 4, dtype=torch.bool))
    compensation = (moved - video[:, :, 1:]).square().mean().item()
    told, untold, copied = errors(True), errors(False), (video[:, :, :-1] - video[:, :, 1:]).square().mean().item()
    report(told=told, untold=untold, motion_compensation=compensation, copied=copied)
    assert told < 0.5 * untold
    assert told < 0.7 * compensation


# ---------------------------------------------------------------- own frames


PIXELS = Pixels(PixelsConfig(patch=2))
GIVEN = 3


def bouncing(n, first, frames):
    return PIXELS.encode(squares(n, first=first, frames=frames).video)


@cache
def lstm(own):
    """A ConvLSTM after 160 updates on true frames and 80 more, on which frames of its own are shown as often as `own`."""
    torch.manual_seed(0)
    net = ConvLSTM(ConvLSTMConfig(in_channels=12, dims=(32, 32), kernel=3))

    def loss(k):
        z = bouncing(8, 8 * k, 10)
        chance = own if k >= 160 else 0.0
        shown = torch.rand(8, 10, generator=torch.Generator().manual_seed(k)) < chance
        shown[:, :GIVEN] = False
        said = roll_frames(net, z, 10, own=shown)
        return (said - z[:, :, 1:])[:, :, GIVEN - 1 :].square().mean()

    return fitted(net, loss, updates=240)


def rollout_errors(net, count=GIVEN + 16):
    """The error of each frame behind the given ones of unseen clips."""
    z = bouncing(48, 1_000_000, count)
    said = roll_frames(net, z[:, :, :GIVEN], count)
    return (said - z[:, :, 1:]).square().mean((0, 1, 3, 4))[GIVEN - 1 :]


@pytest.mark.slow
def test_a_convlstm_beats_the_frame_before_by_two():
    z = bouncing(48, 1_000_000, 10)
    said = roll_frames(lstm(0.0), z, 10, own=torch.zeros(48, 10, dtype=torch.bool))
    error = (said - z[:, :, 1:])[:, :, GIVEN - 1 :].square().mean().item()
    copied = z.diff(dim=2)[:, :, GIVEN - 1 :].square().mean().item()
    report(error=error, copied=copied)
    assert error < 0.5 * copied


@pytest.mark.slow
def test_what_learnt_from_its_own_frames_drifts_less():
    """At the 16th frame of a rollout, against the same number of updates on true frames alone."""
    taught, scheduled = rollout_errors(lstm(0.0)), rollout_errors(lstm(0.7))
    report(taught_first=taught[0].item(), scheduled_first=scheduled[0].item(), taught_16=taught[15].item(), scheduled_16=scheduled[15].item())
    assert scheduled[15] < taught[15]


# ---------------------------------------------------------------- reach


PERIOD = 8


def flashes(n, first, frames=25):
    """A frame is bright every eighth time, from a moment that differs by clip."""
    video = torch.zeros(n, 1, frames, 4, 4)
    for row in range(n):
        video[row, :, (first + row) * 5 % PERIOD :: PERIOD] = 1.0
    return video


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [2, 3])
def test_a_reach_shorter_than_the_period_leaves_a_floor_and_a_longer_one_none(kernel):
    """The last flash tells of the next one; where it is out of reach the best guess is one in as many as are dark."""

    def floor(depth):
        torch.manual_seed(0)
        net = TCN(TCNConfig(in_channels=1, dim=16, kernel=kernel, depth=depth))

        def loss(first, n=8):
            video = flashes(n, first)
            return (net(video[:, :, :-1]) - video[:, :, 1:])[:, :, 15:].square().mean()

        fitted(net, lambda k: loss(8 * k), updates=150, lr=1e-2)
        return net.config.reach, loss(1_000_000).item()

    (short, blind), (long, seeing) = floor(1), floor(3)
    report(short=short, blind=blind, long=long, seeing=seeing)
    assert short < PERIOD <= long
    assert seeing < 0.05 * blind
