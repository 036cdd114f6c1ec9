"""The tiny autoencoder under its public names: `AutoencoderTiny` folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.autoencoders.tiny import TinyAutoencoderConfig
from flipbook.interop.config_read import checked
from flipbook.interop.keys_apply import Rule

RULES = (Rule("{half}.layers.{rest*}", "{half}.{rest*}"),)
"""Names in `AutoencoderTiny` folders to ours."""


def config(theirs: Mapping[str, Any], origin: str) -> TinyAutoencoderConfig:
    """Our config for that of such a folder. Raises ValueError for what we cannot do, by name."""
    v = checked(
        theirs,
        origin,
        read={
            "encoder_block_out_channels": (64,) * 4, "decoder_block_out_channels": (64,) * 4, "latent_channels": 4,
            "num_encoder_blocks": (1, 3, 3, 3), "num_decoder_blocks": (3, 3, 3, 1),
        },
        fixed={
            "in_channels": (3,), "out_channels": (3,), "act_fn": ("relu",), "upsample_fn": ("nearest",), "upsampling_scaling_factor": (2,),
            "scaling_factor": (1.0, 1), "shift_factor": (0.0, 0, None),
        },
        ignored=("latent_magnitude", "latent_shift", "force_upcast", "block_out_channels"),
    )  # fmt: skip
    widths = {*v["encoder_block_out_channels"], *v["decoder_block_out_channels"]}
    if len(widths) != 1:
        raise ValueError(f"{origin}: widths {sorted(widths)}: this autoencoder has one width everywhere. Only that is supported.")
    return TinyAutoencoderConfig(
        latent_channels=v["latent_channels"],
        dim=widths.pop(),
        encoder_blocks=tuple(v["num_encoder_blocks"]),
        decoder_blocks=tuple(v["num_decoder_blocks"]),
    )


def their_config(ours: TinyAutoencoderConfig) -> dict[str, Any]:
    """What stands in the config.json of such a folder."""
    return {
        "_class_name": "AutoencoderTiny",
        "in_channels": 3, "out_channels": 3, "act_fn": "relu", "upsample_fn": "nearest", "upsampling_scaling_factor": 2,
        "scaling_factor": 1.0, "shift_factor": 0.0, "latent_channels": ours.latent_channels,
        "encoder_block_out_channels": [ours.dim] * len(ours.encoder_blocks),
        "decoder_block_out_channels": [ours.dim] * len(ours.decoder_blocks),
        "num_encoder_blocks": list(ours.encoder_blocks), "num_decoder_blocks": list(ours.decoder_blocks),
    }  # fmt: skip
