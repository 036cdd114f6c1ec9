"""Single-file checkpoints: our maps agree with the converters of diffusers, key by key and number by number."""

from __future__ import annotations

import pytest
import torch

from autoencoder_peers import randomised
from flipbook.autoencoders.kl import KLAutoencoder
from flipbook.interop.keys import autoencoder_kl, single_file
from flipbook.interop.keys.unet_layouts import PUBLIC
from flipbook.interop.keys_apply import KeysDoNotFit, inverted, translate

LEVELS, DEPTH = 3, 2


@pytest.fixture(scope="module")
def peers():
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(32, 32, 64), layers_per_block=DEPTH, norm_num_groups=8, cross_attention_dim=16, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 64), layers_per_block=2, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    return randomised(unet), randomised(vae)


def original(peers):
    """The same weights as an original file holds them, with CLIP's tower stood in for by two tensors."""
    unet, vae = peers
    weights = translate(unet.state_dict(), inverted(single_file.unet_rules(LEVELS, DEPTH, attends=(True, True, False))), None)
    encoded = translate(vae.state_dict(), inverted(autoencoder_kl.original_rules(LEVELS)), None)
    for key, value in encoded.items():
        is_conv = ".attn_1." in key and value.ndim == 2
        weights[key] = value[..., None, None] if is_conv else value
    rest = {"cond_stage_model.transformer.text_model.x": torch.ones(1), "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.ones(1)}
    return weights | rest | {"betas": torch.ones(3), "model_ema.decay": torch.ones(1)}


def same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_the_names_are_those_that_diffusers_converts(peers):
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    unet, vae = peers
    file = original(peers)
    assert {"model.diffusion_model.output_blocks.2.1.conv.bias", "model.diffusion_model.output_blocks.5.2.conv.bias"} <= file.keys()
    same(convert_ldm_unet_checkpoint(file, dict(unet.config)), unet.state_dict())
    same(convert_ldm_vae_checkpoint(file, dict(vae.config)), vae.state_dict())
    parts = single_file.stable_diffusion(file, "sd.safetensors", levels=LEVELS, depth=DEPTH)
    same(parts["unet"], unet.state_dict())
    same(parts["vae"], vae.state_dict())
    assert parts["text_encoder"].keys() == {"text_model.x"}


def test_an_original_autoencoder_becomes_ours(peers):
    _, vae = peers
    weights = single_file.stable_diffusion(original(peers), "sd.safetensors", levels=LEVELS, depth=DEPTH)["vae"]
    net = KLAutoencoder(autoencoder_kl.config(dict(vae.config), "config.json"))
    net.load_state_dict(translate(weights, autoencoder_kl.RULES, net.state_dict()))
    x = torch.randn(1, 3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(net.posterior(x[:, :, 0])[0], vae.encode(x[:, :, 0]).latent_dist.mode(), atol=1e-4, rtol=1e-4)


def test_the_tower_of_version_2_is_that_of_transformers():
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel

    tower = CLIPTextModel(CLIPTextConfig(vocab_size=9, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2))
    theirs = {key if key.startswith("text_model.") else f"text_model.{key}": v for key, v in tower.state_dict().items() if "position_ids" not in key}
    file = translate(theirs, inverted(single_file.open_clip_rules(2)), None)
    prefix = single_file.TEXT + "model."
    file |= {f"{prefix}transformer.resblocks.2.ln_1.weight": torch.ones(1), f"{prefix}text_projection": torch.ones(16, 16)}
    assert file[f"{prefix}transformer.resblocks.1.attn.in_proj_weight"].shape == (48, 16)
    same(translate(file, single_file.open_clip_rules(2), None), theirs)
    converted = convert_open_clip_checkpoint(tower, file, prefix=prefix)
    assert all(torch.equal(converted[key if key in converted else key.removeprefix("text_model.")], value) for key, value in theirs.items())


def test_a_motion_module_file_becomes_an_adapter():
    from diffusers import MotionAdapter

    adapter = MotionAdapter(
        block_out_channels=(32, 32), motion_layers_per_block=1, motion_mid_block_layers_per_block=1, motion_num_attention_heads=2,
        motion_norm_num_groups=8, motion_max_seq_length=8,
    )  # fmt: skip
    file = translate(adapter.state_dict(), inverted(single_file.MOTION_RULES), None)
    first = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    assert first in file
    file[first.replace("blocks.0.pos", "blocks.1.pos")] = file[first]
    same(single_file.motion_adapter({f"module.{key}": value for key, value in file.items()}, "mm.safetensors"), adapter.state_dict())
    with pytest.raises(KeysDoNotFit, match=r"mm.safetensors.*\n.*1 of no known name: conv_in.weight"):
        single_file.motion_adapter(file | {"conv_in.weight": torch.ones(1)}, "mm.safetensors")


def test_a_file_that_is_something_else_is_refused(peers):
    file = original(peers)
    with pytest.raises(KeysDoNotFit, match=r"1 of no known name: lora_unet.down"):
        single_file.stable_diffusion(file | {"lora_unet.down": torch.ones(1)}, "x.safetensors", levels=LEVELS)
    without = {key: value for key, value in file.items() if not key.startswith(single_file.TEXT)}
    with pytest.raises(KeysDoNotFit, match=r"1 missing: cond_stage_model.\*"):
        single_file.stable_diffusion(without, "x.safetensors", levels=LEVELS)


@pytest.mark.parametrize("name", ["stable-diffusion-1.5", "stable-diffusion-2.1"])
def test_the_published_configurations_are_seen_in_names_and_shapes(name):
    from diffusers import UNet2DConditionModel

    published = {"use_linear_projection": False, **PUBLIC[name]}
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(published)
    file = translate(unet.state_dict(), inverted(single_file.unet_rules(attends=(True, True, True, False))), None)
    found = single_file.seen(file, "sd.safetensors")
    assert {key: published[key] for key in found} == found
    with pytest.raises(ValueError, match="its network reads text None wide"):
        single_file.seen({key: value for key, value in file.items() if "attn2" not in key}, "sd.safetensors")
    wide = {key: torch.empty(value.shape[0], 2048, device="meta") if key.endswith("attn2.to_k.weight") else value for key, value in file.items()}
    with pytest.raises(ValueError, match="its network reads text 2048 wide, theirs 768 or 1024"):
        single_file.seen(wide, "sd.safetensors")
