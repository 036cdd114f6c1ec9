"""The image autoencoder of latent diffusion under its public names: `AutoencoderKL` folders, and original checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoderConfig
from flipbook.interop.config_read import checked
from flipbook.interop.keys_apply import Rule

_QKV = tuple(
    Rule(tuple(f"{{half}}.mid_block.attentions.0.{name}.{p}" for name in names), f"{{half}}.mid.attention.qkv.{p}")
    for names in (("to_q", "to_k", "to_v"), ("query", "key", "value"))      # the second: folders written before 2023
    for p in ("weight", "bias")
)
ATTENTION = (
    *_QKV,
    Rule("{half}.mid_block.attentions.0.group_norm.{p}", "{half}.mid.attention.norm.{p}"),
    Rule("{half}.mid_block.attentions.0.to_out.0.{p}", "{half}.mid.attention.out.{p}"),
    Rule("{half}.mid_block.attentions.0.proj_attn.{p}", "{half}.mid.attention.out.{p}"),
)

ENCODER = (
    Rule("encoder.down_blocks.{i}.resnets.{j}.conv_shortcut.{p}", "encoder.levels.{i}.blocks.{j}.skip.{p}"),
    Rule("encoder.down_blocks.{i}.resnets.{j}.{layer}.{p}", "encoder.levels.{i}.blocks.{j}.{layer}.{p}"),
    Rule("encoder.down_blocks.{i}.downsamplers.0.conv.{p}", "encoder.levels.{i}.resize.conv.{p}"),
    Rule("encoder.mid_block.resnets.0.{layer}.{p}", "encoder.mid.block1.{layer}.{p}"),
    Rule("encoder.mid_block.resnets.1.{layer}.{p}", "encoder.mid.block2.{layer}.{p}"),
    Rule("encoder.conv_in.{p}", "encoder.conv_in.{p}"),
    Rule("encoder.conv_norm_out.{p}", "encoder.norm_out.{p}"),
    Rule("encoder.conv_out.{p}", "encoder.conv_out.{p}"),
    Rule("quant_conv.{p}", "quant.{p}"),
)

RULES = (
    *ATTENTION,
    *ENCODER,
    Rule("decoder.up_blocks.{i}.resnets.{j}.conv_shortcut.{p}", "decoder.levels.{i}.blocks.{j}.skip.{p}"),
    Rule("decoder.up_blocks.{i}.resnets.{j}.{layer}.{p}", "decoder.levels.{i}.blocks.{j}.{layer}.{p}"),
    Rule("decoder.up_blocks.{i}.upsamplers.0.conv.{p}", "decoder.levels.{i}.resize.conv.{p}"),
    Rule("decoder.mid_block.resnets.0.{layer}.{p}", "decoder.mid.block1.{layer}.{p}"),
    Rule("decoder.mid_block.resnets.1.{layer}.{p}", "decoder.mid.block2.{layer}.{p}"),
    Rule("decoder.conv_in.{p}", "decoder.conv_in.{p}"),
    Rule("decoder.conv_norm_out.{p}", "decoder.norm_out.{p}"),
    Rule("decoder.conv_out.{p}", "decoder.conv_out.{p}"),
    Rule("post_quant_conv.{p}", "post_quant.{p}"),
)
"""Names in `AutoencoderKL` folders to ours."""


def original_rules(levels: int, prefix: str = "first_stage_model.") -> tuple[Rule, ...]:
    """Names in original latent diffusion checkpoints to those of `AutoencoderKL` folders.

    levels: number of sizes; the decoder counts them from large pictures to small there.
    """
    rules = [
        Rule("encoder.down.{i}.block.{j}.nin_shortcut.{p}", "encoder.down_blocks.{i}.resnets.{j}.conv_shortcut.{p}"),
        Rule("encoder.down.{i}.block.{j}.{layer}.{p}", "encoder.down_blocks.{i}.resnets.{j}.{layer}.{p}"),
        Rule("encoder.down.{i}.downsample.conv.{p}", "encoder.down_blocks.{i}.downsamplers.0.conv.{p}"),
        Rule("{half}.mid.block_1.{layer}.{p}", "{half}.mid_block.resnets.0.{layer}.{p}"),
        Rule("{half}.mid.block_2.{layer}.{p}", "{half}.mid_block.resnets.1.{layer}.{p}"),
        Rule("{half}.mid.attn_1.norm.{p}", "{half}.mid_block.attentions.0.group_norm.{p}"),
        Rule("{half}.mid.attn_1.proj_out.{p}", "{half}.mid_block.attentions.0.to_out.0.{p}", unit_axes=True),
        *(Rule(f"{{half}}.mid.attn_1.{n}.{{p}}", f"{{half}}.mid_block.attentions.0.to_{n}.{{p}}", unit_axes=True) for n in "qkv"),
        Rule("{half}.norm_out.{p}", "{half}.conv_norm_out.{p}"),
        Rule("{half}.conv_in.{p}", "{half}.conv_in.{p}"),
        Rule("{half}.conv_out.{p}", "{half}.conv_out.{p}"),
        Rule("quant_conv.{p}", "quant_conv.{p}"),
        Rule("post_quant_conv.{p}", "post_quant_conv.{p}"),
    ]
    for i in range(levels):
        up, there = f"decoder.up.{levels - 1 - i}", f"decoder.up_blocks.{i}"
        rules += [
            Rule(f"{up}.block.{{j}}.nin_shortcut.{{p}}", f"{there}.resnets.{{j}}.conv_shortcut.{{p}}"),
            Rule(f"{up}.block.{{j}}.{{layer}}.{{p}}", f"{there}.resnets.{{j}}.{{layer}}.{{p}}"),
            Rule(f"{up}.upsample.conv.{{p}}", f"{there}.upsamplers.0.conv.{{p}}"),
        ]
    return tuple(Rule(f"{prefix}{r.theirs}", r.ours, unit_axes=r.unit_axes) for r in rules)


def config(theirs: Mapping[str, Any], origin: str) -> KLAutoencoderConfig:
    """Our config for that of an `AutoencoderKL` folder. Raises ValueError for what we cannot do, by name."""
    v = checked(
        theirs,
        origin,
        read={
            "block_out_channels": (64,), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32, "scaling_factor": 0.18215,
            "shift_factor": None, "latents_mean": None, "latents_std": None, "use_quant_conv": True, "use_post_quant_conv": True,
            "mid_block_add_attention": True, "down_block_types": None, "up_block_types": None,
        },
        fixed={"in_channels": (3,), "out_channels": (3,), "act_fn": ("silu",)},
        ignored=("sample_size", "force_upcast"),
    )  # fmt: skip
    levels = len(v["block_out_channels"])
    for key, kind in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        given = v[key] if v[key] is not None else [kind]
        if list(given) != [kind] * levels:
            raise ValueError(f"{origin}: {key}={given!r} is not supported. Only {levels} times {kind!r} is.")
    scale, shift = latent_normaliser(v)
    return KLAutoencoderConfig(
        latent_channels=v["latent_channels"],
        dims=tuple(v["block_out_channels"]),
        blocks=v["layers_per_block"],
        groups=v["norm_num_groups"],
        latent_scale=scale,
        latent_shift=shift,
        mid_attention=v["mid_block_add_attention"],
        quant_conv=v["use_quant_conv"],
        post_quant_conv=v["use_post_quant_conv"],
    )


def their_config(ours: KLAutoencoderConfig) -> dict[str, Any]:
    """What stands in the config.json of an `AutoencoderKL` folder."""
    levels = len(ours.dims)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3, "out_channels": 3, "act_fn": "silu",
        "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(ours.dims), "layers_per_block": ours.blocks, "norm_num_groups": ours.groups,
        "latent_channels": ours.latent_channels, "mid_block_add_attention": ours.mid_attention,
        "use_quant_conv": ours.quant_conv, "use_post_quant_conv": ours.post_quant_conv,
    } | their_normaliser(ours.latent_scale, ours.latent_shift)  # fmt: skip


def latent_normaliser(theirs: Mapping[str, Any]) -> tuple[float | tuple[float, ...], float | tuple[float, ...]]:
    """(scale, shift) of scale (raw + shift) from (raw - shift_factor) scaling_factor, or (raw - mean) scaling_factor / std."""
    mean, std = theirs.get("latents_mean"), theirs.get("latents_std")
    factor = theirs["scaling_factor"]
    if mean is None and std is None:
        return factor, -(theirs.get("shift_factor") or 0.0)
    mean, std = mean or [0.0] * len(std or ()), std or [1.0] * len(mean or ())
    return tuple(factor / s for s in std), tuple(-m for m in mean)


def their_normaliser(scale: float | tuple[float, ...], shift: float | tuple[float, ...]) -> dict[str, Any]:
    """`scaling_factor` and `shift_factor`, or `latents_mean` and `latents_std` where there is a number per channel."""
    if not isinstance(scale, tuple) and not isinstance(shift, tuple):
        return {"scaling_factor": scale, "shift_factor": -shift or None}
    channels = len(scale if isinstance(scale, tuple) else shift)  # type: ignore[arg-type]
    scales = scale if isinstance(scale, tuple) else (scale,) * channels
    shifts = shift if isinstance(shift, tuple) else (shift,) * channels
    return {"scaling_factor": 1.0, "latents_mean": [-s for s in shifts], "latents_std": [1.0 / s for s in scales]}
