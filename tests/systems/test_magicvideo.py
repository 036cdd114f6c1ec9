"""MagicVideo: attention that looks back, and an affine per frame."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from denoisers.unet_tiny import waken
from flipbook.denoisers.unet import UNet
from flipbook.nn.doors import Doors
from flipbook.nn.inserts import InsertTable
from flipbook.systems import magicvideo


def net(awake="", **changes):
    torch.manual_seed(0)
    return waken(UNet(replace(magicvideo.TINY, **changes).denoiser), only=awake).eval()


def inputs(frames=4):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(1, 4, frames, 8, 8, generator=g)
    return x, torch.tensor([0.4]), Doors(tokens=torch.randn(1, 5, 32, generator=g), vector=torch.tensor([[8.0]]))


@torch.no_grad()
@pytest.mark.parametrize("frame", [1, 2, 3])
def test_no_frame_is_touched_by_a_later_one(frame):
    video, (x, t, doors) = net(), inputs()
    later = x.clone()
    later[:, :, frame] += 1.0
    moved = (video(later, t, doors) - video(x, t, doors)).abs().amax((0, 1, 3, 4))
    assert not moved[:frame].any()
    assert (moved[frame:] > 1e-3).all()


@torch.no_grad()
def test_the_other_direction_is_not_kept():
    """The same check with the mask taken away finds frames that see the future."""
    video = net()
    rows = tuple(replace(row, kind=replace(row.kind, mask="full")) if hasattr(row.kind, "mask") else row for row in video.config.inserts.rows)
    open_net = UNet(replace(video.config, inserts=InsertTable(rows))).eval()
    open_net.load_state_dict(video.state_dict())
    x, t, doors = inputs()
    later = x.clone()
    later[:, :, 3] += 1.0
    assert (open_net(later, t, doors) - open_net(x, t, doors))[:, :, 0].abs().max() > 1e-3


@torch.no_grad()
def test_a_triangle_behind_the_softmax_lets_later_frames_show_in_earlier_ones():
    """As the paper prints it. Before the softmax, our default, they do not: the first test."""
    printed, (x, t, doors) = net(masks="weights"), inputs()
    printed.load_state_dict(net().state_dict())
    later = x.clone()
    later[:, :, 3] += 1.0
    moved = (printed(later, t, doors) - printed(x, t, doors)).abs().amax((0, 1, 3, 4))
    assert (moved[:3] > 1e-5).all()
    assert (printed(x, t, doors) - net()(x, t, doors)).abs().max() > 1e-3


def test_adaptors_add_exactly_two_numbers_per_channel_and_frame():
    video = net()
    adaptors = {name: p for name, p in video.named_parameters() if "frame_adaptor" in name}
    convs = [m for name, m in video.named_modules() if name.endswith(("conv1", "conv2"))]
    assert sum(p.numel() for p in adaptors.values()) == sum(2 * conv.out_channels * 4 for conv in convs)


@torch.no_grad()
def test_adaptors_of_another_length_are_refused_or_stretched_by_a_rule():
    x, t, doors = inputs(7)
    with pytest.raises(ValueError, match=r"hold 4 frames.*resample='linear'"):
        net()(x, t, doors)
    assert net(resample="linear")(x, t, doors).shape == x.shape


@torch.no_grad()
def test_with_adaptors_and_attention_at_birth_equal_frames_stay_equal():
    x, t, doors = inputs()
    same = x[:, :, :1].expand(-1, -1, 4, -1, -1)
    torch.manual_seed(0)
    born = waken(UNet(magicvideo.TINY.denoiser), only="conv_out").eval()
    out = born(same, t, doors)
    assert all(torch.equal(out[:, :, i], out[:, :, 0]) for i in range(4))
    moved = waken(born, only="frame_adaptor")(same, t, doors)
    assert (moved[:, :, 1] - moved[:, :, 0]).abs().max() > 1e-3
