"""The image autoencoder against its reference, and the latent normaliser."""

from __future__ import annotations

import pytest
import torch

from autoencoder_peers import clip, randomised, translated
from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.interop.keys import autoencoder_kl as keys
from flipbook.interop.keys_apply import translate
from flipbook.shapes import fold_frames, unfold_frames

SMALL = {
    "block_out_channels": (32, 64, 64), "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 2, "norm_num_groups": 8, "sample_size": 32,
}  # fmt: skip
VARIANTS = {
    "stable diffusion": {},
    "no attention, one block": {"mid_block_add_attention": False, "layers_per_block": 1},
    "sixteen channels, shifted": {
        "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 1.5, "shift_factor": 0.06,
    },
}  # fmt: skip


def reference(**changes):
    from diffusers import AutoencoderKL

    return randomised(AutoencoderKL(**(SMALL | changes)))


def tiny(**changes):
    torch.manual_seed(0)
    return KLAutoencoder(KLAutoencoderConfig(dims=(16, 32), blocks=1, groups=8, **changes)).eval()


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_latents_and_frames_are_those_of_the_reference(changes):
    peer = reference(**changes)
    net, x = translated(KLAutoencoder, keys, peer), clip()
    z = net.encode(x)
    posterior = peer.encode(fold_frames(x)).latent_dist
    expected = (posterior.mode() - (peer.config.shift_factor or 0.0)) * peer.config.scaling_factor
    torch.testing.assert_close(z, unfold_frames(expected, 2), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net.posterior(fold_frames(x))[1], posterior.logvar, atol=1e-4, rtol=1e-4)
    decoded = peer.decode(expected / peer.config.scaling_factor + (peer.config.shift_factor or 0.0)).sample
    torch.testing.assert_close(net.decode(z), unfold_frames(decoded, 2), atol=1e-4, rtol=1e-4)
    assert decoded.std() > 0.1      # numbers that say something


def test_folders_written_before_2023_name_their_attention_otherwise():
    peer = reference()
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, value in peer.state_dict().items():
        for new, before in names.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        old[key] = value
    net = KLAutoencoder(keys.config(dict(peer.config), "config.json"))
    expected = translate(peer.state_dict(), keys.RULES, net.state_dict())
    assert "decoder.mid_block.attentions.0.query.weight" in old
    made = translate(old, keys.RULES, net.state_dict())
    assert all(torch.equal(made[key], expected[key]) for key in expected)


def test_full_size_has_the_public_shapes():
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        peer = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2,
        )  # fmt: skip
        net = KLAutoencoder(KLAutoencoderConfig())
    made = translate(peer.state_dict(), keys.RULES, net.state_dict())
    assert sum(v.numel() for v in made.values()) == 83_653_863
    assert keys.config(dict(peer.config), "x") == net.config


def test_no_frame_sees_another():
    net, x = tiny(), clip()
    changed = x.clone()
    changed[:, :, 1] *= -1
    a, b = net.encode(x), net.encode(changed)
    torch.testing.assert_close(a[:, :, [0, 2]], b[:, :, [0, 2]], atol=1e-6, rtol=1e-6)
    assert (a[:, :, 1] - b[:, :, 1]).abs().max() > 1e-3


def test_the_latent_normaliser_is_a_number_or_one_per_channel_and_undone_by_the_decoder():
    plain = tiny(latent_scale=1.0)
    per_channel = tiny(latent_scale=[2.0, 0.5, 1.0, 4.0], latent_shift=(0.1, -2.0, 0.0, 1.0))
    raw = plain.encode(clip())
    z = per_channel.encode(clip())
    torch.testing.assert_close(z[:, 1], 0.5 * (raw[:, 1] - 2.0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tiny(latent_scale=2.0, latent_shift=1.0).encode(clip()), 2.0 * (raw + 1.0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(per_channel.decode(z), plain.decode(raw), atol=1e-4, rtol=1e-4)


def test_means_and_deviations_of_a_folder_become_the_normaliser_and_come_back():
    theirs = {"scaling_factor": 0.5, "latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 4.0, 0.5], "block_out_channels": [16]}
    ours = keys.config(theirs, "config.json")
    assert ours.latent_scale == (0.5, 0.25, 0.125, 1.0)
    assert ours.latent_shift == (-0.1, -0.2, -0.3, -0.4)
    assert keys.config(keys.their_config(ours), "again") == ours


def test_what_cannot_be_built_is_refused_by_name():
    with pytest.raises(ValueError, match="Try 24x24"):
        KLAutoencoder(KLAutoencoderConfig(dims=(8, 8, 8, 8), groups=8)).encode(clip(height=20, width=27))
    with pytest.raises(ValueError, match="3 numbers for 4 latent channels"):
        KLAutoencoderConfig(latent_scale=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="cannot be undone"):
        KLAutoencoderConfig(latent_scale=0.0)
    with pytest.raises(ValueError, match=r"vae/config.json: act_fn='gelu' is not supported. Only 'silu' is"):
        keys.config({"act_fn": "gelu"}, "vae/config.json")
    with pytest.raises(ValueError, match=r"field 'layer_per_block' is not known.*'layers_per_block'"):
        keys.config({"layer_per_block": 1}, "vae/config.json")
    with pytest.raises(ValueError, match=r"down_block_types=.*AttnDownEncoderBlock2D"):
        keys.config({"down_block_types": ["AttnDownEncoderBlock2D"]}, "vae/config.json")
