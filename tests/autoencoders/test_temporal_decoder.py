"""The decoder that knows time against its reference, and what its frames see of each other."""

from __future__ import annotations

import pytest
import torch

from autoencoder_peers import clip, randomised, translated
from flipbook.autoencoders.temporal_decoder import TemporalDecoderAutoencoder, TemporalDecoderAutoencoderConfig
from flipbook.interop.keys import autoencoder_temporal_decoder as keys
from flipbook.interop.keys_apply import translate
from flipbook.shapes import fold_frames, unfold_frames


def reference():
    from diffusers import AutoencoderKLTemporalDecoder

    return randomised(AutoencoderKLTemporalDecoder(block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=2))


@pytest.fixture(scope="module")
def pair():
    peer = reference()
    return peer, translated(TemporalDecoderAutoencoder, keys, peer)


def tiny():
    torch.manual_seed(0)
    return TemporalDecoderAutoencoder(TemporalDecoderAutoencoderConfig(dims=(8, 16), groups=8))


def test_latents_and_frames_are_those_of_the_reference(pair):
    peer, net = pair
    x = clip(frames=4)
    z = net.encode(x)
    expected = unfold_frames(peer.encode(fold_frames(x)).latent_dist.mode(), 2) * 0.18215
    torch.testing.assert_close(z, expected, atol=1e-4, rtol=1e-4)
    frames = unfold_frames(peer.decode(fold_frames(z) / 0.18215, num_frames=4).sample, 2)
    torch.testing.assert_close(net.decode(z), frames, atol=1e-4, rtol=1e-4)
    assert frames.std() > 0.1


def test_full_size_has_the_public_shapes():
    from diffusers import AutoencoderKLTemporalDecoder

    with torch.device("meta"):
        peer = AutoencoderKLTemporalDecoder(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2)
        net = TemporalDecoderAutoencoder(TemporalDecoderAutoencoderConfig())
    made = translate(peer.state_dict(), keys.RULES, net.state_dict())
    assert sum(v.numel() for v in made.values()) == sum(p.numel() for p in peer.parameters()) == 97_742_847
    assert keys.config(dict(peer.config), "x") == net.config


def test_decoding_together_differs_from_one_by_one_and_encoding_does_not(pair):
    _, net = pair
    x = clip(frames=4)
    z = net.encode(x)
    alone = torch.cat([net.encode(x[:, :, i : i + 1]) for i in range(4)], dim=2)
    torch.testing.assert_close(z, alone, atol=1e-5, rtol=1e-5)
    one_by_one = torch.cat([net.decode(z[:, :, i : i + 1]) for i in range(4)], dim=2)
    assert (net.decode(z) - one_by_one).abs().max() > 0.1


def test_without_its_mixers_and_last_convolution_no_frame_sees_another(pair):
    _, trained = pair
    net = TemporalDecoderAutoencoder(trained.config)
    net.load_state_dict(trained.state_dict())
    net.requires_grad_(False)
    for name, parameter in net.temporal_parameters():
        if name.endswith(".mix"):
            parameter.fill_(-1e4)                    # sigmoid: the temporal branch has no weight
        elif ".time_out." in name:
            parameter.zero_()
    net.decoder.time_out.weight[:, :, 1, 0] = torch.eye(3)
    z = net.encode(clip(frames=3))
    one_by_one = torch.cat([net.decode(z[:, :, i : i + 1]) for i in range(3)], dim=2)
    torch.testing.assert_close(net.decode(z), one_by_one, atol=1e-5, rtol=1e-5)


def test_fine_tuning_the_temporal_layers_leaves_all_others_bit_for_bit_and_moves_every_one_of_them():
    net = tiny().requires_grad_(False)
    before = {name: p.clone() for name, p in net.named_parameters()}
    temporal = dict(net.temporal_parameters())
    for parameter in temporal.values():
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    x = clip(frames=3)
    ((net.decode(net.encode(x)) - x) ** 2).mean().backward()
    optimiser.step()
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == temporal.keys()
    assert all(name.startswith("decoder.") for name in changed)


def test_a_variant_that_the_public_class_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="cannot be written as one"):
        keys.their_config(TemporalDecoderAutoencoderConfig(groups=8))
    with pytest.raises(ValueError, match=r"layers_per_block=1 is not supported. Only 2 is"):
        keys.config({"layers_per_block": 1}, "vae/config.json")
