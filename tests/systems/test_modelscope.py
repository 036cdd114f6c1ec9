"""ModelScopeT2V: what knows the order of frames, and what a still is."""

from __future__ import annotations

from dataclasses import replace

import torch

from denoisers.unet_tiny import waken
from flipbook.denoisers.unet import UNet
from flipbook.nn.doors import Doors
from flipbook.nn.inserts import InsertTable
from flipbook.systems import modelscope

ORDER = torch.tensor([2, 0, 3, 1])


def net():
    """Random image weights and temporal transformers; temporal convolutions as they are born."""
    torch.manual_seed(0)
    return waken(UNet(modelscope.TINY.denoiser), only="transformer").eval()


def inputs(frames=4):
    g = torch.Generator().manual_seed(3)
    return torch.randn(1, 4, frames, 8, 8, generator=g), torch.tensor([0.4]), Doors(tokens=torch.randn(1, 5, 32, generator=g))


def awake(video):
    return waken(waken(video, only="conv1"), only="conv_out").eval()


@torch.no_grad()
def test_frames_may_be_shuffled_until_the_last_of_the_four_convolutions_wakes():
    video, (x, t, doors) = awake(net()), inputs()
    torch.testing.assert_close(video(x[:, :, ORDER], t, doors), video(x, t, doors)[:, :, ORDER], atol=1e-5, rtol=1e-5)
    for name, p in video.named_parameters():
        if "temporal_conv" in name and ".convs.3." in name:
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(4)) * 0.1)
    assert (video(x[:, :, ORDER], t, doors) - video(x, t, doors)[:, :, ORDER]).abs().max() > 1e-3


@torch.no_grad()
def test_an_image_batch_is_the_image_model_while_a_clip_of_one_frame_still_passes_its_temporal_layers():
    torch.manual_seed(0)
    video = waken(UNet(modelscope.TINY.denoiser)).eval()
    image = UNet(replace(modelscope.TINY.denoiser, inserts=InsertTable())).eval()
    image.load_state_dict({key: value for key, value in video.state_dict().items() if "inserts" not in key})
    x, t, doors = inputs(1)
    still = torch.ones(1, 1, dtype=torch.bool)
    torch.testing.assert_close(video(x, t, doors, image_only=still), image(x, t, doors), atol=1e-5, rtol=1e-5)
    assert (video(x, t, doors) - image(x, t, doors)).abs().max() > 1e-3
    assert video(x, t, doors).isfinite().all()
