"""AnimateDiff v1, v2, v3: diffusers' MotionAdapter (the motion modules alone) and UNetMotionModel (with the image network).

Both keep the position table in their files. It is a formula, so it is checked on the way in and written on the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import animatediff
from flipbook.interop.keys.unet_common import (
    Json,
    UNetLayout,
    attention_levels,
    channel_split,
    check_config,
    image_rules,
    per_level,
    rename,
)
from flipbook.interop.keys.unet_image import image_json, image_part
from flipbook.interop.keys_apply import KeysDoNotFit, Rule, translate
from flipbook.nn.clip import Scope
from flipbook.nn.inserts import InsertTable, TemporalTransformer
from flipbook.nn.positions import interleaved_sinusoid

BLOCK = {
    "norm1": "norm1", "norm2": "norm2", "norm3": "norm3", "ff.net.0.proj": "mlp.enter", "ff.net.2": "mlp.leave",
    **{f"attn{n}.to_{a}": f"{name}.{b}" for n, name in ((1, "first"), (2, "second")) for a, b in (("q", "q"), ("k", "k"), ("v", "v"), ("out.0", "out"))},
}  # fmt: skip
PLACES = (
    ("down_blocks.{i}.motion_modules.{j}.", "down.{i}.layers.{j}."),
    ("up_blocks.{i}.motion_modules.{j}.", "up.{i}.layers.{j}."),
    ("mid_block.motion_modules.{j}.", "mid.{j}."),
)


def temporal_transformer_rules(there: str, here: str) -> tuple[Rule, ...]:
    """A temporal transformer of diffusers, at a place there and an insert here."""
    return (
        *rename(there, f"{here}branch.", {"norm": "norm", "proj_in": "enter", "proj_out": "leave"}),
        *rename(f"{there}transformer_blocks.{{k}}.", f"{here}branch.blocks.{{k}}.", BLOCK),
    )


TABLE_KEY = ".pos_embed.pe"
MODULE_RULES = tuple(rule for there, here in PLACES for rule in temporal_transformer_rules(there, f"{here}inserts.motion."))


# ---------------------------------------------------------------- the whole network


READS = {
    "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels", "layers_per_block", "norm_num_groups", "norm_eps",
    "act_fn", "cross_attention_dim", "transformer_layers_per_block", "num_attention_heads", "use_linear_projection", "motion_max_seq_length",
    "motion_num_attention_heads", "use_motion_mid_block", "temporal_transformer_layers_per_block", "transformer_layers_per_mid_block",
}  # fmt: skip
FREE = {"sample_size"}
FIXED = {
    "downsample_padding": (1,), "mid_block_scale_factor": (1,), "reverse_transformer_layers_per_block": (None,), "mid_block_layers": (1,),
    "reverse_temporal_transformer_layers_per_block": (None,), "temporal_transformer_layers_per_mid_block": (None, 1), "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,), "reverse_motion_num_attention_heads": (None,), "addition_embed_type": (None,), "addition_time_embed_dim": (None,),
    "projection_class_embeddings_input_dim": (None,), "time_cond_proj_dim": (None,),
}  # fmt: skip
BLOCKS = ("CrossAttnDownBlockMotion", "CrossAttnUpBlockMotion", "DownBlockMotion", "UpBlockMotion")


def config_of(json: Json, *, norm: Scope = "frame") -> UNetConfig:
    """config.json of UNetMotionModel to ours. norm: what the motion modules' first norm spans: "frame", as the authors ran and
    trained it, or "clip", as diffusers computes it."""
    check_config(json, READS | FREE, FIXED)
    levels = len(json["block_out_channels"])
    part = image_part(json, attention_levels(json, *BLOCKS))
    middle = json.get("transformer_layers_per_mid_block")
    return UNetConfig(
        **channel_split(json), **{**part, "mid_transformers": part["mid_transformers"] if middle is None else middle},
        heads=per_level(json.get("num_attention_heads", 8), levels),
        inserts=animatediff(
            max_frames=json.get("motion_max_seq_length", 32), middle=json.get("use_motion_mid_block", True), norm=norm,
            heads=_one(json, "motion_num_attention_heads", 8), depth=_one(json, "temporal_transformer_layers_per_block", 1),
        ),
    )  # fmt: skip


def json_of(config: UNetConfig) -> Json:
    """Our config as config.json of UNetMotionModel."""
    module = motion_module(config.inserts)
    levels = [depth > 0 for depth in config.transformers]
    return {
        "_class_name": "UNetMotionModel",
        "down_block_types": ["CrossAttnDownBlockMotion" if has else "DownBlockMotion" for has in levels],
        "up_block_types": ["CrossAttnUpBlockMotion" if has else "UpBlockMotion" for has in reversed(levels)],
        "num_attention_heads": list(config.level_heads),
        "use_linear_projection": False,
        "motion_max_seq_length": module.attention.max_frames,
        "motion_num_attention_heads": module.attention.heads,
        "use_motion_mid_block": "mid" in config.inserts.rows[0].stages,
        "temporal_transformer_layers_per_block": module.depth,
        **image_json(config),
    }


def motion_module(table: InsertTable) -> TemporalTransformer:
    """The motion module of a table; raises ValueError if the table is not AnimateDiff's."""
    if len(table.rows) == 1 and table.rows[0].name == "motion" and isinstance(table.rows[0].kind, TemporalTransformer):
        return table.rows[0].kind
    raise ValueError(f"AnimateDiff's classes hold one insert called 'motion', this network {[row.name for row in table.rows]}. Save it in our own layout.")


def _one(json: Json, name: str, default: int) -> int:
    values = set(per_level(json.get(name, default), 1))
    if len(values) > 1:
        raise ValueError(f"{name}={json[name]}: our motion modules are alike on all levels.")
    return values.pop()


class MotionLayout(UNetLayout):
    """A layout whose files also hold the position tables."""

    def load(self, net: UNet, weights: Mapping[str, Tensor], origin: str = "the checkpoint") -> UNet:
        """See `UNetLayout.load`. Raises `KeysDoNotFit` also for a position table that is not the formula's."""
        return super().load(net, without_tables(weights, net, origin), origin)

    def write(self, net: UNet, *, linear_projection: bool = False) -> tuple[Json, dict[str, Tensor]]:
        """See `UNetLayout.write`; position tables included."""
        json, weights = super().write(net, linear_projection=linear_projection)
        return json, weights | position_tables(weights, json["motion_max_seq_length"])


def position_tables(weights: Mapping[str, Tensor], max_frames: int) -> dict[str, Tensor]:
    """The tables that these classes store beside some weights, by name."""
    keys = [key for key in weights if ".motion_modules." in key and key.endswith(".norm1.weight")]
    return {key.replace(".norm1.weight", TABLE_KEY): position_table(max_frames, len(weights[key])) for key in keys}


def position_table(max_frames: int, dim: int) -> Tensor:
    """The table that these classes store, (1, max_frames, dim) float32."""
    return interleaved_sinusoid(torch.arange(max_frames)[None], dim)


def without_tables(weights: Mapping[str, Tensor], net: UNet, origin: str) -> dict[str, Tensor]:
    """The weights without their position tables, which must be the formula's and as long as the network's."""
    longest = motion_module(net.config.inserts).attention.max_frames
    for key in weights:
        if not key.endswith(TABLE_KEY):
            continue
        table = weights[key]
        if table.shape[-2] != longest or (not table.is_meta and not torch.allclose(table.float(), position_table(*table.shape[-2:]), atol=4e-3)):
            raise KeysDoNotFit(f"{origin}: {key} {tuple(table.shape)} is not the table of sines and cosines of {longest} frames that this network computes.")
    return {key: value for key, value in weights.items() if not key.endswith(TABLE_KEY)}


MOTION = MotionLayout(class_name="UNetMotionModel", rules=(*image_rules(), *MODULE_RULES), config=config_of, json=json_of)


# ---------------------------------------------------------------- the motion modules alone


ADAPTER_READS = {
    "block_out_channels", "motion_layers_per_block", "motion_num_attention_heads", "motion_norm_num_groups", "motion_max_seq_length",
    "use_motion_mid_block", "motion_transformer_layers_per_block",
}  # fmt: skip
ADAPTER_FIXED = {
    "motion_mid_block_layers_per_block": (1,), "motion_transformer_layers_per_mid_block": (1,), "conv_in_channels": (None,),
}  # fmt: skip


def adapter_config(json: Json, image: UNetConfig, *, norm: Scope = "frame") -> UNetConfig:
    """An image network's config with the inserts of a MotionAdapter's config.json; raises ValueError if the two differ in shape."""
    check_config(json, ADAPTER_READS, ADAPTER_FIXED)
    depths = per_level(json.get("motion_layers_per_block", 2), len(json["block_out_channels"]))
    found = {"widths": tuple(json["block_out_channels"]), "depths": depths, "groups": json.get("motion_norm_num_groups", 32)}
    other = [f"{name} {value}, not {getattr(image, name)}" for name, value in found.items() if getattr(image, name) != value]
    if other:
        raise ValueError(f"this motion adapter was made for another image network: {'; '.join(other)}. Try one of the same family.")
    table = animatediff(
        max_frames=json.get("motion_max_seq_length", 32), middle=json.get("use_motion_mid_block", True), norm=norm,
        heads=_one(json, "motion_num_attention_heads", 8), depth=_one(json, "motion_transformer_layers_per_block", 1),
    )  # fmt: skip
    return replace(image, inserts=table)


def adapter_json(config: UNetConfig) -> Json:
    """config.json of the MotionAdapter in a network."""
    module = motion_module(config.inserts)
    return {
        "_class_name": "MotionAdapter",
        "block_out_channels": list(config.widths),
        "motion_layers_per_block": list(config.depths),
        "motion_transformer_layers_per_block": module.depth,
        "motion_num_attention_heads": module.attention.heads,
        "motion_norm_num_groups": config.groups,
        "motion_max_seq_length": module.attention.max_frames,
        "use_motion_mid_block": "mid" in config.inserts.rows[0].stages,
    }


def load_adapter(net: UNet, weights: Mapping[str, Tensor], origin: str = "the motion adapter") -> UNet:
    """Fill the motion modules of a network and leave its image weights alone. Raises `KeysDoNotFit`."""
    wanted = {key: value for key, value in net.state_dict().items() if ".inserts.motion." in key}
    made = translate(without_tables(weights, net, origin), MODULE_RULES, wanted, origin)
    net.load_state_dict(made, strict=False, assign=True)
    return net


def write_adapter(net: UNet) -> tuple[Json, dict[str, Tensor]]:
    """config.json and weights of the MotionAdapter in a network."""
    json = adapter_json(net.config)
    weights = MOTION.translated({key: value for key, value in net.state_dict().items() if ".inserts.motion." in key}, ())
    return json, weights | position_tables(weights, json["motion_max_seq_length"])
