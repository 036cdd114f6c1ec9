"""The autoencoder of Wan 2.1 under its public names: `AutoencoderKLWan` folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.autoencoders.wan import MEAN, STD, WanAutoencoderConfig
from flipbook.interop.config_read import checked
from flipbook.interop.keys_apply import Rule


def _block(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.norm1.gamma", f"{ours}.norm1.gain", unit_axes=True),
        Rule(f"{theirs}.norm2.gamma", f"{ours}.norm2.gain", unit_axes=True),
        Rule(f"{theirs}.conv1.{{p}}", f"{ours}.conv1.{{p}}"),
        Rule(f"{theirs}.conv2.{{p}}", f"{ours}.conv2.{{p}}"),
        Rule(f"{theirs}.conv_shortcut.{{p}}", f"{ours}.skip.{{p}}"),
    )


def _half(name: str) -> tuple[Rule, ...]:
    attention = f"{name}.mid_block.attentions.0"
    return (
        Rule(f"{name}.conv_in.{{p}}", f"{name}.conv_in.{{p}}"),
        *_block(f"{name}.mid_block.resnets.0", f"{name}.mid.block1"),
        *_block(f"{name}.mid_block.resnets.1", f"{name}.mid.block2"),
        Rule(f"{attention}.norm.gamma", f"{name}.mid.attention.norm.gain", unit_axes=True),
        Rule(f"{attention}.to_qkv.weight", f"{name}.mid.attention.qkv.weight", unit_axes=True),
        Rule(f"{attention}.to_qkv.bias", f"{name}.mid.attention.qkv.bias"),
        Rule(f"{attention}.proj.weight", f"{name}.mid.attention.out.weight", unit_axes=True),
        Rule(f"{attention}.proj.bias", f"{name}.mid.attention.out.bias"),
        Rule(f"{name}.norm_out.gamma", f"{name}.norm_out.gain", unit_axes=True),
        Rule(f"{name}.conv_out.{{p}}", f"{name}.conv_out.{{p}}"),
    )


RULES = (
    Rule("quant_conv.{p}", "quant.{p}"),
    Rule("post_quant_conv.{p}", "post_quant.{p}"),
    *_half("encoder"),
    *_block("encoder.down_blocks.{i}", "encoder.layers.{i}"),
    Rule("encoder.down_blocks.{i}.resample.1.{p}", "encoder.layers.{i}.space.{p}"),
    Rule("encoder.down_blocks.{i}.time_conv.{p}", "encoder.layers.{i}.time.{p}"),
    *_half("decoder"),
    *_block("decoder.up_blocks.{i}.resnets.{j}", "decoder.levels.{i}.blocks.{j}"),
    Rule("decoder.up_blocks.{i}.upsamplers.0.resample.1.{p}", "decoder.levels.{i}.up.space.{p}"),
    Rule("decoder.up_blocks.{i}.upsamplers.0.time_conv.{p}", "decoder.levels.{i}.up.time.{p}"),
)
"""Names in `AutoencoderKLWan` folders to ours."""


def config(theirs: Mapping[str, Any], origin: str) -> WanAutoencoderConfig:
    """Our config for that of such a folder. Raises ValueError for what we cannot do, by name (the autoencoders of Wan 2.2, for one)."""
    v = checked(
        theirs,
        origin,
        read={
            "base_dim": 96, "decoder_base_dim": None, "z_dim": 16, "dim_mult": (1, 2, 4, 4), "num_res_blocks": 2,
            "temperal_downsample": (False, True, True), "latents_mean": MEAN, "latents_std": STD, "scale_factor_temporal": 4, "scale_factor_spatial": 8,
        },
        fixed={
            "attn_scales": ((),), "is_residual": (False, None), "in_channels": (3,), "out_channels": (3,), "patch_size": (None,), "dropout": (0.0, 0),
        },
    )  # fmt: skip
    ours = WanAutoencoderConfig(
        latent_channels=v["z_dim"], dim=v["base_dim"], mults=tuple(v["dim_mult"]), packs_time=tuple(v["temperal_downsample"]), blocks=v["num_res_blocks"],
        decoder_dim=v["decoder_base_dim"], latent_mean=tuple(v["latents_mean"]), latent_std=tuple(v["latents_std"]),
    )  # fmt: skip
    for field, real in (("scale_factor_temporal", 2 ** sum(ours.packs_time)), ("scale_factor_spatial", 2 ** len(ours.packs_time))):
        if v[field] not in (None, real):
            raise ValueError(f"{origin}: {field}={v[field]} is not supported: the layers of this config pack {real}.")
    return ours


def their_config(ours: WanAutoencoderConfig) -> dict[str, Any]:
    """What stands in the config.json of such a folder."""
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": ours.dim, "decoder_base_dim": ours.decoder_dim, "z_dim": ours.latent_channels, "dim_mult": list(ours.mults),
        "num_res_blocks": ours.blocks, "attn_scales": [], "temperal_downsample": list(ours.packs_time), "dropout": 0.0,
        "latents_mean": list(ours.latent_mean), "latents_std": list(ours.latent_std), "is_residual": False, "in_channels": 3, "out_channels": 3,
        "patch_size": None, "scale_factor_temporal": 2 ** sum(ours.packs_time), "scale_factor_spatial": 2 ** len(ours.packs_time),
    }  # fmt: skip


def shape_there(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a weight there, of its name there and its shape here."""
    if key.endswith(".gamma"):
        return (*shape, 1, 1) if ".attentions." in key else (*shape, 1, 1, 1)
    return (*shape, 1, 1) if ".attentions." in key and key.endswith(".weight") else shape
