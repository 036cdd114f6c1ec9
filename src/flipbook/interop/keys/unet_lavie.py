"""LaVie's base and its interpolation network: the names of their authors' checkpoints, both ways.

Stable Diffusion's network under diffusers' names, with a temporal attention in each transformer block. The base has it before the MLP, with
rotations and a bias that tell the order of frames; the interpolation network behind the MLP, without either, and its frames read the first
one and the one before them. Rotary frequencies stand in the files although they are a formula: checked on the way in, written on the way
out. Group norms of residual blocks span the clip. The checkpoints have no configuration; their authors take that of Stable Diffusion 1.4 and
change the names of blocks. The upscaler: `unet_lavie_vsr`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import LAVIE as TABLE
from flipbook.denoisers.unet_tables import LAVIE_INTERPOLATION
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
    "mid_block_type": ("UNetMidBlock3DCrossAttn",), "use_relative_position": (False,), "use_linear_projection": (False,),
    "downsample_padding": (1,), "mid_block_scale_factor": (1,), "dual_cross_attention": (False,), "only_cross_attention": (False,),
    "center_input_sample": (False,), "flip_sin_to_cos": (True,), "freq_shift": (0,), "class_embed_type": (None,), "num_class_embeds": (None,),
    "resnet_time_scale_shift": ("default",), "upcast_attention": (False,),
}  # fmt: skip
TURNED = 32
"""Channels of a head that turn with the frame's place."""
FREQUENCIES = "rotary_emb.freqs"
TEMPORAL, BIAS = ".attn_temp.", ".attn_temp.time_rel_pos_bias.relative_attention_bias.weight"
HEADS = 8
"""Of the interpolation network, whose file does not tell."""


def config_of(json: Json) -> UNetConfig:
    """The class's config.json to ours; `attention_head_dim` is a number of heads, `use_first_frame` is the interpolation network.

    Raises ValueError, by name, for what we cannot run.
    """
    check_config(json, READS_3D | FREE | {"use_first_frame"}, FIXED)
    heads, between = json.get("attention_head_dim", 8), bool(json.get("use_first_frame", False))
    return UNetConfig(
        **channel_split(json), **image_part(json, attention_levels(json, *BLOCKS_3D)), heads=(heads,) * len(json["block_out_channels"]), norm="clip",
        inserts=LAVIE_INTERPOLATION if between else TABLE, kv_frames="sparse_causal" if between else "own",
    )  # fmt: skip


def json_of(config: UNetConfig) -> Json:
    """Our config as the class's config.json. Raises ValueError for a network that it cannot be."""
    between = config.kv_frames == "sparse_causal"
    json = plain_json(replace(config, kv_frames="own"))
    json |= {
        "_class_name": "UNet3DConditionModel", "mid_block_type": "UNetMidBlock3DCrossAttn", "use_first_frame": between, "use_relative_position": False,
        "use_linear_projection": False,
    }  # fmt: skip
    if config_of(json) != replace(config, out_channels=json["out_channels"]):
        raise ValueError(
            "LaVie's networks hold their own inserts, norms over the clip, one number of heads and one of layers on all levels. "
            "Try norm='clip', or our own layout."
        )
    return json


def plain_json(config: UNetConfig) -> Json:
    """What the authors' classes share with the image network's."""
    levels = [depth > 0 for depth in config.transformers]
    json = {key: value for key, value in image_json(config).items() if key != "transformer_layers_per_block"}
    return json | {
        "layers_per_block": config.depths[0], "attention_head_dim": config.level_heads[0],
        "down_block_types": ["CrossAttnDownBlock3D" if has else "DownBlock3D" for has in levels],
        "up_block_types": ["CrossAttnUpBlock3D" if has else "UpBlock3D" for has in reversed(levels)],
    }  # fmt: skip


def seen(weights: Mapping[str, Tensor]) -> Json:
    """The config.json of a checkpoint, from its names and shapes. Raises ValueError if it is none of LaVie's base or interpolation."""
    heads = {value.shape[1] for key, value in weights.items() if key.endswith(BIAS)}
    if not any(TEMPORAL in key for key in weights) or len(heads) > 1:
        raise ValueError(f"these are no weights of LaVie's base or interpolation network: no *{TEMPORAL}* with one number of heads.")
    kind = {"_class_name": "UNet3DConditionModel", "attention_head_dim": heads.pop() if heads else HEADS}
    return plain_seen(weights) | kind | {"use_first_frame": not any(key.endswith(BIAS) for key in weights)}


def plain_seen(weights: Mapping[str, Tensor]) -> Json:
    """What names and shapes tell of the image network. Raises ValueError if there is none."""
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    levels = sorted({int(found[1]) for key in shapes if (found := re.match(r"down_blocks\.(\d+)\.resnets\.0\.conv1\.weight", key))})
    text = next((shape[1] for key, shape in shapes.items() if key.endswith(".attn2.to_k.weight")), None)
    if not levels or text is None or not {"conv_in.weight", "conv_out.weight"} <= shapes.keys():
        raise ValueError("these are no weights of LaVie: no image network of Stable Diffusion under diffusers' names.")
    has = [f"down_blocks.{i}.attentions.0.norm.weight" in shapes for i in levels]
    return {
        "in_channels": shapes["conv_in.weight"][1], "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": [shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in levels], "cross_attention_dim": text,
        "layers_per_block": 1 + max(int(key.split(".")[3]) for key in shapes if key.startswith("down_blocks.0.resnets.")),
        "down_block_types": ["CrossAttnDownBlock3D" if one else "DownBlock3D" for one in has],
        "up_block_types": ["CrossAttnUpBlock3D" if one else "UpBlock3D" for one in reversed(has)],
    }  # fmt: skip


@dataclass(frozen=True)
class LaVieLayout(UNetLayout):
    """A layout whose files also hold the frequencies of each rotation.

    temporal: what stands before the parts of a temporal attention.   own: where the network keeps its frequencies besides; "": nowhere.
    linear:   whether its image transformers' outer layers are linear.
    """

    temporal: str = TEMPORAL
    own: str = ""
    linear: bool = False

    def load(self, net: UNet, weights: Mapping[str, Tensor], origin: str = "the checkpoint") -> UNet:
        """See `UNetLayout.load`. Raises `KeysDoNotFit` also for frequencies that are not the formula's."""
        formula, places = frequencies(), self._frequency_names(weights)
        for key, value in weights.items():
            if key in places and not (value.shape == formula.shape and torch.allclose(value.float(), formula, rtol=4e-3)):
                raise KeysDoNotFit(f"{origin}: {key} {tuple(value.shape)} is not the frequencies of {2 * len(formula)} channels that this network turns.")
        kept = {key: value for key, value in weights.items() if key not in places}
        return super().load(net, self._turned(kept, net.config.level_heads[0], ours=True), origin)

    def write(self, net: UNet, *, linear_projection: bool = False) -> tuple[Json, dict[str, Tensor]]:
        """See `UNetLayout.write`; frequencies included, and outer layers as the authors have them."""
        json, weights = super().write(net, linear_projection=self.linear)
        weights = self._turned(weights, net.config.level_heads[0], ours=False)
        return json, weights | {name: frequencies() for name in self._frequency_names(weights)}

    def _frequency_names(self, weights: Mapping[str, Tensor]) -> set[str]:
        """Where frequencies stand: beside each bias, and at the network's own place."""
        beside = {key.replace(_TABLE, FREQUENCIES) for key in weights if key.endswith(f"{self.temporal}{_TABLE}")}
        return beside | {self.own} if self.own else beside

    def _turned(self, weights: Mapping[str, Tensor], heads: int, *, ours: bool) -> dict[str, Tensor]:
        """The weights with the channels of turned queries and keys in the order in which a rotation pairs them.

        Theirs turns neighbours (2i, 2i + 1), ours (i, i + 16) of a head's first 32 channels. ours: from their order to ours, else back.
        """
        made = dict(weights)
        for key in weights:
            if not key.endswith(f"{self.temporal}{_TABLE}"):
                continue
            for name in (key.replace(_TABLE, "to_q.weight"), key.replace(_TABLE, "to_k.weight")):
                value = weights.get(name)
                if value is None or value.shape[0] % heads:
                    continue                                                # `translate` will name it
                turned = min(TURNED, value.shape[0] // heads)
                theirs = torch.arange(turned).reshape(-1, 2).T.flatten()    # 0, 2, 4, ..., 1, 3, 5, ...
                order = torch.arange(value.shape[0] // heads)
                order[:turned] = theirs if ours else theirs.argsort()
                made[name] = value.unflatten(0, (heads, -1))[:, order].flatten(0, 1)
        return made


_TABLE = "time_rel_pos_bias.relative_attention_bias.weight"


def frequencies(channels: int = TURNED) -> Tensor:
    """Turns per frame of each pair of channels, (channels / 2,) float32."""
    return 10_000.0 ** (-torch.arange(0, channels, 2) / channels)


def attention_rules(norm: str, attention: str) -> tuple[Rule, ...]:
    """The temporal attention of each transformer block, from what the authors call its norm and itself."""
    names = {norm: "norm", **{f"{attention}.to_{a}": f"attention.{b}" for a, b in (("q", "q"), ("k", "k"), ("v", "v"), ("out.0", "out"))}}
    names[f"{attention}.time_rel_pos_bias.relative_attention_bias"] = "attention.bucket.table"
    return tuple(
        rule for _, transformers, layer in LAYERS
        for rule in rename(f"{transformers}transformer_blocks.{{k}}.", f"{layer}transformer.blocks.{{k}}.inserts.temporal_attention.branch.", names)
    )  # fmt: skip


LAVIE = LaVieLayout(class_name="UNet3DConditionModel", rules=(*attention_rules("norm_temp", "attn_temp"), *image_rules()), config=config_of, json=json_of)
