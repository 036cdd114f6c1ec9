"""The autoencoder of Stable Video Diffusion under its public names: `AutoencoderKLTemporalDecoder` folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.autoencoders.temporal_decoder import TemporalDecoderAutoencoderConfig
from flipbook.interop.config_read import checked
from flipbook.interop.keys.autoencoder_kl import ATTENTION, ENCODER, latent_normaliser
from flipbook.interop.keys_apply import Rule


def _block(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.spatial_res_block.conv_shortcut.{{p}}", f"{ours}.spatial.skip.{{p}}"),
        Rule(f"{theirs}.spatial_res_block.{{layer}}.{{p}}", f"{ours}.spatial.{{layer}}.{{p}}"),
        Rule(f"{theirs}.temporal_res_block.{{layer}}.{{p}}", f"{ours}.temporal.{{layer}}.{{p}}", unit_axes=True),
        Rule(f"{theirs}.time_mixer.mix_factor", f"{ours}.mix"),
    )


DECODER_ATTENTION = tuple(
    Rule(
        tuple(name.replace("{half}", "decoder") for name in ((r.theirs,) if isinstance(r.theirs, str) else r.theirs)),
        str(r.ours).replace("{half}", "decoder.image"),
    )
    for r in ATTENTION
)

RULES = (
    *DECODER_ATTENTION,
    *ATTENTION,
    *ENCODER,
    *_block("decoder.mid_block.resnets.0", "decoder.image.mid.block1"),
    *_block("decoder.mid_block.resnets.1", "decoder.image.mid.block2"),
    *_block("decoder.up_blocks.{i}.resnets.{j}", "decoder.image.levels.{i}.blocks.{j}"),
    Rule("decoder.up_blocks.{i}.upsamplers.0.conv.{p}", "decoder.image.levels.{i}.resize.conv.{p}"),
    Rule("decoder.conv_in.{p}", "decoder.image.conv_in.{p}"),
    Rule("decoder.conv_norm_out.{p}", "decoder.image.norm_out.{p}"),
    Rule("decoder.conv_out.{p}", "decoder.image.conv_out.{p}"),
    Rule("decoder.time_conv_out.{p}", "decoder.time_out.{p}", unit_axes=True),
)
"""Names in `AutoencoderKLTemporalDecoder` folders to ours."""


def config(theirs: Mapping[str, Any], origin: str) -> TemporalDecoderAutoencoderConfig:
    """Our config for that of such a folder. Raises ValueError for what we cannot do, by name.

    Two blocks per size alone: with another number the reference has middle blocks that it never calls.
    """
    v = checked(
        theirs,
        origin,
        read={"block_out_channels": (64,), "latent_channels": 4, "scaling_factor": 0.18215, "down_block_types": None},
        fixed={"in_channels": (3,), "out_channels": (3,), "layers_per_block": (2,)},
        ignored=("sample_size", "force_upcast"),
    )
    given, levels = v["down_block_types"] or ["DownEncoderBlock2D"], len(v["block_out_channels"])
    if list(given) != ["DownEncoderBlock2D"] * levels:
        raise ValueError(f"{origin}: down_block_types={given!r} is not supported. Only {levels} times 'DownEncoderBlock2D' is.")
    scale, shift = latent_normaliser(v)
    return TemporalDecoderAutoencoderConfig(
        latent_channels=v["latent_channels"], dims=tuple(v["block_out_channels"]), latent_scale=scale, latent_shift=shift
    )


def their_config(ours: TemporalDecoderAutoencoderConfig) -> dict[str, Any]:
    """What stands in the config.json of such a folder. Raises ValueError for a variant that their class cannot hold."""
    if (ours.groups, ours.blocks) != (32, 2) or ours.latent_shift or isinstance(ours.latent_scale, tuple):
        raise ValueError(
            "AutoencoderKLTemporalDecoder has 32 groups, 2 blocks per size and one latent scale without a shift: "
            f"{ours} cannot be written as one. Try saving it as a flipbook folder."
        )
    return {
        "_class_name": "AutoencoderKLTemporalDecoder",
        "in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"] * len(ours.dims),
        "block_out_channels": list(ours.dims), "layers_per_block": ours.blocks, "latent_channels": ours.latent_channels,
        "scaling_factor": ours.latent_scale,
    }  # fmt: skip
