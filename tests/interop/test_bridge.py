"""Models that are not native here, behind our seams: our loop ends where their own pipelines end."""

from __future__ import annotations

import math

import pytest
import torch

from flipbook.guidance import guide
from flipbook.interop.bridge import bridged
from flipbook.nn.doors import Doors
from flipbook.process import noise_levels
from flipbook.process.spacing import uniform
from flipbook.samplers import sample_euler
from public_folders import randomised

diffusers = pytest.importorskip("diffusers")

STEPS, FRAMES, SIDE, WORDS = 4, 3, 8, 6


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


MASK = torch.tensor([[1] * 4 + [0] * 2])


def ltx():
    levels = (True, True, False, False)
    net = diffusers.LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16, num_layers=2, caption_channels=12,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8), layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5, spatio_temporal_scaling=levels, decoder_spatio_temporal_scaling=levels, decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4, upsample_factor=(1,) * 4, patch_size=1, patch_size_t=1,
    )  # fmt: skip
    vae.latents_mean.copy_(random(4, seed=9))
    vae.latents_std.copy_(random(4, seed=10).abs() + 0.5)
    return randomised(net), randomised(vae)


def hunyuan():
    net = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1, num_single_layers=1, num_refiner_layers=1,
        patch_size=1, patch_size_t=1, guidance_embeds=True, text_embed_dim=12, pooled_projection_dim=8, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4, up_block_types=("HunyuanVideoUpBlock3D",) * 4, scaling_factor=0.5,
    )  # fmt: skip
    return randomised(net), randomised(vae)


def sampled(bridge, on, off, scale):
    """Our Euler loop over the plain matrix, with a guidance list."""
    branches = {name: bridge.process.denoiser(bridge.denoiser, doors) for name, doors in (("off", off), ("on", on))}
    denoise = guide(branches, [("off", 1), ("on", scale)])
    with torch.no_grad():
        return sample_euler(denoise, random(1, 4, FRAMES, SIDE, SIDE), bridge.process.path, noise_levels(STEPS, FRAMES, spacing=uniform))


@pytest.mark.filterwarnings("ignore")
def test_ltx_ends_at_the_latents_of_its_pipeline():
    net, vae = ltx()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = diffusers.LTXPipeline(scheduler, vae, None, None, net)
    pipeline.set_progress_bar_config(disable=True)
    bridge = bridged(net, vae, shift=1.0)
    stride, time = bridge.autoencoder.stride, bridge.autoencoder.time_stride
    pipeline.vae_spatial_compression_ratio, pipeline.vae_temporal_compression_ratio = stride, time
    tokens = FRAMES * SIDE * SIDE
    mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)                 # a shift of e^mu, by the number of tokens
    bridge = bridged(net, vae, shift=math.exp(mu))
    on, off = (Doors(tokens=random(1, WORDS, 12, seed=s), token_mask=MASK) for s in (1, 2))
    wanted = pipeline(
        prompt_embeds=on.tokens, prompt_attention_mask=MASK, negative_prompt_embeds=off.tokens, negative_prompt_attention_mask=MASK,
        height=SIDE * stride, width=SIDE * stride, num_frames=1 + (FRAMES - 1) * time, num_inference_steps=STEPS, guidance_scale=3.0,
        latents=random(1, 4, FRAMES, SIDE, SIDE).flatten(2).transpose(1, 2), output_type="latent",
    ).frames  # fmt: skip
    got = sampled(bridge, on, off, 3.0)
    torch.testing.assert_close(got, wanted.transpose(1, 2).reshape(got.shape), atol=1e-3, rtol=0)
    assert (got - sampled(bridge, on, off, 1.5)).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore")
def test_hunyuan_ends_at_the_latents_of_its_pipeline():
    net, vae = hunyuan()
    pipeline = diffusers.HunyuanVideoPipeline(None, None, net, vae, diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0), None, None)
    pipeline.set_progress_bar_config(disable=True)
    bridge = bridged(net, vae, shift=7.0, guidance=4.0)
    assert (bridge.autoencoder.stride, bridge.autoencoder.time_stride) == (8, 4)
    on, off = (Doors(tokens=random(1, WORDS, 12, seed=s), token_mask=MASK, vector=random(1, 8, seed=s + 10)) for s in (1, 2))
    wanted = pipeline(
        prompt_embeds=on.tokens, prompt_attention_mask=MASK, pooled_prompt_embeds=on.vector, negative_prompt_embeds=off.tokens,
        negative_prompt_attention_mask=MASK, negative_pooled_prompt_embeds=off.vector, guidance_scale=4.0, true_cfg_scale=2.0,
        height=8 * SIDE, width=8 * SIDE, num_frames=9, num_inference_steps=STEPS, latents=random(1, 4, FRAMES, SIDE, SIDE), output_type="latent",
    ).frames  # fmt: skip
    torch.testing.assert_close(sampled(bridge, on, off, 2.0), wanted, atol=1e-3, rtol=0)
    other = bridged(net, vae, shift=7.0, guidance=1.0)
    assert (sampled(other, on, off, 2.0) - wanted).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [ltx, hunyuan])
def test_latents_are_normalised_and_decoded_as_there(build):
    net, vae = build()
    bridge = bridged(net, vae)
    stride, time = bridge.autoencoder.stride, bridge.autoencoder.time_stride
    x = random(1, 3, 1 + time, 2 * stride, 2 * stride).clamp(-1, 1)
    with torch.no_grad():
        raw, z = vae.encode(x).latent_dist.mode(), bridge.autoencoder.encode(x)
        torch.testing.assert_close(bridge.autoencoder.decode(z), vae.decode(raw).sample, atol=1e-4, rtol=1e-4)
    scaled = (raw - vae.latents_mean[:, None, None, None]) / vae.latents_std[:, None, None, None] if build is ltx else 0.5 * raw
    torch.testing.assert_close(z, scaled)
    with pytest.raises(ValueError, match=r"num_frames=2.* Try"):
        bridge.autoencoder.encode(x[:, :, :2])


@pytest.mark.filterwarnings("ignore")
def test_given_frames_stand_at_level_zero_where_the_network_knows_a_level_for_each_token():
    """Image to video by the matrix alone: the given frame keeps its bits and changes the others."""
    net, vae = ltx()
    bridge = bridged(net, vae)
    denoise = bridge.process.denoiser(bridge.denoiser, Doors(tokens=random(1, WORDS, 12, seed=1), token_mask=MASK))
    run = lambda x: sample_euler(denoise, x, bridge.process.path, noise_levels(STEPS, FRAMES, given=[0]))
    x = random(1, 4, FRAMES, SIDE, SIDE)
    other = x.clone()
    other[:, :, 0] += 1.0
    with torch.no_grad():
        made, changed = run(x), run(other)
    assert torch.equal(made[:, :, 0], x[:, :, 0])
    assert (made - changed)[:, :, 1:].abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore")
def test_each_token_is_told_the_level_of_its_frame():
    net, vae = ltx()
    bridge, x, doors = bridged(net, vae), random(1, 4, FRAMES, SIDE, SIDE), Doors(tokens=random(1, WORDS, 12, seed=1), token_mask=MASK)
    ask = lambda *t: bridge.denoiser(x, torch.tensor([t]), doors)
    with torch.no_grad():
        torch.testing.assert_close(ask(0.5, 0.5, 0.5), bridge.denoiser(x, torch.tensor([0.5]), doors))
        moved = [(ask(*levels) - ask(0.5, 0.5, 0.5)).abs().amax((0, 1, 3, 4)) for levels in ((0.0, 0.5, 0.5), (0.5, 0.5, 0.0))]
    assert moved[0].argmax() == 0
    assert moved[1].argmax() == 2


@pytest.mark.filterwarnings("ignore")
def test_what_a_network_cannot_do_is_refused_by_name():
    net, vae = hunyuan()
    bridge, x = bridged(net, vae), random(1, 4, FRAMES, SIDE, SIDE)
    doors = Doors(tokens=random(1, WORDS, 12), vector=random(1, 8))
    for told, message in (
        ({"t": torch.tensor([[0.0, 0.5, 0.5]])}, "one noise level for a whole clip"),
        ({"frame_index": torch.tensor([[0.0, 2.0, 4.0]])}, "counts frames 0, 1, 2"),
        ({"frame_attends": torch.ones(3, 3, dtype=torch.bool)}, "frame_attends"),
    ):
        with pytest.raises(ValueError, match=message):
            bridge.denoiser(x, **{"t": torch.tensor([0.5]), "doors": doors} | told)
    with pytest.raises(ValueError, match="Linear has no bridge"):
        bridged(torch.nn.Linear(1, 1), vae)
