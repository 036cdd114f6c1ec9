"""Stable Diffusion 1.x and 2.x: diffusers' UNet2DConditionModel, config.json and weights, both ways."""

from __future__ import annotations

from dataclasses import replace

from flipbook.denoisers.unet import UNetConfig
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
from flipbook.nn.inserts import InsertTable
from flipbook.nn.inserts.micro_conditioning import Classes, Projected, Scalars, VectorPart

READS = {
    "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels", "layers_per_block", "norm_num_groups",
    "norm_eps", "act_fn", "cross_attention_dim", "transformer_layers_per_block", "attention_head_dim", "num_attention_heads",
    "only_cross_attention", "use_linear_projection", "class_embed_type", "num_class_embeds", "projection_class_embeddings_input_dim", "resnet_time_scale_shift",
}  # fmt: skip
FIXED = {
    "center_input_sample": (False,), "flip_sin_to_cos": (True,), "freq_shift": (0,), "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "downsample_padding": (1,), "mid_block_scale_factor": (1,), "dropout": (0.0,),
    "reverse_transformer_layers_per_block": (None,), "encoder_hid_dim": (None,), "encoder_hid_dim_type": (None,),
    "dual_cross_attention": (False,), "addition_embed_type": (None,), "addition_time_embed_dim": (None,),
    "resnet_skip_time_act": (False,), "resnet_out_scale_factor": (1.0,), "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,), "time_embedding_act_fn": (None,), "timestep_post_act": (None,), "time_cond_proj_dim": (None,),
    "conv_in_kernel": (3,), "conv_out_kernel": (3,), "attention_type": ("default",), "class_embeddings_concat": (False,),
    "mid_block_only_cross_attention": (None, False), "cross_attention_norm": (None,),
}  # fmt: skip
FREE = {"sample_size", "upcast_attention", "addition_embed_type_num_heads"}
"""Entries without effect on our network: a default size, and the precision of softmax, which is float32 here."""

BLOCKS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D", "DownBlock2D", "UpBlock2D")


def config_of(json: Json) -> UNetConfig:
    """config.json of UNet2DConditionModel to ours. Its `attention_head_dim` is a number of heads: an old slip that stayed."""
    check_config(json, READS | FREE, FIXED)
    widths = tuple(json["block_out_channels"])
    return UNetConfig(
        **channel_split(json), **image_part(json, attention_levels(json, *BLOCKS)), vector=_vector(json, 4 * widths[0]),
        time_scale_shift=json.get("resnet_time_scale_shift", "default") == "scale_shift",
        heads=per_level(json.get("num_attention_heads") or json.get("attention_head_dim", 8), len(widths)),
        text_alone=text_alone(json),
    )  # fmt: skip


def text_alone(json: Json) -> tuple[bool, ...]:
    """Levels whose first attention reads the text; () for none."""
    levels = per_level(json.get("only_cross_attention", False), len(json["block_out_channels"]))
    return levels if any(levels) else ()


def image_part(json: Json, levels: tuple[bool, ...]) -> Json:
    """Fields of our config that all image-based classes of diffusers write alike."""
    widths = tuple(json["block_out_channels"])
    depths = per_level(json.get("transformer_layers_per_block", 1), len(widths))
    text = set(per_level(json.get("cross_attention_dim", 1280), len(widths)))
    if len(text) > 1:
        raise ValueError(f"cross_attention_dim={json['cross_attention_dim']}: our U-Net reads tokens of one width on all levels.")
    return {
        "widths": widths,
        "depths": per_level(json.get("layers_per_block", 2), len(widths)),
        "transformers": tuple(depth if has else 0 for depth, has in zip(depths, levels, strict=True)),
        "mid_transformers": depths[-1],
        "text_dim": text.pop(),
        "groups": json.get("norm_num_groups", 32),
        "eps": json.get("norm_eps", 1e-5),
        "act": {"swish": "silu"}.get(json.get("act_fn", "silu"), json.get("act_fn", "silu")),
    }


def json_of(config: UNetConfig) -> Json:
    """Our config as config.json of UNet2DConditionModel."""
    if config.inserts != InsertTable() or config.given_clock or config.norm != "frame" or config.down_eps or config.clock != "levels":
        raise ValueError("UNet2DConditionModel is an image network: it cannot hold inserts, given frames, or another clock. Save this one in our own layout.")
    levels = [depth > 0 for depth in config.transformers]
    return {
        "_class_name": "UNet2DConditionModel",
        "down_block_types": ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in levels],
        "up_block_types": ["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(levels)],
        "attention_head_dim": list(config.level_heads),
        "only_cross_attention": list(config.text_alone) or False,
        "use_linear_projection": False,
        "resnet_time_scale_shift": "scale_shift" if config.time_scale_shift else "default",
        **image_json(replace(config, text_alone=())),
        **_vector_json(config.vector),
    }


def image_json(config: UNetConfig) -> Json:
    """The way back of `image_part` and `channel_split`. Raises ValueError for a network whose frames read text alone, or other frames."""
    if any(config.text_alone) or config.kv_frames != "own":
        raise ValueError(f"a public U-Net of this class reads its own frame; this one has text_alone={config.text_alone}, kv_frames={config.kv_frames!r}.")
    return {
        "in_channels": config.in_channels + config.channel_door,
        "out_channels": config.out_channels or config.in_channels,
        "block_out_channels": list(config.widths),
        "layers_per_block": list(config.depths),
        "transformer_layers_per_block": [depth or config.mid_transformers for depth in config.transformers],
        "cross_attention_dim": config.text_dim,
        "norm_num_groups": config.groups,
        "norm_eps": config.eps,
        "act_fn": config.act,
    }


def _vector(json: Json, time_dim: int) -> tuple[VectorPart, ...]:
    kind, count = json.get("class_embed_type"), json.get("num_class_embeds")
    if kind is None:
        return (Classes(num_classes=count, silent=False),) if count else ()
    if kind == "timestep":
        return (Scalars(names=("level",), frequencies=time_dim // 4, silent=False),)
    if kind == "projection":
        return (Projected(width=json["projection_class_embeddings_input_dim"], silent=False),)
    raise ValueError(f"class_embed_type={kind!r} is not known here. Known: None, 'timestep', 'projection'.")


def _vector_json(parts: tuple[VectorPart, ...]) -> Json:
    if not parts:
        return {}
    if len(parts) > 1:
        raise ValueError(f"UNet2DConditionModel has one class embedding, this network {len(parts)}. Save it in our own layout.")
    part = parts[0]
    if isinstance(part, Classes):
        return {"num_class_embeds": part.num_classes}
    if isinstance(part, Scalars):
        return {"class_embed_type": "timestep"}
    return {"class_embed_type": "projection", "projection_class_embeddings_input_dim": part.width}


CLASS_EMBEDDING = {"linear_1": "enter", "linear_2": "leave"}
IMAGE = UNetLayout(
    class_name="UNet2DConditionModel",
    rules=(*image_rules(), *rename("class_embedding.", "vector.0.", CLASS_EMBEDDING), *rename("", "", {"class_embedding": "vector.0.table"})),
    config=config_of,
    json=json_of,
)
