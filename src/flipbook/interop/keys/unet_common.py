"""What the layouts of all public U-Nets share: a layout, a strict reader of config.json, and the rules of the image network."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.interop.keys_apply import Rule, _fill, _match, inverted, listed, translate

Json = dict[str, Any]


@dataclass(frozen=True)
class UNetLayout:
    """How a public class writes a U-Net: its config.json and its weights.

    class_name: `_class_name` of its config.json.
    rules:      the key map, theirs to ours.
    config:     config.json to our config; raises ValueError for what we cannot run, naming every such entry.
    json:       our config to config.json; raises ValueError for what this class cannot say.
    units:      (pattern of their names, axes of length 1 behind the matrices so called): convolutions there, linear layers here.
    """

    class_name: str
    rules: tuple[Rule, ...]
    config: Callable[[Json], UNetConfig]
    json: Callable[[UNetConfig], Json]
    units: tuple[tuple[str, int], ...] = ((r".*\.conv_shortcut\.weight", 2),)

    def load(self, net: UNet, weights: Mapping[str, Tensor], origin: str = "the checkpoint") -> UNet:
        """Fill a network of `self.config(...)`. Raises `KeysDoNotFit`, which lists every key that does not fit."""
        net.load_state_dict(translate(weights, self.rules, net.state_dict(), origin), assign=True)
        return net

    def write(self, net: UNet, *, linear_projection: bool = False) -> tuple[Json, dict[str, Tensor]]:
        """config.json and weights as this class writes them.

        linear_projection: whether the image transformers' outer layers are linear (Stable Diffusion 2.x) or 1 x 1 convolutions
        (1.x); only where the class leaves the choice.
        """
        json, units = self.json(net.config), self.units
        if "use_linear_projection" in json:
            json["use_linear_projection"] = linear_projection
            units += () if linear_projection else ((r".*\.attentions\..*\.proj_(in|out)\.weight", 2),)
        return json, self.translated(net.state_dict(), units)

    def translated(self, ours: Mapping[str, Tensor], units: tuple[tuple[str, int], ...]) -> dict[str, Tensor]:
        """Our weights under their names, in their shapes."""
        rules = inverted(self.rules)
        shapes = {name_there(key, rules): value.shape for key, value in ours.items()}
        for name, shape in shapes.items():
            axes = next((axes for pattern, axes in units if re.fullmatch(pattern, name)), 0)
            shapes[name] = torch.Size((*shape, *([1] * axes if len(shape) > 1 else [])))
        return translate(ours, rules, shapes, "this network")


READS_3D = {
    "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels", "layers_per_block", "norm_num_groups",
    "norm_eps", "act_fn", "cross_attention_dim", "attention_head_dim",
}  # fmt: skip
BLOCKS_3D = ("CrossAttnDownBlock3D", "CrossAttnUpBlock3D", "DownBlock3D", "UpBlock3D")
"""What LaVie's class took over from UNet3DConditionModel: the keys that say a network's size, and the types of its blocks."""


def name_there(key: str, rules: Sequence[Rule]) -> str:
    """What the first rule that knows a key calls it; the key itself if none does. For maps that join and cut nothing."""
    for rule in rules:
        names = _match(rule, key)
        if names is not None:
            return _fill(str(rule.ours), names)
    return key


def check_config(json: Json, reads: Collection[str], fixed: Mapping[str, Collection[Any]]) -> None:
    """Refuse a config.json that says more than we read.

    reads: entries that are read. fixed: entries that must have one of some values. Names with a leading underscore are free.
    Raises ValueError that lists every entry that is neither.
    """
    unknown = [key for key in json if key not in reads and key not in fixed and not key.startswith("_")]
    other = [f"{key}={json[key]!r}" for key, allowed in fixed.items() if key in json and not any(_same(json[key], a) for a in allowed)]
    if unknown or other:
        problems = {"of no known name": unknown, "with a value that this network cannot have": other}
        raise ValueError("\n".join([f"config.json of {json.get('_class_name', 'a U-Net')} holds entries:", *listed(problems)]))


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def per_level(value: Any, levels: int) -> tuple[Any, ...]:
    """A number for all levels, or one each, as a tuple of one each."""
    return tuple(value) if isinstance(value, list | tuple) else (value,) * levels


def channel_split(json: Json) -> Json:
    """in_channels of a public class counts the `channels` door too: what it reads beyond what it predicts is that door."""
    taken, made = json.get("in_channels", 4), json.get("out_channels", 4)
    door = max(taken - made, 0)
    return {"in_channels": taken - door, "out_channels": made, "channel_door": door}


def attention_levels(json: Json, down: str, up: str, plain_down: str, plain_up: str) -> tuple[bool, ...]:
    """Which levels have a transformer, from the block types. Raises ValueError for other types or a lopsided network."""
    downs, ups = json["down_block_types"], json["up_block_types"]
    strange = (set(downs) - {down, plain_down}) | (set(ups) - {up, plain_up})
    if strange:
        raise ValueError(f"block types {sorted(strange)} are unknown here. Known: {down}, {plain_down}, {up}, {plain_up}.")
    levels = tuple(kind == down for kind in downs)
    if levels != tuple(kind == up for kind in reversed(ups)):
        raise ValueError(f"down_block_types {downs} and up_block_types {ups} are not mirror images. Our U-Net has the same levels both ways.")
    return levels


def rename(there: str, here: str, parts: Mapping[str, str], unit_axes: Collection[str] = ()) -> tuple[Rule, ...]:
    """Rules for the parts of one module: weight and bias of each, under two prefixes."""
    return tuple(Rule(f"{there}{a}.{{p}}", f"{here}{b}.{{p}}", unit_axes=a in unit_axes) for a, b in parts.items())


RESNET = {"norm1": "norm1", "conv1": "conv1", "time_emb_proj": "time", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "shortcut"}
TRANSFORMER = {"norm": "norm", "proj_in": "enter", "proj_out": "leave"}
SELF_ATTENTION = {"attn1.to_q": "attention.q", "attn1.to_k": "attention.k", "attn1.to_v": "attention.v", "attn1.to_out.0": "attention.out"}
CROSS_ATTENTION = {"attn2.to_q": "cross.q", "attn2.to_k": "cross.k", "attn2.to_v": "cross.v", "attn2.to_out.0": "cross.out"}
BLOCK = {
    **{f"norm{n}": f"norm{n}" for n in (1, 2, 3)}, **SELF_ATTENTION, **CROSS_ATTENTION, "ff.net.0.proj": "mlp.enter", "ff.net.2": "mlp.leave",
}  # fmt: skip
ENDS = {
    "conv_in": "conv_in", "time_embedding.linear_1": "time_in", "time_embedding.linear_2": "time_out",
    "conv_norm_out": "norm_out", "conv_out": "conv_out",
}  # fmt: skip

LAYERS = (
    ("down_blocks.{i}.resnets.{j}.", "down_blocks.{i}.attentions.{j}.", "down.{i}.layers.{j}."),
    ("up_blocks.{i}.resnets.{j}.", "up_blocks.{i}.attentions.{j}.", "up.{i}.layers.{j}."),
    ("mid_block.resnets.{j}.", "mid_block.attentions.{j}.", "mid.{j}."),
)
"""Where a layer's residual block and transformer stand there, and the layer here."""


def transformer_rules(there: str, here: str) -> tuple[Rule, ...]:
    """An image transformer; its outer linear layers are 1 x 1 convolutions in some checkpoints."""
    return (
        *rename(there, here, TRANSFORMER, unit_axes=("proj_in", "proj_out")),
        *rename(f"{there}transformer_blocks.{{k}}.", f"{here}blocks.{{k}}.", BLOCK),
    )


def image_rules(resnet: str = "") -> tuple[Rule, ...]:
    """The image network. resnet: what stands between a residual block's place and its parts (SVD nests them one deeper)."""
    rules = list(rename("", "", ENDS))
    for resnets, transformers, layer in LAYERS:
        rules += rename(f"{resnets}{resnet}", f"{layer}resnet.", RESNET, unit_axes=("conv_shortcut",))
        rules += transformer_rules(transformers, f"{layer}transformer.")
    rules += [Rule("down_blocks.{i}.downsamplers.0.conv.{p}", "down.{i}.resize.{p}"), Rule("up_blocks.{i}.upsamplers.0.conv.{p}", "up.{i}.resize.{p}")]
    return tuple(rules)
