"""Wan's autoencoder: equal to the reference, strictly causal, and the same in pieces of any length."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from autoencoder_peers import clip, randomised, translated
from flipbook.autoencoders import wan
from flipbook.autoencoders.tiling import decode_in_chunks, tiled_decode, tiled_encode
from flipbook.autoencoders.wan import WanAutoencoder, WanAutoencoderConfig
from flipbook.interop.keys import autoencoder_wan as keys
from flipbook.nn.causal import FeatureCache

NORMALISER = {"latents_mean": [0.3, -0.5, 0.0, 1.0], "latents_std": [1.5, 0.5, 2.0, 1.0]}
SMALL = {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1, **NORMALISER}
VARIANTS = {
    "as published": {},
    "other sizes": {
        "dim_mult": [1, 3], "temperal_downsample": [True], "scale_factor_temporal": 2, "scale_factor_spatial": 2, "decoder_base_dim": 12, "num_res_blocks": 2,
    },
    "time first": {"temperal_downsample": [True, True, False]},
}


def peer(**changes):
    from diffusers import AutoencoderKLWan

    return randomised(AutoencoderKLWan(**SMALL | changes))


@pytest.fixture(scope="module")
def net():
    return translated(WanAutoencoder, keys, peer())


@pytest.fixture
def small_pieces(monkeypatch):
    """Every latent frame is a piece of its own, as for large pictures."""
    monkeypatch.setattr(wan, "AT_ONCE", 1)


@pytest.mark.parametrize("frames", [1, 9])
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("at_once", [1, 2**18])
def test_latents_and_frames_are_those_of_the_reference(changes, frames, at_once, monkeypatch):
    monkeypatch.setattr(wan, "AT_ONCE", at_once)
    theirs = peer(**changes)
    ours = translated(WanAutoencoder, keys, theirs)
    x = clip(frames, 16, 24)
    mean, std = (torch.tensor(NORMALISER[key])[:, None, None, None] for key in ("latents_mean", "latents_std"))
    z = ours.encode(x)
    torch.testing.assert_close(z, (theirs.encode(x).latent_dist.mode() - mean) / std, atol=1e-5, rtol=1e-5)
    assert z.shape == (2, 4, (frames - 1) // ours.time_stride + 1, 16 // ours.stride, 24 // ours.stride)
    torch.testing.assert_close(ours.decode(z), theirs.decode(z * std + mean).sample, atol=1e-5, rtol=1e-5)


def test_the_posterior_is_that_of_the_reference(net):
    x, theirs = clip(5), peer().encode(clip(5)).latent_dist
    for ours, wanted in zip(net.posterior(x), (theirs.mean, theirs.logvar), strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)


def test_a_clip_in_pieces_of_any_length_is_the_whole_clip(net):
    x = clip(21)
    mean, _ = net.posterior(x)
    whole = net._normalised(mean)                                           # without a cache: all at once
    for lengths in ((1, 4, 4, 12), (13, 8), (21,), (5, 16)):
        torch.testing.assert_close(torch.cat(list(net.stream_encode(x.split(lengths, 2))), 2), whole, atol=1e-5, rtol=1e-5)
    z = torch.randn(2, 4, 6, 2, 3, generator=torch.Generator().manual_seed(3))
    raw = z * net.latent_std + net.latent_mean
    frames = net.decoder(net.post_quant(raw)).clamp(-1, 1)
    assert frames.shape[2] == 21
    for lengths in ((1, 1, 1, 1, 1, 1), (2, 4), (6,), (1, 5)):
        torch.testing.assert_close(torch.cat(list(net.stream_decode(z.split(lengths, 2))), 2), frames, atol=1e-5, rtol=1e-5)


def test_the_beginning_of_a_clip_has_the_latents_and_frames_of_the_whole(net):
    """Strictly causal, both ways: what comes later changes nothing."""
    x = clip(13)
    z = net.encode(x)
    for frames in (1, 5, 9):
        torch.testing.assert_close(net.encode(x[:, :, :frames]), z[:, :, : (frames + 3) // 4], atol=1e-6, rtol=1e-6)
    for latent in (1, 2, 3):
        torch.testing.assert_close(net.decode(z[:, :, :latent]), net.decode(z)[:, :, : 4 * latent - 3], atol=1e-6, rtol=1e-6)
    later = x.clone()
    later[:, :, 5:] = 0.0
    moved = (net.encode(later) - z).abs().amax((0, 1, 3, 4))
    assert (moved[:2] == 0).all()
    assert (moved[2:] > 1e-3).all()


def test_what_is_kept_does_not_grow_with_the_clip(net):
    cache, sizes = FeatureCache(), []
    with torch.no_grad():
        for piece in clip(33, 8, 8, batch=1).split([1, *(4 for _ in range(8))], 2):
            net.posterior(piece, cache)
            sizes.append(cache.numel)
    assert len(set(sizes[1:])) == 1


def test_large_pictures_pass_frame_by_frame(net, small_pieces, monkeypatch):
    lengths = []
    for half in (net.encoder, net.decoder):
        monkeypatch.setattr(half, "forward", lambda x, cache, half=half: lengths.append(x.shape[2]) or type(half).forward(half, x, cache))
    net.decode(torch.zeros(1, 4, 3, 1, 1))
    net.encode(torch.zeros(1, 3, 9, 8, 8))
    assert lengths == [1, 1, 1, 1, 4, 4]


def test_other_lengths_are_refused_with_the_two_nearest(net):
    for frames, message in ((4, "num_frames=4.* Try num_frames=1 or 5"), (15, "Try num_frames=13 or 17"), (0, "Try num_frames=1 or 5")):
        with pytest.raises(ValueError, match=message):
            net.encode(torch.zeros(1, 3, frames, 8, 8))
    with pytest.raises(ValueError, match=r"a piece of 4 frames.* Try 5"):
        list(net.stream_encode([torch.zeros(1, 3, 4, 8, 8)]))
    with pytest.raises(ValueError, match=r"a piece of 5 frames.* Try 4"):
        list(net.stream_encode([torch.zeros(1, 3, 5, 8, 8), torch.zeros(1, 3, 5, 8, 8)]))
    with pytest.raises(ValueError, match="8 x 8 pixels"):
        net.encode(torch.zeros(1, 3, 1, 12, 8))


def test_a_sample_does_not_depend_on_its_batch(net):
    x = clip(5)
    z = net.encode(x)
    torch.testing.assert_close(net.encode(x[1:]), z[1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net.decode(z[1:]), net.decode(z)[1:], atol=1e-5, rtol=1e-5)


def test_tiles_are_exact_but_for_attention():
    """Convolutions see some cells far; attention reads the whole frame. Without it, overlapping tiles are the whole clip."""
    net = translated(WanAutoencoder, keys, peer(dim_mult=[1, 1], temperal_downsample=[True], scale_factor_temporal=2, scale_factor_spatial=2))
    x = clip(3, 144, 8, batch=1)
    z = net.encode(x)
    close = lambda: [(tiled(net, one, tile=60, overlap=30) - whole).abs().max() for tiled, one, whole in
                     ((tiled_encode, x, net.encode(x)), (tiled_decode, z, net.decode(z)))]
    assert max(close()) > 1e-4
    for half in (net.encoder, net.decoder):
        half.mid.attention.out.weight.zero_()
    assert max(close()) < 1e-5


def test_decoding_when_memory_runs_out_goes_on_with_shorter_pieces(monkeypatch):
    net = translated(WanAutoencoder, keys, peer())
    z = torch.randn(2, 4, 5, 2, 2, generator=torch.Generator().manual_seed(3))
    whole, forward, seen = net.decode(z), net.decoder.forward, []

    def tight(z, cache):
        seen.append(tuple(z.shape[:3:2]))
        if z.shape[0] * z.shape[2] > 2:
            raise MemoryError
        return forward(z, cache)

    monkeypatch.setattr(net.decoder, "forward", tight)
    torch.testing.assert_close(decode_in_chunks(net, z), whole, atol=1e-5, rtol=1e-5)
    assert seen[0] == (2, 5)
    assert max(seen[-3:]) == (1, 2)


@pytest.mark.parametrize("changes", [{"is_residual": True}, {"patch_size": 2}, {"attn_scales": [1.0]}, {"scale_factor_temporal": 8}, {"fancy": 1}])
def test_other_autoencoders_of_that_class_are_refused_by_name(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        keys.config(dict(peer().config) | changes, "vae/config.json")


def test_a_config_says_what_is_wrong():
    for changes, message in (({"packs_time": (True,)}, "packs_time"), ({"latent_std": (1.0,) * 3}, "latent_std"), ({"latent_std": (0.0,) * 16}, "no std of 0")):
        with pytest.raises(ValueError, match=message):
            WanAutoencoderConfig(**changes)
