"""VideoLDM: an image model that stays what it is, whatever its temporal layers hold, while the mixers stand at 1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from denoisers.unet_tiny import waken
from flipbook.denoisers.unet import UNet, parameter_group
from flipbook.nn.doors import Doors
from flipbook.nn.inserts import InsertTable
from flipbook.systems import videoldm
from flipbook.systems.image_weights import start_from_image_model

IMAGE = replace(videoldm.TINY.image, inserts=InsertTable())


def image_model(seed=0):
    torch.manual_seed(seed)
    return waken(UNet(IMAGE), seed).eval()


def video_model(kind="keyframes"):
    """A video network with random temporal layers on the image model's weights, mixers as they are born."""
    torch.manual_seed(1)
    net = UNet(replace(videoldm.TINY, kind=kind).denoiser)
    for name, p in net.named_parameters():
        if "inserts" in name and "mixer" not in name:
            p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))) * 0.3
    start_from_image_model(net, image_model().state_dict())
    return net.eval()


def inputs(frames=4, **doors):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(1, 4, frames, 8, 8, generator=g)
    return x, torch.tensor([0.4]), Doors(tokens=torch.randn(1, 5, 32, generator=g), **doors)


@torch.no_grad()
def test_with_mixers_at_one_random_temporal_layers_change_nothing():
    net, image, (x, t, doors) = video_model(), image_model(), inputs()
    out = net(x, t, doors)
    for i in range(4):
        torch.testing.assert_close(out[:, :, [i]], image(x[:, :, [i]], t, doors), atol=1e-5, rtol=1e-5)
    for name, p in net.named_parameters():
        if name.endswith("mixer.p"):
            p.data.fill_(0.9)
    assert (net(x, t, doors) - out).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("kind", ["prediction", "interpolation", "upscaler"])
def test_further_input_channels_begin_silent(kind):
    net, image = video_model(kind), image_model()
    wide = net.config.channel_door
    x, t, doors = inputs(channels=torch.randn(1, wide, 4, 8, 8, generator=torch.Generator().manual_seed(8)))
    plain = replace(doors, channels=None)
    torch.testing.assert_close(net(x, t, doors)[:, :, [2]], image(x[:, :, [2]], t, plain), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_temporal_layers_fit_another_fine_tune_of_the_image_model():
    net, (x, t, doors) = video_model(), inputs()
    temporal = {name: p.clone() for name, p in net.named_parameters() if parameter_group(name) == "temporal"}
    other = {name: value + 0.01 * torch.randn_like(value) for name, value in image_model().state_dict().items()}
    fresh = start_from_image_model(net, other)
    assert all(torch.equal(p, temporal[name]) for name, p in net.named_parameters() if name in temporal)
    assert {parameter_group(name) for name in fresh} == {"temporal", "conditioning"}
    fine_tuned = UNet(IMAGE).eval()
    fine_tuned.load_state_dict(other)
    torch.testing.assert_close(net(x, t, doors)[:, :, [1]], fine_tuned(x[:, :, [1]], t, doors), atol=1e-5, rtol=1e-5)


def test_an_image_model_that_does_not_fit_is_refused_by_the_weights_name():
    state = image_model().state_dict()
    net = UNet(videoldm.TINY.denoiser)
    with pytest.raises(ValueError, match=r"lacks conv_out\.bias"):
        start_from_image_model(net, {k: v for k, v in state.items() if k != "conv_out.bias"})
    with pytest.raises(ValueError, match="has stray"):
        start_from_image_model(net, {**state, "stray": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"time_in\.weight is \(3, 3\)"):
        start_from_image_model(net, {**state, "time_in.weight": torch.zeros(3, 3)})


@torch.no_grad()
def test_frames_decoded_together_differ_from_frames_decoded_alone_and_encoded_ones_do_not():
    torch.manual_seed(0)
    autoencoder = videoldm.build(videoldm.TINY).autoencoder.eval()
    g = torch.Generator().manual_seed(0)
    x, z = torch.rand(1, 3, 3, 16, 16, generator=g), torch.randn(1, 4, 3, 8, 8, generator=g)
    alone = torch.cat([autoencoder.decode(z[:, :, [i]]) for i in range(3)], dim=2)
    assert (autoencoder.decode(z) - alone).abs().max() > 1e-3
    encoded = torch.cat([autoencoder.encode(x[:, :, [i]]) for i in range(3)], dim=2)
    torch.testing.assert_close(autoencoder.encode(x), encoded, atol=1e-5, rtol=1e-5)


def test_context_guidance_runs_with_the_context_and_without():
    """The null of known frames is the mask at zero, which training with no known frame has taught."""
    from flipbook.conditions import Size, Text, branches, empty_inputs
    from flipbook.long.known import Known

    torch.manual_seed(0)
    system = videoldm.build(replace(videoldm.TINY, kind="prediction"))
    size = Size(num_frames=4, fps=2, height=16, width=16)
    request = (Text("a red circle"), Known(frames=torch.rand(3, 2, 16, 16), places=(0, 1)))
    _, doors = branches(system.conditions, system, [request], empty_inputs(size, (4, 4, 8, 8), [0]))
    assert list(doors) == ["null", "known", "text"]
    assert not doors["null"].channels.any()
    assert doors["known"].channels[0, 4, :, 0, 0].tolist() == [1, 1, 0, 0]
    assert torch.equal(doors["text"].vector, torch.tensor([[2.0]]))
