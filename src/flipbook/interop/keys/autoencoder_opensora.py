"""Open-Sora 1.2: the folder of its stacked autoencoder, config.json and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.autoencoders.kl import KLAutoencoderConfig
from flipbook.autoencoders.stacked import MEAN, STD, StackedAutoencoderConfig
from flipbook.autoencoders.temporal import TemporalAutoencoderConfig
from flipbook.interop.config_read import checked
from flipbook.interop.keys.autoencoder_kl import RULES as IMAGE
from flipbook.interop.keys_apply import Names, Rule


def _blocks(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.norm{{n}}.{{p}}", f"{ours}.norm{{n}}.{{p}}"),
        Rule(f"{theirs}.conv3.conv.{{p}}", f"{ours}.skip.{{p}}"),
        Rule(f"{theirs}.conv{{n}}.conv.{{p}}", f"{ours}.conv{{n}}.{{p}}"),
    )


def _half(name: str, first: str, last: str, steps: str) -> tuple[Rule, ...]:
    theirs, ours = f"temporal_vae.{name}", f"temporal.{name}"
    return (
        Rule(f"{theirs}.{first}.conv.{{p}}", f"{ours}.conv_in.{{p}}"),
        *_blocks(f"{theirs}.block_res_blocks.{{i}}.{{j}}", f"{ours}.levels.{{i}}.{{j}}"),
        Rule(f"{theirs}.conv_blocks.{{i}}.conv.{{p}}", f"{ours}.{steps}.{{p}}"),
        *_blocks(f"{theirs}.res_blocks.{{j}}", f"{ours}.mid.{{j}}"),
        Rule(f"{theirs}.norm1.{{p}}", f"{ours}.norm_out.{{p}}"),
        Rule(f"{theirs}.{last}.conv.{{p}}", f"{ours}.conv_out.{{p}}"),
    )


def _below(names: Names, prefix: str) -> Names:
    return f"{prefix}{names}" if isinstance(names, str) else tuple(f"{prefix}{name}" for name in names)


RULES = (
    *(Rule(_below(rule.theirs, "spatial_vae.module."), _below(rule.ours, "image."), rule.unit_axes, rule.transposed) for rule in IMAGE),
    *_half("encoder", "conv_in", "conv2", "down.{i}"),
    *_half("decoder", "conv1", "conv_out", "up.{i}.conv"),
    Rule("temporal_vae.quant_conv.conv.{p}", "temporal.quant.{p}"),
    Rule("temporal_vae.post_quant_conv.conv.{p}", "temporal.post_quant.{p}"),
    Rule("scale", ()),                                                      # in the config, too
    Rule("shift", ()),
)
"""Names of such a folder to ours."""

KINDS = {"vae_2d": "VideoAutoencoderKL", "vae_temporal": "VAE_Temporal_SD"}


def config(theirs: Mapping[str, Any], origin: str) -> StackedAutoencoderConfig:
    """Our config for that of such a folder, whose sizes are those of version 1.2. Raises ValueError for what we cannot do, by name."""
    v = checked(
        theirs,
        origin,
        read={"vae_2d": {}, "vae_temporal": {}, "micro_frame_size": 17, "shift": MEAN, "scale": STD},
        fixed={},
        ignored=("cal_loss", "freeze_vae_2d", "from_pretrained", "architectures", "model_type", "torch_dtype", "transformers_version"),
    )
    for part, kind in KINDS.items():
        if (found := dict(v[part]).get("type", kind)) != kind:
            raise ValueError(f"{origin}: {part} of type {found!r} is not supported. Only {kind} is.")
    return StackedAutoencoderConfig(
        image=KLAutoencoderConfig(latent_scale=dict(v["vae_2d"]).get("scaling_factor", 0.18215)), temporal=TemporalAutoencoderConfig(),
        chunk=v["micro_frame_size"], latent_mean=tuple(v["shift"]), latent_std=tuple(v["scale"]),
    )  # fmt: skip
