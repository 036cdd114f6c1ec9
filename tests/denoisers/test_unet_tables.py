"""The checks that every published table of inserts must pass (letters: the shared checks of the base systems)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from denoisers.unet_tiny import image_net, inputs, tiny_table, video_net
from flipbook.denoisers.unet import UNet, parameter_group
from flipbook.denoisers.unet_tables import TABLES
from flipbook.nn.inserts import InsertTable

NAMES = [name for name in TABLES if name not in ("videocrafter", "show-1")]     # those two are ModelScope's table
every_table = pytest.mark.parametrize("name", NAMES)
STILL = torch.tensor([[False, False, True, True]]).expand(2, 4)                  # two clip frames, two appended images


def change(x, frame):
    x = x.clone()
    x[:, :, frame] += torch.randn(x[:, :, frame].shape, generator=torch.Generator().manual_seed(9))
    return x


def moved(a, b):
    """How far each frame moved, (T,)."""
    return (a - b).abs().amax((0, 1, 3, 4))


@every_table
def test_a_at_birth_the_clip_is_the_image_model_frame_by_frame(name):
    net, image, (x, t, doors) = video_net(name, awake=False), image_net(), inputs()
    out = net(x, t, doors)
    for i in range(4):
        torch.testing.assert_close(out[:, :, [i]], image(x[:, :, [i]], t, doors), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_image_norms_that_span_the_clip_break_it():
    """AnimateDiff v1 as its authors ran it (`norm="clip"`): silent modules, and all the same the frames are not the image model's."""
    image, (x, t, doors) = image_net(), inputs()
    by_frame = torch.cat([image(x[:, :, [i]], t, doors) for i in range(4)], dim=2)
    own, spanning = (video_net("animatediff-v1", awake=False, norm=norm)(x, t, doors) for norm in ("frame", "clip"))
    torch.testing.assert_close(own, by_frame, atol=1e-5, rtol=1e-5)
    assert (spanning - by_frame).abs().max() > 1e-3


@every_table
def test_b_images_among_the_frames_and_the_clip_do_not_touch_each_other(name):
    net, (x, t, doors) = video_net(name), inputs()
    base = net(x, t, doors, image_only=STILL)
    by_image = moved(net(change(x, 2), t, doors, image_only=STILL), base)
    assert (by_image[[0, 1, 3]] == 0).all()
    assert by_image[2] > 1e-3
    by_clip = moved(net(change(x, 0), t, doors, image_only=STILL), base)
    assert (by_clip[[2, 3]] == 0).all()


@every_table
def test_b_an_image_that_skips_is_what_the_image_model_makes_of_it(name):
    net, image, (x, t, doors) = video_net(name), image_net(), inputs()
    if any(row.bypass == "alone" for row in TABLES[name].rows):
        net = UNet(replace(net.config, inserts=InsertTable(tuple(replace(row, bypass="skip") for row in net.config.inserts.rows))))
        net.load_state_dict(video_net(name).state_dict())
    out = net.eval()(x, t, doors, image_only=torch.ones(2, 4, dtype=torch.bool))
    for i in range(4):
        torch.testing.assert_close(out[:, :, [i]], image(x[:, :, [i]], t, doors), atol=1e-5, rtol=1e-5)


@every_table
def test_c_without_the_switch_frames_do_touch_each_other(name):
    net, (x, t, doors) = video_net(name), inputs()
    by_first = moved(net(change(x, 0), t, doors), net(x, t, doors))
    assert by_first[1] > 1e-3
    assert (by_first > 1e-5).all()                           # a convolution reaches far frames by its depth


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lavie-interpolation"])     # its network tells by what frames read: test_unet.py
def test_d_the_order_of_frames_matters(name):
    net, (x, t, doors) = video_net(name), inputs()
    order = torch.tensor([2, 0, 3, 1])
    assert (net(x[:, :, order], t, doors) - net(x, t, doors)[:, :, order]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["make-a-video", "modelscope", "imagen-video-sr", "lavie-interpolation"])
def test_d_without_a_sense_of_order_frames_may_be_shuffled(name):
    """Tables whose only sense of order is their temporal convolution lose it when only the middle taps are left."""
    net, (x, t, doors) = video_net(name), inputs()
    for key, p in net.named_parameters():
        if "temporal_conv" in key and p.dim() == 3:
            p.data[:, :, : p.shape[-1] // 2] = 0
            p.data[:, :, p.shape[-1] // 2 + 1 :] = 0
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(net(x[:, :, order], t, doors), net(x, t, doors)[:, :, order], atol=1e-5, rtol=1e-5)


@every_table
def test_e_from_birth_every_temporal_weight_learns_after_a_step(name):
    net, (x, t, doors) = video_net(name, awake=False), inputs()
    weights = {key: p for key, p in net.named_parameters() if parameter_group(key) == "temporal"}
    target = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    optimiser = torch.optim.SGD(weights.values(), lr=0.1)
    for step in range(3):
        optimiser.zero_grad()
        (net(x, t, doors) - target).square().mean().backward()
        if step == 0:
            assert any(p.grad is not None and p.grad.any() for p in weights.values())
        optimiser.step()
    asleep = {key for key, p in weights.items() if p.grad is None or not p.grad.any()}
    mixers = {key.removesuffix("mixer.p"): p for key, p in weights.items() if key.endswith("mixer.p")}
    at_the_image = {prefix for prefix, p in mixers.items() if name == "video-ldm" and p >= 1}      # wants to stay, so its branch sleeps on
    assert not mixers or len(at_the_image) < len(mixers)
    assert not {key for key in asleep if not any(key.startswith(prefix) for prefix in at_the_image)}


@every_table
def test_f_a_causal_mask_lets_no_frame_see_the_future(name):
    """By attention, by convolution or by a norm. Networks whose norms span the clip say that they cannot."""
    (x, t, doors), causal = inputs(), torch.ones(4, 4).tril().bool()
    net = video_net(name)
    if any(getattr(row.kind, "norm", "frame") == "clip" for row in TABLES[name].rows):
        with pytest.raises(ValueError, match=r"normalises over whole clips.*norm='frame'"):
            net(x, t, doors, frame_attends=causal)
        frame_rows = tuple(replace(r, kind=replace(r.kind, norm="frame")) if hasattr(r.kind, "norm") else r for r in tiny_table(name).rows)
        net = UNet(replace(net.config, inserts=InsertTable(frame_rows)))
        net.load_state_dict(video_net(name).state_dict())
        net.eval()
    by_last = moved(net(change(x, 2), t, doors, frame_attends=causal), net(x, t, doors, frame_attends=causal))
    assert (by_last[:2] == 0).all()
    assert (by_last[2:] > 1e-3).all()


@every_table
def test_h_every_weight_belongs_to_one_stage_group_and_image_weights_keep_their_names(name):
    ours, image = dict(video_net(name).named_parameters()), dict(image_net().named_parameters())
    spatial = {key for key in ours if parameter_group(key) == "spatial"}
    assert spatial == image.keys()
    assert {parameter_group(key) for key in ours.keys() - spatial} == {"temporal"}
