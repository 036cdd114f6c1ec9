"""VideoCrafter 1 and 2: the names of their authors' checkpoints, both ways, and the `unet_config` of their configuration files.

The files hold no configuration, but for `num_head_channels` all of it can be seen in names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import modelscope
from flipbook.interop.keys.single_file import UNET, unet_rules
from flipbook.interop.keys.unet_common import LAYERS, Json, UNetLayout, check_config, rename
from flipbook.interop.keys.unet_modelscope import MODELSCOPE, PLACES
from flipbook.interop.keys_apply import Rule, inverted, translate
from flipbook.nn.inserts.micro_conditioning import Scalars

READS = {
    "in_channels", "out_channels", "model_channels", "attention_resolutions", "num_res_blocks", "channel_mult", "num_head_channels",
    "context_dim", "temporal_conv", "use_relative_position", "temporal_length", "use_image_attention", "fps_cond",
}  # fmt: skip
FREE = {"use_checkpoint", "use_fp16"}
FIXED = {
    "transformer_depth": (1,), "temporal_transformer_depth": (1,), "use_linear": (True,), "temporal_attention": (True,), "temporal_selfatt_only": (True,),
    "use_causal_attention": (False,), "addition_attention": (True,), "use_scale_shift_norm": (False,), "resblock_updown": (False,),
    "conv_resample": (True,), "dims": (2,), "dropout": (0, 0.0), "num_heads": (-1,), "tempspatial_aware": (False,),
}  # fmt: skip


def config_of(json: Json) -> UNetConfig:
    """`unet_config.params` to ours. Raises ValueError, by name, for what we cannot run."""
    check_config(json, READS | FREE, FIXED)
    channels, sizes = json["model_channels"], json["channel_mult"]
    has = [2**level in json["attention_resolutions"] for level in range(len(sizes))]
    head_dim, relative = json.get("num_head_channels", 64), json.get("use_relative_position", True)
    return UNetConfig(
        in_channels=json["in_channels"], out_channels=json["out_channels"], widths=tuple(channels * n for n in sizes),
        depths=(json["num_res_blocks"],) * len(sizes), transformers=tuple(int(one) for one in has), head_dim=head_dim,
        text_dim=json["context_dim"], picture_dim=json["context_dim"] if json.get("use_image_attention", False) else None,
        vector=(Scalars(names=("fps",), frequencies=channels),) if json.get("fps_cond", False) else (),
        inserts=modelscope(head_dim=head_dim, conv=json.get("temporal_conv", False), reach=json["temporal_length"] if relative else None),
    )  # fmt: skip


def json_of(config: UNetConfig) -> Json:
    """Our config as `unet_config.params`. Raises ValueError for a network that their class cannot be."""
    conv = any(row.name == "temporal_conv" for row in config.inserts.rows)
    attention = getattr(config.inserts.rows[0].kind, "attention", None) if config.inserts.rows else None
    reach = attention.max_frames if attention is not None and attention.positions == ("shaw",) else None
    fps = (Scalars(names=("fps",), frequencies=config.widths[0]),)
    json: Json = {
        "in_channels": config.in_channels, "out_channels": config.out_channels or config.in_channels, "model_channels": config.widths[0],
        "attention_resolutions": [2**level for level, depth in enumerate(config.transformers) if depth], "num_res_blocks": config.depths[0],
        "channel_mult": [width // config.widths[0] for width in config.widths], "num_head_channels": config.head_dim, "transformer_depth": 1,
        "context_dim": config.text_dim, "use_linear": True, "temporal_conv": conv, "temporal_attention": True, "temporal_selfatt_only": True,
        "use_relative_position": reach is not None, "use_causal_attention": False, "temporal_length": reach or 16, "addition_attention": True,
        "use_image_attention": config.picture_dim is not None, "fps_cond": config.vector == fps,
    }  # fmt: skip
    if config.head_dim is None or config_of(json) != replace(config, out_channels=json["out_channels"]):
        raise ValueError("VideoCrafter's network has ModelScope's inserts, one head_dim, 32 groups and at most a frame rate. Save this one in our own layout.")
    return json


def seen(weights: Mapping[str, Tensor], prefix: str = UNET, *, head_dim: int = 64) -> Json:
    """`unet_config.params` of a checkpoint, from its names and shapes. Raises ValueError if it is none of VideoCrafter's.

    head_dim: what cannot be seen; where there are tables of distances, they know it.
    """
    shapes = {key.removeprefix(prefix): tuple(value.shape) for key, value in weights.items() if key.startswith(prefix)}
    down = sorted({int(found[1]) for key in shapes if (found := re.match(r"input_blocks\.(\d+)\.", key))})
    resized = [n for n in down if f"input_blocks.{n}.0.op.weight" in shapes]
    if not resized or "init_attn.0.proj_in.weight" not in shapes or len(down) % resized[0]:
        raise ValueError(f"these are no weights of VideoCrafter's network: no {prefix}init_attn, or no input_blocks that change size.")
    depth, levels = resized[0] - 1, len(down) // resized[0]
    firsts = [f"input_blocks.{1 + level * (depth + 1)}" for level in range(levels)]
    channels, taken, *_ = shapes["input_blocks.0.0.weight"]
    table = shapes.get("init_attn.0.transformer_blocks.0.attn1.relative_position_k.embeddings_table")
    names = " ".join(shapes)
    return {
        "in_channels": taken, "out_channels": shapes["out.2.weight"][0], "model_channels": channels, "num_res_blocks": depth,
        "attention_resolutions": [2**level for level, first in enumerate(firsts) if f"{first}.1.norm.weight" in shapes],
        "channel_mult": [shapes[f"{first}.0.out_layers.3.weight"][0] // channels for first in firsts],
        "num_head_channels": table[1] if table else head_dim,
        "context_dim": next((shape[1] for key, shape in shapes.items() if key.endswith(".1.transformer_blocks.0.attn2.to_k.weight")), None),
        "temporal_conv": ".temopral_conv." in names, "use_relative_position": table is not None,
        "temporal_length": (table[0] - 1) // 2 if table else 16, "use_image_attention": ".to_k_ip." in names, "fps_cond": "fps_embedding." in names,
    }  # fmt: skip


# ---------------------------------------------------------------- names


def _tables(there: str, here: str) -> list[Rule]:
    return [
        Rule(f"{there}transformer_blocks.{{k}}.attn{n}.relative_position_{a}.embeddings_table", f"{here}branch.blocks.{{k}}.{name}.tables.{b}")
        for n, name in ((1, "first"), (2, "second")) for a, b in (("k", "keys"), ("v", "values"))
    ]  # fmt: skip


RULES = (
    *rename("fps_embedding.", "vector.0.", {"linear_1": "enter", "linear_2": "leave"}),
    *rename("transformer_in.", "inserts.temporal_in.branch.", {"proj_in": "enter", "proj_out": "leave"}, unit_axes=("proj_in", "proj_out")),
    *_tables("transformer_in.", "inserts.temporal_in."),
    *(rule for _, attention, layer in PLACES for rule in _tables(attention, f"{layer}inserts.temporal_transformer.")),
    *(
        Rule(f"{attention}transformer_blocks.{{k}}.attn2.to_{a}_ip.{{p}}", f"{layer}transformer.blocks.{{k}}.cross.picture_{a}.{{p}}")
        for _, attention, layer in LAYERS for a in "kv"
    ),
    *MODELSCOPE.rules,
)  # fmt: skip
VIDEOCRAFTER = UNetLayout(
    class_name="VideoCrafter",
    rules=RULES,
    config=config_of,
    json=json_of,
    units=((r".*\.conv_shortcut\.weight", 2), (r".*\.temp_convs\..*\.weight", 2), (r"transformer_in\.proj_(in|out)\.weight", 1)),
)
"""Names in between, those of diffusers' UNet3DConditionModel with VideoCrafter's own beside them, and ours."""


def original_rules(config: UNetConfig, prefix: str = UNET) -> tuple[Rule, ...]:
    """The authors' names to the names in between."""
    own = (
        ("init_attn.0.{rest*}", "transformer_in.{rest*}"),
        ("fps_embedding.0.{p}", "fps_embedding.linear_1.{p}"), ("fps_embedding.2.{p}", "fps_embedding.linear_2.{p}"),
    )  # fmt: skip
    attends = [depth > 0 for depth in config.transformers]
    image = unet_rules(len(config.widths), config.depths[0], prefix, attends=attends, temporal=True)
    return (*(Rule(prefix + there, here) for there, here in own), *image)


def load(net: UNet, weights: Mapping[str, Tensor], origin: str) -> UNet:
    """Fill a network of `config_of(seen(weights))`. Raises KeysDoNotFit, which lists every key that does not fit."""
    between = translate(weights, original_rules(net.config), None, origin)
    return VIDEOCRAFTER.load(net, between, origin)


def write(net: UNet, prefix: str = UNET) -> tuple[Json, dict[str, Tensor]]:
    """`unet_config.params` and weights under the authors' names. Raises ValueError for a network that their class cannot be."""
    json, between = VIDEOCRAFTER.write(net)
    return json, translate(between, inverted(original_rules(net.config, prefix)), None, "this network")
