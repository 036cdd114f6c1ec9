"""The doors of the U-Net, its clock, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch

from denoisers.unet_tiny import IMAGE, image_net, inputs, tiny_table, video_net, waken
from flipbook.denoisers.unet import UNet, UNetConfig, clock_reading
from flipbook.denoisers.unet_tables import TABLES
from flipbook.nn.inserts.micro_conditioning import Classes, Projected, Scalars


def same(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=atol)


def far(a, b):
    return (a - b).abs().max() > 1e-3


def test_at_birth_the_prediction_is_exactly_zero():
    torch.manual_seed(0)
    assert not UNet(IMAGE)(*inputs()).any()


@pytest.mark.parametrize("name", ["svd", "animatediff-v2"])
def test_one_noise_level_per_clip_means_the_same_level_in_every_frame(name):
    net, (x, t, doors) = video_net(name), inputs()
    same(net(x, t, doors), net(x, t[:, None].expand(2, 4), doors))


def test_an_image_network_hears_the_noise_level_of_each_frame_in_that_frame_alone():
    net, (x, t, doors) = image_net(), inputs()
    levels = t[:, None].repeat(1, 4)
    levels[:, 2] = 0.0
    out = net(x, levels, doors)
    same(out[:, :, :2], net(x, t, doors)[:, :, :2])
    same(out[:, :, [2]], net(x[:, :, [2]], torch.zeros(2), doors))


def test_given_frames_have_a_clock_of_their_own_that_is_silent_at_birth():
    x, t, doors = inputs()
    given = torch.tensor([[True, False, False, False]]).expand(2, 4)
    net = UNet(replace(IMAGE, given_clock=True)).eval()
    net.load_state_dict(image_net().state_dict(), strict=False)
    same(net(x, t, doors, frame_is_given=given), image_net()(x, t, doors))
    waken(net, only="given")
    out = net(x, t, doors, frame_is_given=given)
    assert far(out[:, :, 0], image_net()(x, t, doors)[:, :, 0])
    same(out[:, :, 1:], image_net()(x, t, doors)[:, :, 1:])


@pytest.mark.parametrize("name", ["lavie", "svd"])
def test_what_prepare_computes_once_changes_nothing(name):
    net, (x, t, doors) = video_net(name), inputs()
    same(net(x, t, net.prepare(doors)), net(x, t, doors), atol=0)
    assert net.prepare(doors).keys_values[0][0].shape[:2] == (2, 5)          # per clip, not per frame


def test_a_text_for_each_frame_is_read_by_that_frame():
    net, (x, t, doors) = image_net(), inputs()
    repeated = doors.tokens[:, None].repeat(1, 4, 1, 1)
    same(net(x, t, doors.with_(tokens=repeated)), net(x, t, doors))
    repeated[:, 1] += 1.0
    moved = (net(x, t, doors.with_(tokens=repeated)) - net(x, t, doors)).abs().amax((0, 1, 3, 4))
    assert moved[1] > 1e-3
    assert (moved[[0, 2, 3]] < 1e-5).all()


@pytest.mark.parametrize("per_frame", [False, True])
def test_words_behind_the_mask_are_not_read(per_frame):
    net, (x, t, doors) = image_net(), inputs()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    tokens = doors.tokens[:, None].repeat(1, 4, 1, 1) if per_frame else doors.tokens
    other = tokens.clone()
    other[1, ..., 3:, :] += 5.0
    base = net(x, t, doors.with_(tokens=tokens, token_mask=mask))
    same(net(x, t, doors.with_(tokens=other, token_mask=mask)), base, atol=0)
    assert far(net(x, t, doors.with_(tokens=other)), base)


def test_svd_reads_the_first_frames_text_over_time():
    net, (x, t, doors) = video_net("svd"), inputs()
    tokens = doors.tokens[:, None].repeat(1, 4, 1, 1)
    same(net(x, t, doors.with_(tokens=tokens)), net(x, t, doors))
    last, first = tokens.clone(), tokens.clone()
    last[:, 3] += 1.0
    first[:, 0] += 1.0
    reach = [(net(x, t, doors.with_(tokens=other)) - net(x, t, doors)).abs().amax((0, 1, 3, 4)) for other in (last, first)]
    assert reach[1][3] > 0.05 * reach[1][0]


def test_numbers_vectors_and_classes_share_the_vector_door():
    parts = (Scalars(names=("fps", "motion"), frequencies=8), Projected(width=3), Classes(num_classes=5))
    net, (x, t, doors) = UNet(replace(IMAGE, vector=parts)).eval(), inputs()
    net.load_state_dict(image_net().state_dict(), strict=False)
    vector = torch.tensor([[8.0, 100.0, 0.1, 0.2, 0.3, 4.0], [24.0, 10.0, 0.1, 0.2, 0.3, 2.0]])
    same(net(x, t, doors.with_(vector=vector)), image_net()(x, t, doors))    # silent at birth
    waken(net, only="vector")
    base = net(x, t, doors.with_(vector=vector))
    for column in (0, 1, 3, 5):
        other = vector.clone()
        other[:, column] = 1.0
        assert far(net(x, t, doors.with_(vector=other)), base)
    with pytest.raises(ValueError, match="5 wide, this network reads 6"):
        net(x, t, doors.with_(vector=vector[:, 1:]))


def test_the_channels_door_joins_the_input():
    net, (x, t, doors) = waken(UNet(replace(IMAGE, channel_door=2))).eval(), inputs()
    channels = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    joined = waken(UNet(replace(IMAGE, in_channels=6, out_channels=4))).eval()
    same(net(x, t, doors.with_(channels=channels)), joined(torch.cat([x, channels], 1), t, doors))
    with pytest.raises(ValueError, match="holds 0 channels, this network reads 2"):
        net(x, t, doors)


def test_residuals_enter_as_control_branches_feed_them():
    """One map per step of the way down and one for the middle; a map of zeros says nothing, each other one is heard."""
    net, (x, t, doors) = image_net(), inputs()
    shapes = [(16, 8), (16, 8), (16, 4), (32, 4), (32, 4)]
    silent = [torch.zeros(2, c, 4, size, size) for c, size in shapes]
    base = net(x, t, doors)
    same(net(x, t, doors.with_(residuals=silent)), base, atol=0)
    for i, (c, size) in enumerate(shapes):
        loud = list(silent)
        loud[i] = torch.zeros(2, c, 4, size, size)
        loud[i][:, :, 1] = 1.0
        moved = (net(x, t, doors.with_(residuals=loud)) - base).abs().amax((0, 1, 3, 4))
        assert moved[1] > 1e-3, i
        assert (moved[[0, 2, 3]] == 0).all()
    with pytest.raises(ValueError, match="holds 4 maps, this network takes 4 for the way down and 1 for the middle"):
        net(x, t, doors.with_(residuals=silent[:4]))


def test_odd_sizes_come_back_as_they_went_in():
    net, (x, t, doors) = video_net("svd"), inputs(size=7)
    assert net(x, t, doors).shape == x.shape


def test_a_sample_does_not_depend_on_its_batch():
    net, (x, t, doors) = video_net("modelscope"), inputs()
    same(net(x, t, doors)[1:], net(x[1:], t[1:], doors.select(slice(1, 2))))


def test_frames_may_stand_anywhere_in_time_and_only_their_distance_counts_for_relative_positions():
    (x, t, doors), late = inputs(), torch.arange(4.0).expand(2, 4) + 5
    for name in ("lavie", "lvdm", "vdm"):
        net = video_net(name)
        same(net(x, t, doors, frame_index=late), net(x, t, doors), atol=1e-4)
        assert far(net(x, t, doors, frame_index=3 * late), net(x, t, doors))
    net = video_net("animatediff-v2")
    assert far(net(x, t, doors, frame_index=late), net(x, t, doors))
    with pytest.raises(ValueError, match=r"reaches 32: .* 32 frames"):
        net(x, t, doors, frame_index=late + 24)


def test_the_clock_reads_whole_levels_exactly_and_edm_as_a_quarter_of_ln_sigma():
    levels = torch.arange(1000)
    assert torch.equal(clock_reading((levels + 1).float() / 1000, IMAGE), levels.float())
    sigma = torch.tensor([0.002, 0.5, 700.0], dtype=torch.float64)
    edm = replace(IMAGE, clock="edm")
    torch.testing.assert_close(clock_reading(torch.atan(sigma) * (2 / math.pi), edm), (0.25 * sigma.log()).float())
    assert clock_reading(torch.tensor([0.0, 1.0]), edm).isfinite().all()


@pytest.mark.parametrize("name", list(TABLES))
def test_a_config_survives_json(name):
    import json

    config = replace(IMAGE, inserts=tiny_table(name), vector=(Scalars(), Classes()))
    plain = {field: asdict(value) if field == "inserts" else value for field, value in config.__dict__.items()}
    plain["vector"] = [asdict(part) for part in config.vector]
    assert UNetConfig(**json.loads(json.dumps(plain))) == config


def test_configs_that_cannot_work_say_what_to_try():
    with pytest.raises(ValueError, match=r"either `heads`.*or `head_dim`"):
        UNetConfig()
    with pytest.raises(ValueError, match=r"depths=.* has 2 entries"):
        UNetConfig(head_dim=8, depths=(1, 1))
    with pytest.raises(ValueError, match="20 channels does not divide into 8 groups"):
        replace(IMAGE, widths=(20, 32))
    with pytest.raises(ValueError, match="reads tokens"):
        image_net()(*inputs()[:2])
    x, t, doors = inputs(frames=3)
    with pytest.raises(ValueError, match=r"num_frames=3.*hold 4 frames.*resample"):
        video_net("magic-video")(x, t, doors)
