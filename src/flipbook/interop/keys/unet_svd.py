"""Stable Video Diffusion: diffusers' UNetSpatioTemporalConditionModel, config.json and weights, both ways."""

from __future__ import annotations

from typing import Literal

from flipbook.denoisers.unet import UNetConfig
from flipbook.denoisers.unet_tables import SVD as TABLE
from flipbook.interop.keys.unet_common import (
    LAYERS,
    RESNET,
    Json,
    UNetLayout,
    attention_levels,
    channel_split,
    check_config,
    image_rules,
    per_level,
    rename,
)  # fmt: skip
from flipbook.interop.keys.unet_image import image_json, image_part
from flipbook.interop.keys_apply import Rule
from flipbook.nn.inserts.micro_conditioning import Scalars

READS = {
    "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels", "layers_per_block", "cross_attention_dim",
    "transformer_layers_per_block", "num_attention_heads", "addition_time_embed_dim", "projection_class_embeddings_input_dim",
}  # fmt: skip
FREE = {"sample_size", "num_frames"}
BLOCKS = ("CrossAttnDownBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "DownBlockSpatioTemporal", "UpBlockSpatioTemporal")
SCALARS = ("fps", "motion_bucket", "noise_aug")
"""The numbers of the `vector` door, in the order of `added_time_ids`: frames per second less one, motion 0 to 255, noise of the image."""


def config_of(json: Json, *, eps: Literal["original", "diffusers"] = "original") -> UNetConfig:
    """config.json of UNetSpatioTemporalConditionModel to ours.

    eps: group norms have 1e-5 everywhere in the authors' code; diffusers has 1e-6 on the way down where there is attention.
    """
    check_config(json, READS | FREE, {})
    widths = tuple(json["block_out_channels"])
    levels = attention_levels(json, *BLOCKS)
    frequencies, columns = json.get("addition_time_embed_dim", 256), json.get("projection_class_embeddings_input_dim", 768)
    if columns != len(SCALARS) * frequencies:
        raise ValueError(f"projection_class_embeddings_input_dim={columns} is not {len(SCALARS)} numbers of {frequencies} frequencies.")
    if set(per_level(json.get("transformer_layers_per_block", 1), len(widths))) != {1}:
        raise ValueError("transformer_layers_per_block above 1: the class then shares one mixer between blocks; ours has one each.")
    return UNetConfig(
        **channel_split({"in_channels": 8, **json}), **image_part({"cross_attention_dim": 1024, **json}, levels),
        heads=per_level(json.get("num_attention_heads", (5, 10, 20, 20)), len(widths)),
        down_eps=tuple(1e-6 if has else 1e-5 for has in levels) if eps == "diffusers" else None,
        vector=(Scalars(names=SCALARS, frequencies=frequencies, silent=False),), clock="edm", inserts=TABLE,
    )  # fmt: skip


def json_of(config: UNetConfig) -> Json:
    """Our config as config.json of UNetSpatioTemporalConditionModel."""
    scalars = config.vector[0] if len(config.vector) == 1 else None
    if config.inserts != TABLE or not isinstance(scalars, Scalars) or scalars.names != SCALARS or config.groups != 32:
        raise ValueError(f"UNetSpatioTemporalConditionModel holds SVD's inserts, 32 groups, and {SCALARS}. Save this network in our own layout.")
    levels = [depth > 0 for depth in config.transformers]
    json = image_json(config)
    for fixed in ("norm_num_groups", "norm_eps", "act_fn"):
        json.pop(fixed)
    return {
        "_class_name": "UNetSpatioTemporalConditionModel",
        **json,
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal" if has else "DownBlockSpatioTemporal" for has in levels],
        "up_block_types": ["CrossAttnUpBlockSpatioTemporal" if has else "UpBlockSpatioTemporal" for has in reversed(levels)],
        "num_attention_heads": list(config.level_heads),
        "addition_time_embed_dim": scalars.frequencies,
        "projection_class_embeddings_input_dim": len(SCALARS) * scalars.frequencies,
    }


_TEMPORAL_BLOCK = {
    "norm_in": "norm_in", "ff_in.net.0.proj": "mlp_in.enter", "ff_in.net.2": "mlp_in.leave", "norm1": "norm1", "norm2": "norm2", "norm3": "norm3",
    **{f"attn{n}.to_{a}": f"{name}.{b}" for n, name in ((1, "attention"), (2, "cross")) for a, b in (("q", "q"), ("k", "k"), ("v", "v"), ("out.0", "out"))},
    "ff.net.0.proj": "mlp.enter", "ff.net.2": "mlp.leave",
}  # fmt: skip


def _rules() -> tuple[Rule, ...]:
    rules = list(image_rules(resnet="spatial_res_block."))
    rules += rename("add_embedding.", "vector.0.", {"linear_1": "enter", "linear_2": "leave"})
    for resnets, transformers, layer in LAYERS:
        conv, block = f"{layer}inserts.temporal_conv.", f"{layer}transformer.blocks.{{k}}.inserts.temporal_block."
        resnet = {name: part for name, part in RESNET.items() if name != "conv_shortcut"}
        rules += rename(f"{resnets}temporal_res_block.", f"{conv}branch.", resnet, unit_axes=("conv1", "conv2"))
        rules.append(Rule(f"{resnets}time_mixer.mix_factor", f"{conv}mixer.p"))
        rules += rename(f"{transformers}temporal_transformer_blocks.{{k}}.", f"{block}branch.", _TEMPORAL_BLOCK)
        block = block.replace("{k}", "0")                                   # what the class keeps once per transformer, of one block
        rules += rename(f"{transformers}time_pos_embed.", f"{block}branch.", {"linear_1": "place_in", "linear_2": "place_out"})
        rules.append(Rule(f"{transformers}time_mixer.mix_factor", f"{block}mixer.p"))
    return tuple(rules)


SVD = UNetLayout(
    class_name="UNetSpatioTemporalConditionModel",
    rules=_rules(),
    config=config_of,
    json=json_of,
    units=((r".*\.conv_shortcut\.weight", 2), (r".*\.temporal_res_block\.conv[12]\.weight", 2)),
)
