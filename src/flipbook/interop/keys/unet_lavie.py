"""LaVie's base network: the names of its authors' checkpoint, both ways.

Stable Diffusion's network under diffusers' names, with a temporal attention in each transformer block. Its rotary frequencies stand in the
file although they are a formula: checked on the way in, written on the way out. The checkpoint has no configuration; its authors take that of
Stable Diffusion 1.4 and change the names of blocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import LAVIE as TABLE
from flipbook.interop.keys.unet_common import (
    BLOCKS_3D,
    LAYERS,
    READS_3D,
    Json,
    UNetLayout,
    attention_levels,
    channel_split,
    check_config,
    image_rules,
    rename,
)
from flipbook.interop.keys.unet_image import image_json, image_part
from flipbook.interop.keys_apply import KeysDoNotFit, Rule

FREE = {"sample_size"}
FIXED = {
    "mid_block_type": ("UNetMidBlock3DCrossAttn",), "use_first_frame": (False,), "use_relative_position": (False,), "use_linear_projection": (False,),
    "downsample_padding": (1,), "mid_block_scale_factor": (1,), "dual_cross_attention": (False,), "only_cross_attention": (False,),
    "center_input_sample": (False,), "flip_sin_to_cos": (True,), "freq_shift": (0,), "class_embed_type": (None,), "num_class_embeds": (None,),
    "resnet_time_scale_shift": ("default",), "upcast_attention": (False,),
}  # fmt: skip
TURNED = 32
"""Channels of a head that turn with the frame's place."""
FREQUENCIES = ".attn_temp.rotary_emb.freqs"
BIAS = ".attn_temp.time_rel_pos_bias.relative_attention_bias.weight"


def config_of(json: Json) -> UNetConfig:
    """The class's config.json to ours; `attention_head_dim` is a number of heads. Raises ValueError, by name, for what we cannot run."""
    check_config(json, READS_3D | FREE, FIXED)
    heads = json.get("attention_head_dim", 8)
    return UNetConfig(
        **channel_split(json), **image_part(json, attention_levels(json, *BLOCKS_3D)), heads=(heads,) * len(json["block_out_channels"]), inserts=TABLE,
    )  # fmt: skip


def json_of(config: UNetConfig) -> Json:
    """Our config as the class's config.json. Raises ValueError for a network that it cannot be."""
    levels = [depth > 0 for depth in config.transformers]
    json = {key: value for key, value in image_json(config).items() if key != "transformer_layers_per_block"}
    json |= {
        "_class_name": "UNet3DConditionModel", "layers_per_block": config.depths[0], "attention_head_dim": config.level_heads[0],
        "down_block_types": ["CrossAttnDownBlock3D" if has else "DownBlock3D" for has in levels],
        "up_block_types": ["CrossAttnUpBlock3D" if has else "UpBlock3D" for has in reversed(levels)],
        "mid_block_type": "UNetMidBlock3DCrossAttn", "use_first_frame": False, "use_relative_position": False, "use_linear_projection": False,
    }  # fmt: skip
    if config_of(json) != replace(config, out_channels=json["out_channels"]):
        raise ValueError("LaVie's base network holds its one insert, one number of heads and one of layers on all levels. Try our own layout.")
    return json


def seen(weights: Mapping[str, Tensor]) -> Json:
    """The config.json of a checkpoint, from its names and shapes. Raises ValueError if it is none of LaVie's base."""
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    heads = {shape[1] for key, shape in shapes.items() if key.endswith(BIAS)}
    levels = sorted({int(found[1]) for key in shapes if (found := re.match(r"down_blocks\.(\d+)\.resnets\.0\.conv1\.weight", key))})
    text = next((shape[1] for key, shape in shapes.items() if key.endswith(".attn2.to_k.weight")), None)
    if len(heads) != 1 or not levels or text is None or "conv_out.weight" not in shapes:
        raise ValueError(f"these are no weights of LaVie's base network: no *{BIAS} with one number of heads, or no image network.")
    has = [f"down_blocks.{i}.attentions.0.norm.weight" in shapes for i in levels]
    return {
        "_class_name": "UNet3DConditionModel", "in_channels": shapes["conv_in.weight"][1], "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": [shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in levels], "cross_attention_dim": text,
        "layers_per_block": 1 + max(int(key.split(".")[3]) for key in shapes if key.startswith("down_blocks.0.resnets.")),
        "attention_head_dim": heads.pop(),
        "down_block_types": ["CrossAttnDownBlock3D" if one else "DownBlock3D" for one in has],
        "up_block_types": ["CrossAttnUpBlock3D" if one else "UpBlock3D" for one in reversed(has)],
    }  # fmt: skip


class LaVieLayout(UNetLayout):
    """A layout whose files also hold the frequencies of each rotation."""

    def load(self, net: UNet, weights: Mapping[str, Tensor], origin: str = "the checkpoint") -> UNet:
        """See `UNetLayout.load`. Raises `KeysDoNotFit` also for frequencies that are not the formula's."""
        for key, value in weights.items():
            if key.endswith(FREQUENCIES) and not (value.shape == frequencies().shape and torch.allclose(value.float(), frequencies(), rtol=4e-3)):
                raise KeysDoNotFit(f"{origin}: {key} {tuple(value.shape)} is not the frequencies of {2 * len(frequencies())} channels that this network turns.")
        kept = {key: value for key, value in weights.items() if not key.endswith(FREQUENCIES)}
        return super().load(net, repaired(kept, net.config.level_heads[0], ours=True), origin)

    def write(self, net: UNet, *, linear_projection: bool = False) -> tuple[Json, dict[str, Tensor]]:
        """See `UNetLayout.write`; frequencies included."""
        json, weights = super().write(net, linear_projection=linear_projection)
        weights = repaired(weights, net.config.level_heads[0], ours=False)
        return json, weights | {key.replace(BIAS, FREQUENCIES): frequencies() for key in weights if key.endswith(BIAS)}


def repaired(weights: Mapping[str, Tensor], heads: int, *, ours: bool) -> dict[str, Tensor]:
    """The weights with the channels of temporal queries and keys in the order in which a rotation pairs them.

    Theirs turns neighbours (2i, 2i + 1), ours (i, i + 16) of a head's first 32 channels. ours: from their order to ours, else back.
    """
    made = dict(weights)
    for key, value in weights.items():
        if not key.endswith((".attn_temp.to_q.weight", ".attn_temp.to_k.weight")) or value.shape[0] % heads:
            continue
        turned = min(TURNED, value.shape[0] // heads)
        theirs = torch.arange(turned).reshape(-1, 2).T.flatten()            # 0, 2, 4, ..., 1, 3, 5, ...
        order = torch.arange(value.shape[0] // heads)
        order[:turned] = theirs if ours else theirs.argsort()
        made[key] = value.unflatten(0, (heads, -1))[:, order].flatten(0, 1)
    return made


def frequencies(channels: int = TURNED) -> Tensor:
    """Turns per frame of each pair of channels, (channels / 2,) float32."""
    return 10_000.0 ** (-torch.arange(0, channels, 2) / channels)


def _rules() -> tuple[Rule, ...]:
    rules: list[Rule] = list(image_rules())
    names = {"norm_temp": "norm", **{f"attn_temp.to_{a}": f"attention.{b}" for a, b in (("q", "q"), ("k", "k"), ("v", "v"), ("out.0", "out"))}}
    names["attn_temp.time_rel_pos_bias.relative_attention_bias"] = "attention.bucket.table"
    for _, transformers, layer in LAYERS:
        block = f"{layer}transformer.blocks.{{k}}.inserts.temporal_attention.branch."
        rules = [*rename(f"{transformers}transformer_blocks.{{k}}.", block, names), *rules]
    return tuple(rules)


LAVIE = LaVieLayout(class_name="UNet3DConditionModel", rules=_rules(), config=config_of, json=json_of)
