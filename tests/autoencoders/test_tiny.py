"""The tiny autoencoder against its reference."""

from __future__ import annotations

import pytest
import torch

from autoencoder_peers import clip, randomised, translated
from flipbook.autoencoders.tiny import TinyAutoencoder, TinyAutoencoderConfig
from flipbook.interop.keys import autoencoder_tiny as keys
from flipbook.interop.keys_apply import translate
from flipbook.shapes import fold_frames, unfold_frames


def test_latents_and_frames_are_those_of_the_reference():
    from diffusers import AutoencoderTiny

    peer = randomised(AutoencoderTiny(
        encoder_block_out_channels=(16,) * 3, decoder_block_out_channels=(16,) * 3, num_encoder_blocks=(1, 2, 1), num_decoder_blocks=(2, 1, 1),
    ))  # fmt: skip
    net, x = translated(TinyAutoencoder, keys, peer), clip()
    z = net.encode(x)
    torch.testing.assert_close(z, unfold_frames(peer.encode(fold_frames(x)).latents, 2), atol=1e-4, rtol=1e-4)
    large = 3 * z                                    # where the bend of the latents shows
    frames = unfold_frames(peer.decode(fold_frames(large)).sample, 2)
    torch.testing.assert_close(net.decode(large), frames, atol=1e-4, rtol=1e-4)
    assert z.std() > 0.05
    assert frames.std() > 0.1


def test_full_size_has_the_public_shapes():
    from diffusers import AutoencoderTiny

    with torch.device("meta"):
        peer, net = AutoencoderTiny(), TinyAutoencoder(TinyAutoencoderConfig())
    made = translate(peer.state_dict(), keys.RULES, net.state_dict())
    assert sum(v.numel() for v in made.values()) == sum(p.numel() for p in peer.parameters()) == 2_445_063
    assert keys.config(dict(peer.config), "x") == net.config


def test_what_cannot_be_built_is_refused_by_name():
    with pytest.raises(ValueError, match="different lengths"):
        TinyAutoencoderConfig(encoder_blocks=(1, 1))
    with pytest.raises(ValueError, match="one width everywhere"):
        keys.config({"encoder_block_out_channels": [8, 16], "decoder_block_out_channels": [16, 8]}, "vae/config.json")
    with pytest.raises(ValueError, match="Try 16x24"):
        TinyAutoencoder(TinyAutoencoderConfig(dim=8)).encode(clip(height=17))
