"""LaVie's upscaler: the names of its authors' checkpoint, both ways.

Stable Diffusion's x4 upscaler under diffusers' names, whose transformers read text alone on all levels but the last. Over time it has a residual
block before each transformer (`resblock_temporal`), an attention in each transformer block (`attn_temporal`), and a module behind each level and
behind the middle (`*_temporal_block*`), whose slots for more attention its released configuration leaves empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from flipbook.denoisers.unet import UNetConfig
from flipbook.denoisers.unet_tables import LAVIE_VSR as TABLE
from flipbook.interop.keys.unet_common import (
    BLOCKS_3D,
    LAYERS,
    READS_3D,
    Json,
    attention_levels,
    channel_split,
    check_config,
    image_rules,
    rename,
)
from flipbook.interop.keys.unet_image import image_part, text_alone
from flipbook.interop.keys.unet_lavie import FREQUENCIES, LaVieLayout, attention_rules, plain_json, plain_seen
from flipbook.interop.keys_apply import Rule
from flipbook.nn.inserts.micro_conditioning import Classes

MODULE: Json = {
    "num_attention_layers": 1, "attention_block_types": ["", ""], "cross_frame_attention_mode": "0_i-1_i", "temporal_shift_fold_div": 2,
    "temporal_shift_direction": "right", "use_dcn_warpping": False, "use_deformable_conv": True, "attention_dim_div": 2,
}  # fmt: skip
"""The released configuration of the modules behind levels: with both slots empty, the other entries have no effect."""
FIXED = {
    "mid_block_type": ("UNetMidBlock3DCrossAttn",), "use_first_frame": (False,), "use_relative_position": (False,), "use_linear_projection": (True,),
    "video_condition": (False,), "mid_temporal": (True,), "temporal_module_config": (MODULE,), "downsample_padding": (1,), "mid_block_scale_factor": (1,),
    "dual_cross_attention": (False,), "center_input_sample": (False,), "flip_sin_to_cos": (True,), "freq_shift": (0,), "class_embed_type": (None,),
    "resnet_time_scale_shift": ("default",), "upcast_attention": (False,),
}  # fmt: skip
FREE = {"sample_size", "max_noise_level", "freeze_pretrained_2d_upsampler"}
TEMPORAL = ".attn_temporal."
MODULE_KEYS = "down_temporal_blocks."


def config_of(json: Json) -> UNetConfig:
    """The class's config.json to ours; `attention_head_dim` is a number of heads. Raises ValueError, by name, for what we cannot run."""
    widths = json["block_out_channels"]
    every = (list(range(len(widths))),)
    reads = READS_3D | FREE | {"only_cross_attention", "num_class_embeds"}
    check_config(json, reads, {**FIXED, "down_temporal_idx": every, "up_temporal_idx": every})
    return UNetConfig(
        **channel_split(json), **image_part(json, attention_levels(json, *BLOCKS_3D)), heads=(json.get("attention_head_dim", 8),) * len(widths),
        text_alone=text_alone(json), vector=(Classes(num_classes=json["num_class_embeds"]),), norm="clip", inserts=TABLE,
    )  # fmt: skip


def json_of(config: UNetConfig) -> Json:
    """Our config as the class's config.json. Raises ValueError for a network that it cannot be."""
    every = list(range(len(config.widths)))
    (part,) = config.vector if len(config.vector) == 1 else (None,)
    json = plain_json(replace(config, text_alone=())) | {
        "_class_name": "UNet3DVSRModel", "only_cross_attention": list(config.text_alone), "num_class_embeds": getattr(part, "num_classes", None),
        "use_linear_projection": True, "video_condition": False, "use_first_frame": False, "down_temporal_idx": every, "mid_temporal": True,
        "up_temporal_idx": every, "temporal_module_config": MODULE,
    }  # fmt: skip
    if part is None or config_of(json) != replace(config, out_channels=json["out_channels"]):
        raise ValueError(
            "LaVie's upscaler holds its own inserts, norms over the clip, a table of noise levels, one number of heads and one of layers on all levels. "
            "Try our own layout."
        )
    return json


def seen(weights: Mapping[str, Tensor]) -> Json:
    """The config.json of a checkpoint, from its names and shapes. Raises ValueError if it is none of LaVie's upscaler."""
    heads = {value.shape[1] for key, value in weights.items() if key.endswith(f"{TEMPORAL}time_rel_pos_bias.relative_attention_bias.weight")}
    classes = weights.get("class_embedding.weight")
    if len(heads) != 1 or classes is None:
        raise ValueError(f"these are no weights of LaVie's upscaler: no *{TEMPORAL}* with one number of heads, or no class_embedding.weight.")
    json = plain_seen(weights)
    levels = len(json["block_out_channels"])
    return json | {
        "_class_name": "UNet3DVSRModel", "attention_head_dim": heads.pop(), "num_class_embeds": classes.shape[0],
        "only_cross_attention": [True] * (levels - 1) + [False],            # of a level as wide as the text, shapes do not tell
    }  # fmt: skip


def _rules() -> tuple[Rule, ...]:
    resnet = {"norm1": "norm1", "conv1": "conv1", "time_emb_proj": "time", "norm2": "norm2", "conv2": "conv2"}
    over_time = ("conv1", "conv2")
    rules = [*attention_rules("norm_temporal", "attn_temporal"), Rule("class_embedding.{p}", "vector.0.table.{p}")]
    for _, transformers, layer in LAYERS:
        rules += rename(f"{transformers}resblock_temporal.", f"{layer}inserts.temporal_resnet.branch.", resnet, unit_axes=over_time)
    for there, here in (("down_temporal_blocks.{i}.", "down.{i}."), ("up_temporal_blocks.{i}.", "up.{i}."), ("mid_temporal_block.", "mid.1.")):
        branch = f"{here}inserts.temporal_conv.branch."
        rules += rename(f"{there}resblocks_3d_t.", f"{branch}temporal.", resnet, unit_axes=over_time)
        rules += rename(f"{there}resblocks_3d_s.", branch, resnet)
        rules += rename(there, branch, {"shift_conv": "out"}, unit_axes=("shift_conv",))
    return (*rules, *image_rules())


UPSCALER = LaVieLayout(
    class_name="UNet3DVSRModel", rules=_rules(), config=config_of, json=json_of, temporal=TEMPORAL, own=f"temporal_{FREQUENCIES}", linear=True,
    units=((r".*\.conv_shortcut\.weight", 2), (r".*\.(resblock_temporal|resblocks_3d_t)\.conv\d\.weight", 2), (r".*\.shift_conv\.weight", 2)),
)  # fmt: skip
