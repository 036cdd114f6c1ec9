"""ModelScopeT2V and Zeroscope: diffusers' UNet3DConditionModel, config.json and weights, both ways."""

from __future__ import annotations

from flipbook.denoisers.unet import UNetConfig
from flipbook.denoisers.unet_tables import modelscope
from flipbook.interop.keys.unet_animatediff import temporal_transformer_rules
from flipbook.interop.keys.unet_common import (
    BLOCKS_3D,
    READS_3D,
    Json,
    UNetLayout,
    attention_levels,
    channel_split,
    check_config,
    image_rules,
)
from flipbook.interop.keys.unet_image import image_json, image_part
from flipbook.interop.keys_apply import Rule

FREE = {"sample_size"}
FIXED = {
    "downsample_padding": (1,), "mid_block_scale_factor": (1,), "num_attention_heads": (None,), "time_cond_proj_dim": (None,),
    "class_embed_type": (None,), "center_input_sample": (False,), "flip_sin_to_cos": (True,), "freq_shift": (0,),
}  # fmt: skip


def config_of(json: Json) -> UNetConfig:
    """config.json of UNet3DConditionModel to ours. Here `attention_head_dim` is one: channels per head."""
    check_config(json, READS_3D | FREE, FIXED)
    head_dim = json.get("attention_head_dim", 64)
    if not isinstance(head_dim, int):
        raise ValueError(f"attention_head_dim={head_dim}: the class itself builds its first layer with one number only.")
    part = image_part({"cross_attention_dim": 1024, **json}, attention_levels(json, *BLOCKS_3D))
    return UNetConfig(**channel_split(json), **part, head_dim=head_dim, inserts=modelscope(head_dim=head_dim))


def json_of(config: UNetConfig) -> Json:
    """Our config as config.json of UNet3DConditionModel."""
    if config.head_dim is None or config.inserts != modelscope(head_dim=config.head_dim):
        raise ValueError("UNet3DConditionModel holds ModelScope's inserts and one head_dim, and this network has others. Save it in our own layout.")
    levels = [depth > 0 for depth in config.transformers]
    json = image_json(config)
    if set(json.pop("transformer_layers_per_block")) != {1} or len(set(config.depths)) > 1:
        raise ValueError(f"UNet3DConditionModel has one transformer block per layer and one depth for all levels, not {config.transformers}, {config.depths}.")
    return {
        "_class_name": "UNet3DConditionModel",
        **json,
        "layers_per_block": config.depths[0],
        "down_block_types": ["CrossAttnDownBlock3D" if has else "DownBlock3D" for has in levels],
        "up_block_types": ["CrossAttnUpBlock3D" if has else "UpBlock3D" for has in reversed(levels)],
        "attention_head_dim": config.head_dim,
    }


PLACES = (
    ("down_blocks.{i}.temp_convs.{j}.", "down_blocks.{i}.temp_attentions.{j}.", "down.{i}.layers.{j}."),
    ("up_blocks.{i}.temp_convs.{j}.", "up_blocks.{i}.temp_attentions.{j}.", "up.{i}.layers.{j}."),
    ("mid_block.temp_convs.{j}.", "mid_block.temp_attentions.{j}.", "mid.{j}."),
)


def _conv_rules(there: str, here: str) -> tuple[Rule, ...]:
    """Four times [norm, SiLU, (dropout from the second on), conv]: numbered by place in a list there."""
    rules = []
    for n in range(4):
        rules.append(Rule(f"{there}conv{n + 1}.0.{{p}}", f"{here}branch.norms.{n}.{{p}}"))
        rules.append(Rule(f"{there}conv{n + 1}.{3 if n else 2}.{{p}}", f"{here}branch.convs.{n}.{{p}}", unit_axes=True))
    return tuple(rules)


RULES = (
    *image_rules(),
    *temporal_transformer_rules("transformer_in.", "inserts.temporal_in."),
    *(rule for conv, _, layer in PLACES for rule in _conv_rules(conv, f"{layer}inserts.temporal_conv.")),
    *(rule for _, attention, layer in PLACES for rule in temporal_transformer_rules(attention, f"{layer}inserts.temporal_transformer.")),
)
MODELSCOPE = UNetLayout(
    class_name="UNet3DConditionModel",
    rules=RULES,
    config=config_of,
    json=json_of,
    units=((r".*\.conv_shortcut\.weight", 2), (r".*\.temp_convs\..*\.weight", 2)),
)
