"""Predictors of the next frame, and the one loop that rolls them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flipbook.baselines.conv_lstm import ConvLSTM, ConvLSTMCell, ConvLSTMConfig
from flipbook.baselines.next_frame import NextFrame, NextFrameConfig
from flipbook.baselines.predictor import MotionCompensation
from flipbook.baselines.tcn import TCN, TCNConfig
from flipbook.long.frames import carried, on_grid, roll_frames
from flipbook.nn.causal import FeatureCache

NEXT = NextFrameConfig(context=3, patch=4, dim=16, depth=1, num_heads=2)
LSTM = ConvLSTMConfig(dims=(6, 5), kernel=3, peepholes=True)
DILATED = TCNConfig(in_channels=3, dim=8, kernel=3, depth=2)
PREDICTORS = {"next frame": (NextFrame, NEXT), "convlstm": (ConvLSTM, LSTM), "tcn": (TCN, DILATED)}


def net(name, seed=0, **changes):
    """Every weight random, so that all inputs matter."""
    torch.manual_seed(seed)
    made, config = PREDICTORS[name]
    model = made(type(config)(**{**vars(config), **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any() or parameter.dim() == 1:
                parameter.normal_(std=0.3)
    return model


def clip(batch=2, frames=8, side=8, seed=1):
    return torch.rand(batch, 3, frames, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def fields(batch=2, count=7, side=8, seed=2):
    return torch.randn(batch, 2, count, side, side, generator=torch.Generator().manual_seed(seed))


def translation(dx=2, dy=1, frames=6, side=16):
    """A texture that moves by whole pixels, and the fields back to the frame before."""
    wide = torch.rand(3, side + frames * dy, side + frames * dx, generator=torch.Generator().manual_seed(3)) * 2 - 1
    video = torch.stack([wide[:, (frames - t) * dy :, (frames - t) * dx :][:, :side, :side] for t in range(frames)], dim=1)
    field = torch.tensor([-float(dx), -float(dy)]).view(1, 2, 1, 1, 1).expand(1, 2, frames - 1, side, side)
    return video[None], field


# ---------------------------------------------------------------- flow


@torch.no_grad()
def test_a_translation_by_whole_pixels_is_exact_by_its_flow_and_wrong_by_the_reversed_one():
    video, field = translation()
    inside = (..., slice(2, None), slice(3, None))                         # what came from beyond the border is not known
    error = lambda said: (said - video[:, :, 1:])[inside].square().mean().item()
    torch.manual_seed(0)
    for predictor in (MotionCompensation(), NextFrame(NextFrameConfig(context=2, dim=16, depth=1, num_heads=2, covered=-60.0))):
        known = torch.zeros(1, 6, dtype=torch.bool)
        right = error(roll_frames(predictor, video, 6, motion=field, own=known))
        assert right < 1e-10
        assert error(roll_frames(predictor, video, 6, motion=-field, own=known)) > 0.01
        assert error(roll_frames(predictor, video, 6, own=known)) > 0.01   # without a field the frame stands still


@torch.no_grad()
def test_where_all_is_uncovered_the_frame_is_what_the_network_says_stands_there():
    model = net("next frame")
    model.head.bias[3 * 16 :] = 60.0
    past, frame = clip(frames=2), clip(frames=1, seed=9)[:, :, 0]
    said, _ = model.step(frame, fields()[:, :, 0], past)
    model.head.bias[3 * 16 :] = -60.0
    moved, _ = model.step(frame, fields()[:, :, 0], past)
    plain, _ = MotionCompensation().step(frame, fields()[:, :, 0], None)
    torch.testing.assert_close(moved, plain, atol=1e-6, rtol=0)
    assert (said - plain).abs().max() > 0.1


def test_motion_carries_on_with_what_moves():
    still = torch.zeros(1, 2, 8, 8)
    torch.testing.assert_close(carried(still + 1.5, 3), torch.full((1, 2, 3, 8, 8), 1.5))
    block = still.clone()
    block[:, 0, 3:5, 2:4] = -1.0                                            # a block that came from one pixel to the left
    later = carried(block, 3)
    for k in range(3):
        expected = still.clone()
        expected[:, 0, 3:5, 3 + k : 5 + k] = -1.0
        assert torch.equal(later[:, :, k], expected)                        # it takes its motion along
    slow = still.clone()
    slow[:, 1, 2, 2] = -0.4
    assert carried(slow, 5)[0, 1, 4].nonzero().tolist() == [[4, 2]]         # two pixels down in five frames
    assert carried(still, 0).shape == (1, 2, 0, 8, 8)
    torch.testing.assert_close(on_grid(torch.full((1, 2, 3, 8, 8), 4.0), 4), torch.full((1, 2, 3, 2, 2), 1.0))


# ---------------------------------------------------------------- the loop


@pytest.mark.parametrize("name", PREDICTORS)
@torch.no_grad()
def test_teacher_forcing_shows_the_truth_and_a_rollout_its_own_frames(name):
    model, video, motion = net(name), clip(), fields()
    taught = roll_frames(model, video, 8, motion=motion, own=torch.zeros(2, 8, dtype=torch.bool))
    rolled = roll_frames(model, video[:, :, :3], 8, motion=motion)
    torch.testing.assert_close(rolled[:, :, :3], taught[:, :, :3], atol=1e-6, rtol=0)          # frames 1 to 3 saw the same
    assert (rolled[:, :, 3] - taught[:, :, 3]).abs().max() > 1e-4
    fed = torch.cat([video[:, :, :3], rolled[:, :, 2:]], dim=2)             # the rollout's own frames as if they were there
    again = roll_frames(model, fed, 8, motion=motion, own=torch.zeros(2, 8, dtype=torch.bool))
    torch.testing.assert_close(again, rolled, atol=1e-5, rtol=0)


@torch.no_grad()
def test_scheduled_sampling_shows_the_frames_it_was_told_to_and_no_other():
    model, video, motion = net("next frame"), clip(), fields()
    own = torch.zeros(2, 8, dtype=torch.bool)
    own[0, 4] = True
    mixed = roll_frames(model, video, 8, motion=motion, own=own)
    shown = video.clone()
    shown[0, :, 4] = mixed[0, :, 3]                                         # what was said of frame 4, in the first clip alone
    torch.testing.assert_close(roll_frames(model, shown, 8, motion=motion, own=torch.zeros_like(own)), mixed, atol=1e-6, rtol=0)
    assert (mixed[0, :, 3] - video[0, :, 4]).abs().max() > 1e-2


@pytest.mark.parametrize("name", PREDICTORS)
@torch.no_grad()
def test_a_frame_depends_on_those_before_it_alone(name):
    model, video, motion = net(name), clip(), fields()
    taught = lambda v: roll_frames(model, v, 8, motion=motion, own=torch.zeros(2, 8, dtype=torch.bool))
    said, changed = taught(video), video.clone()
    changed[:, :, 4] += 0.5
    moved = (taught(changed) - said).abs().amax((0, 1, 3, 4)) > 1e-6        # of frames 1 to 7
    assert not moved[:4].any()
    assert moved[4]


@pytest.mark.parametrize("name", PREDICTORS)
@torch.no_grad()
def test_the_field_is_read_where_the_predictor_reads_it(name):
    video = clip()
    for reads in (True, False):
        model = net(name, motion=reads)
        a, b = (roll_frames(model, video[:, :, :1], 4, motion=fields(seed=seed)) for seed in (2, 3))
        assert ((a - b).abs().max() > 1e-4) == reads
        assert not torch.isnan(roll_frames(model, video[:, :, :1], 4)).any()                   # nobody knows it


@torch.no_grad()
def test_the_next_frame_is_told_by_the_last_m_frames():
    model, video = net("next frame"), clip()
    said = roll_frames(model, video, 8, own=torch.zeros(2, 8, dtype=torch.bool))
    changed = video.clone()
    changed[:, :, 3] += 0.5
    moved = (roll_frames(model, changed, 8, own=torch.zeros(2, 8, dtype=torch.bool)) - said).abs().amax((0, 1, 3, 4)) > 1e-7
    assert moved.tolist() == [False, False, False, True, True, True, False]  # frames 4, 5, 6 and no later one: m = 3
    with pytest.raises(ValueError, match="multiples of 4"):
        model.step(torch.zeros(1, 3, 6, 6), None, None)


def test_gradients_flow_through_as_many_own_frames_as_are_unrolled():
    model, video = net("next frame", context=1, motion=False), clip()
    own = torch.zeros(2, 8, dtype=torch.bool)
    own[:, 1:] = True
    for unroll, reached in ((1, False), (100, True)):
        first = roll_frames(model, video, 8, own=own, unroll=unroll)
        weights = torch.autograd.grad(first[:, :, 3].sum(), model.head.weight)[0]
        alone = torch.autograd.grad(model.step(first[:, :, 2].detach(), None, None)[0].sum(), model.head.weight)[0]
        assert (not torch.allclose(weights, alone, atol=1e-6)) == reached


@pytest.mark.parametrize("name", PREDICTORS)
def test_under_autocast_frames_keep_their_dtype_and_almost_their_values(name):
    """As in training: products in bfloat16, frames in float32, true and own ones mixed."""
    model, video, motion = net(name), clip(), fields()
    own = torch.zeros(2, 8, dtype=torch.bool)
    own[0, 4:] = True
    exact = roll_frames(model, video, 8, motion=motion, own=own)
    with torch.autocast("cpu", torch.bfloat16):
        said = roll_frames(model, video, 8, motion=motion, own=own)
    assert said.dtype == torch.float32
    assert (said - exact).abs().mean() < 0.05 * exact.abs().mean()
    said.square().mean().backward()


def test_frames_that_are_not_there_cannot_be_shown():
    with pytest.raises(ValueError, match="3 frames are there of 5"):
        roll_frames(net("tcn"), clip(frames=3), 5, own=torch.zeros(2, 5, dtype=torch.bool))


# ---------------------------------------------------------------- ConvLSTM


@torch.no_grad()
def test_a_cell_on_one_pixel_is_torchs_lstm_cell():
    torch.manual_seed(0)
    ours, theirs = ConvLSTMCell(3, 4, 1), nn.LSTMCell(3, 4)
    i, f, g, o = range(4)                                                   # torch's order; ours is i, f, o, g
    rows = torch.cat([torch.arange(4) + 4 * k for k in (i, f, o, g)])
    ours.conv.weight.copy_(torch.cat([theirs.weight_ih, theirs.weight_hh], 1)[rows][..., None, None])
    ours.conv.bias.copy_((theirs.bias_ih + theirs.bias_hh)[rows])
    state, expected = None, None
    for x in torch.randn(5, 2, 3):
        state, expected = ours(x[..., None, None], state), theirs(x, expected)
    for a, b in zip(state, expected, strict=True):
        torch.testing.assert_close(a[..., 0, 0], b, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_cell_that_forgets_nothing_and_takes_nothing_keeps_its_bits():
    cell = ConvLSTMCell(2, 3, 3)
    cell.conv.weight.zero_()
    cell.conv.bias.copy_(torch.tensor([-200.0, 200.0, 0.0, 0.0]).repeat_interleave(3))
    c = torch.randn(1, 3, 4, 4)
    h, kept = cell(torch.randn(1, 2, 4, 4), (torch.zeros_like(c), c))
    assert torch.equal(kept, c)
    torch.testing.assert_close(h, 0.5 * torch.tanh(c))
    assert torch.equal(ConvLSTMCell(2, 3, 3).conv.bias[3:6], torch.ones(3))  # at birth it remembers


@torch.no_grad()
def test_peepholes_let_gates_see_the_cell():
    torch.manual_seed(0)
    cell = ConvLSTMCell(1, 1, 1, peepholes=True)
    cell.peep.copy_(torch.tensor([0.5, -0.7, 0.9]).view(3, 1, 1, 1))
    x, h, c = (torch.tensor([[[[v]]]]) for v in (0.3, -0.2, 0.8))
    i, f, o, g = (cell.conv.weight.flatten(1) @ torch.tensor([0.3, -0.2]) + cell.conv.bias).tolist()
    new = torch.sigmoid(torch.tensor(f - 0.7 * 0.8)) * 0.8 + torch.sigmoid(torch.tensor(i + 0.5 * 0.8)) * torch.tanh(torch.tensor(g))
    out, kept = cell(x, (h, c))
    torch.testing.assert_close(kept.flatten(), new[None])
    torch.testing.assert_close(out.flatten(), torch.sigmoid(o + 0.9 * new)[None] * torch.tanh(new))


@torch.no_grad()
def test_around_a_torus_a_moved_clip_is_predicted_as_moved():
    model, video = net("convlstm", border="circular"), clip()
    taught = lambda v: roll_frames(model, v[:, :, :2], 6)
    torch.testing.assert_close(taught(video.roll((3, 2), (3, 4))), taught(video).roll((3, 2), (3, 4)), atol=1e-5, rtol=0)


# ---------------------------------------------------------------- TCN


@torch.no_grad()
def test_all_frames_at_once_are_the_frames_one_by_one_and_chunk_by_chunk():
    model, video = net("tcn"), clip()
    whole = model(video[:, :, :7])
    assert torch.equal(roll_frames(model, video, 8, own=torch.zeros(2, 8, dtype=torch.bool)), whole)
    memory, said = None, []
    for t in range(7):
        frame, memory = model.step(video[:, :, t], None, memory)
        said.append(frame)
    torch.testing.assert_close(torch.stack(said, dim=2), whole, atol=1e-5, rtol=0)
    cache = FeatureCache()
    chunks = torch.cat([model(part, None, cache) for part in video[:, :, :7].split([3, 1, 3], dim=2)], dim=2)
    torch.testing.assert_close(chunks, whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_impulse_is_felt_for_exactly_the_reach():
    model = net("tcn")
    assert model.config.reach == 1 + 2 * 2 * 3 == 13
    video = torch.zeros(1, 3, 20, 8, 8)
    for conv in (module for block in model.blocks for module in (block.conv1, block.conv2)):
        conv.parametrizations.weight.original1.abs_()                       # nothing dies in a ReLU
        conv.bias.fill_(0.5)
    model.encoder[2].bias.fill_(5.0)
    hit = video.clone()
    hit[:, :, 3] = 0.1
    felt = (model(hit) - model(video)).abs().amax((0, 1, 3, 4)) > 1e-7
    assert felt.nonzero().flatten().tolist() == list(range(3, 3 + 13))
