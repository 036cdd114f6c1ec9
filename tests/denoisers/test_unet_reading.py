"""What attention within a frame reads: its own frame, two others in its place, or the text once more."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from denoisers.test_unet_tables import STILL, change, moved
from denoisers.unet_tiny import IMAGE, inputs, video_net, waken
from flipbook.denoisers.unet import UNet
from flipbook.nn.clip import Clip
from flipbook.nn.transformer import SelfAttention


def layer_and_clip(frames=5, **told):
    torch.manual_seed(0)
    layer = waken(SelfAttention(16, 2, 8, "sparse_causal"))
    return layer, Clip(1, frames, torch.zeros(1, 1, 4), torch.arange(float(frames))[None], **told), torch.randn(1, frames, 2, 3, 16)


@torch.no_grad()
def test_a_frame_reads_the_first_frame_and_the_one_before_it_and_not_itself():
    layer, clip, x = layer_and_clip()
    heads = lambda y: y.reshape(-1, 2, 8).transpose(0, 1)                   # (heads, cells, d)
    for i in range(5):
        read = torch.cat([x[0, 0], x[0, max(i - 1, 0)]]).reshape(-1, 16)
        out = F.scaled_dot_product_attention(heads(layer.q(x[0, i])), heads(layer.k(read)), heads(layer.v(read)))
        torch.testing.assert_close(layer(x, clip)[0, i], layer.out(out.transpose(0, 1).reshape(2, 3, 16)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_frame_that_may_not_be_read_is_replaced_by_the_reader_itself():
    layer, _, x = layer_and_clip()
    attends = torch.eye(5, dtype=torch.bool)[None]
    attends[0, 3, 0] = True
    _, clip, _ = layer_and_clip(attends=attends)
    out = layer(x, clip)
    own = SelfAttention(16, 2, 8)
    own.load_state_dict(layer.state_dict())
    torch.testing.assert_close(out[:, [0, 1, 2, 4]], own(x, clip)[:, [0, 1, 2, 4]], atol=1e-5, rtol=1e-5)
    assert (out[:, 3] - own(x, clip)[:, 3]).abs().max() > 1e-3


def sparse_net():
    return video_net("lavie-interpolation", kv_frames="sparse_causal")


@torch.no_grad()
def test_frames_that_read_the_one_before_them_know_their_order_without_positions():
    net, (x, t, doors) = sparse_net(), inputs()
    order = torch.tensor([0, 2, 3, 1])
    assert (net(x[:, :, order], t, doors) - net(x, t, doors)[:, :, order]).abs().max() > 1e-3


@torch.no_grad()
def test_images_behind_the_clip_and_the_clip_do_not_touch_each_other_by_the_table_either():
    net, (x, t, doors) = sparse_net(), inputs()
    base = net(x, t, doors, image_only=STILL)
    assert moved(net(change(x, 0), t, doors, image_only=STILL), base)[2:].max() == 0
    by_image = moved(net(change(x, 2), t, doors, image_only=STILL), base)
    assert by_image[[0, 1, 3]].max() == 0
    alone = net(x[:, :, [2]], t, doors, image_only=STILL[:, [2]])
    torch.testing.assert_close(base[:, :, [2]], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_level_that_reads_text_alone_has_no_way_from_cell_to_cell_but_its_convolutions():
    net = waken(UNet(replace(IMAGE, text_alone=(True, True)))).eval()
    block = net.down[0].layers[0].transformer.blocks[0]
    assert block.attention.k.weight.shape == (16, 12)
    assert type(net.mid[0].transformer.blocks[0].attention) is SelfAttention      # the middle has none of them
    x, t, doors = inputs()
    told = net(x, t, doors)
    torch.testing.assert_close(net(x, t, net.prepare(doors)), told, atol=0, rtol=0)
    assert len(net.prepare(doors).keys_values) == 2 * 3 + 1                 # two a block: one layer down, two up; one in the middle


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match=r"kv_frames='both' is unknown. Try one of own, sparse_causal, first_frame"):
        replace(IMAGE, kv_frames="both")
    with pytest.raises(ValueError, match=r"text_alone=\(True, False\): a network with text_dim=None has no tokens"):
        replace(IMAGE, text_dim=None, text_alone=(True, False))
    with pytest.raises(ValueError, match="Give one per level"):
        replace(IMAGE, text_alone=(True,))
