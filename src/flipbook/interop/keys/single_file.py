"""Single-file checkpoints in the names of their authors, to the names that diffusers folders use.

Stable Diffusion 1.x and 2.x: `model.diffusion_model.*`, `first_stage_model.*`, `cond_stage_model.*` in one file.
AnimateDiff: motion modules alone, `*.motion_modules.*.temporal_transformer.*`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from flipbook.interop.keys.autoencoder_kl import original_rules as autoencoder_rules
from flipbook.interop.keys_apply import KeysDoNotFit, Rule, listed, translate

UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
UNUSED = (
    "model_ema.", "betas", "alphas_cumprod", "sqrt_", "log_one_minus_", "posterior_", "logvar", "scale_factor", "lvlb_weights",
    "first_stage_model.loss.",
)  # fmt: skip
"""What training left in such files: noise schedules, a second set of weights, the autoencoder's adversary."""

RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "out_layers.0": "norm2", "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut",
}  # fmt: skip


def unet_rules(
    levels: int = 4, depth: int = 2, prefix: str = UNET, *, attends: Sequence[bool] | None = None, temporal: bool = False
) -> tuple[Rule, ...]:
    """Original names of a Stable Diffusion U-Net to those of `UNet2DConditionModel`.

    levels: sizes. depth: residual blocks per size on the way down, one more on the way up.
    attends: which sizes have transformers, largest pictures first; to write one has to know, to read not (None).
    temporal: VideoCrafter's, to the names of `UNet3DConditionModel`: temporal convolutions inside the residual blocks, a temporal
              transformer behind each image transformer.
    """
    last = 3 if temporal else 2                                             # where what follows the transformers stands in a block
    names = [
        ("time_embed.0.{p}", "time_embedding.linear_1.{p}"), ("time_embed.2.{p}", "time_embedding.linear_2.{p}"),
        ("input_blocks.0.0.{p}", "conv_in.{p}"), ("out.0.{p}", "conv_norm_out.{p}"), ("out.2.{p}", "conv_out.{p}"),
        *_resnet("middle_block.0", "mid_block.resnets.0"), *_resnet(f"middle_block.{last}", "mid_block.resnets.1"),
        *_layer("middle_block", "mid_block", 0, temporal), (f"middle_block.{last}.temopral_conv.{{rest*}}", "mid_block.temp_convs.1.{rest*}"),
    ]  # fmt: skip
    for i in range(levels):
        for j in range(depth):
            block = f"input_blocks.{1 + i * (depth + 1) + j}"
            names += [*_resnet(f"{block}.0", f"down_blocks.{i}.resnets.{j}"), *_layer(block, f"down_blocks.{i}", j, temporal)]
        names.append((f"input_blocks.{(i + 1) * (depth + 1)}.0.op.{{p}}", f"down_blocks.{i}.downsamplers.0.conv.{{p}}"))
        for j in range(depth + 1):
            block = f"output_blocks.{i * (depth + 1) + j}"
            places = (1, last) if attends is None else (last if attends[levels - 1 - i] else 1,)
            names += [
                *_resnet(f"{block}.0", f"up_blocks.{i}.resnets.{j}"),
                *((f"{block}.{n}.conv.{{p}}", f"up_blocks.{i}.upsamplers.0.conv.{{p}}") for n in places if j == depth),
                *_layer(block, f"up_blocks.{i}", j, temporal),
            ]
    return tuple(Rule(prefix + there, here) for there, here in names)


def seen(weights: Mapping[str, Tensor], origin: str) -> dict[str, Any]:
    """`UNet2DConditionModel`'s config.json of a Stable Diffusion file, from its names and shapes. Heads, which no file tells, go by the version:
    8 in 1.x, whose text is 768 wide, 64 channels each in 2.x. Raises ValueError for a text of another width.
    """
    shapes = {key.removeprefix(UNET): tuple(value.shape) for key, value in weights.items() if key.startswith(UNET)}
    down = sorted({int(found[1]) for key in shapes if (found := re.match(r"input_blocks\.(\d+)\.", key))})
    resized = next((n for n in down if f"input_blocks.{n}.0.op.weight" in shapes), 0)
    text = next((shape[1] for key, shape in shapes.items() if key.endswith(".attn2.to_k.weight")), None)
    if not resized or len(down) % resized or text not in (768, 1024):
        raise ValueError(f"{origin} is no Stable Diffusion of version 1 or 2: its network reads text {text} wide, theirs 768 or 1024.")
    firsts = [f"input_blocks.{1 + level * resized}" for level in range(len(down) // resized)]
    widths = [shapes[f"{first}.0.out_layers.3.weight"][0] for first in firsts]
    has = [f"{first}.1.norm.weight" in shapes for first in firsts]
    return {
        "_class_name": "UNet2DConditionModel", "in_channels": shapes["input_blocks.0.0.weight"][1], "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": widths, "layers_per_block": resized - 1, "cross_attention_dim": text,
        "attention_head_dim": 8 if text == 768 else [max(width // 64, 1) for width in widths],
        "use_linear_projection": len(shapes["middle_block.1.proj_in.weight"]) == 2,
        "down_block_types": ["CrossAttnDownBlock2D" if one else "DownBlock2D" for one in has],
        "up_block_types": ["CrossAttnUpBlock2D" if one else "UpBlock2D" for one in reversed(has)],
    }  # fmt: skip


CLIP_RULES = (
    Rule(f"{TEXT}transformer.text_model.embeddings.position_ids", ()),
    Rule(f"{TEXT}transformer.{{rest*}}", "{rest*}"),
)
"""CLIP's text tower in Stable Diffusion 1.x files, to `CLIPTextModel`."""


def open_clip_rules(layers: int = 23) -> tuple[Rule, ...]:
    """OpenCLIP's text tower in Stable Diffusion 2.x files, to `CLIPTextModel` of `layers` layers: the last one is never run."""
    block, layer = f"{TEXT}model.transformer.resblocks.{{i}}", "text_model.encoder.layers.{i}"
    pairs = [
        ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"), ("attn.out_proj", "self_attn.out_proj"),
    ]  # fmt: skip
    return (
        Rule(f"{TEXT}model.transformer.resblocks.{layers}.{{rest*}}", ()),
        *(Rule(f"{block}.{there}.{{p}}", f"{layer}.{here}.{{p}}") for there, here in pairs),
        *(Rule(f"{block}.attn.in_proj_{p}", tuple(f"{layer}.self_attn.{n}_proj.{p}" for n in "qkv")) for p in ("weight", "bias")),
        Rule(f"{TEXT}model.token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        Rule(f"{TEXT}model.positional_embedding", "text_model.embeddings.position_embedding.weight"),
        Rule(f"{TEXT}model.ln_final.{{p}}", "text_model.final_layer_norm.{p}"),
        Rule(f"{TEXT}model.text_projection", ()),
        Rule(f"{TEXT}model.logit_scale", ()),
        Rule(f"{TEXT}model.attn_mask", ()),
    )


_MOTION = "{place*}.temporal_transformer.transformer_blocks.{b}"
_THERE = "{place*}.transformer_blocks.{b}"
MOTION_RULES = (
    Rule(f"{_MOTION}.attention_blocks.0.pos_encoder.pe", f"{_THERE}.pos_embed.pe"),
    Rule(f"{_MOTION}.attention_blocks.1.pos_encoder.pe", ()),                          # the same table once more
    Rule(f"{_MOTION}.attention_blocks.0.{{rest*}}", f"{_THERE}.attn1.{{rest*}}"),
    Rule(f"{_MOTION}.attention_blocks.1.{{rest*}}", f"{_THERE}.attn2.{{rest*}}"),
    Rule(f"{_MOTION}.norms.0.{{p}}", f"{_THERE}.norm1.{{p}}"),
    Rule(f"{_MOTION}.norms.1.{{p}}", f"{_THERE}.norm2.{{p}}"),
    Rule(f"{_MOTION}.ff_norm.{{p}}", f"{_THERE}.norm3.{{p}}"),
    Rule(f"{_MOTION}.ff.{{rest*}}", f"{_THERE}.ff.{{rest*}}"),
    Rule("{place*}.temporal_transformer.{layer}.{p}", "{place*}.{layer}.{p}"),
)
"""Motion modules of AnimateDiff's own files to `MotionAdapter`."""


def motion_adapter(weights: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """A motion module file under the names of `MotionAdapter`. Raises KeysDoNotFit for other keys."""
    return translate({key.removeprefix("module."): value for key, value in weights.items()}, MOTION_RULES, None, origin)


def stable_diffusion(weights: Mapping[str, Tensor], origin: str, *, levels: int = 4, depth: int = 2) -> dict[str, dict[str, Tensor]]:
    """The parts of a Stable Diffusion file under diffusers' names: "unet", "vae", "text_encoder".

    Raises KeysDoNotFit for keys of no known name, and for a file without one of the parts.
    """
    parts: dict[str, dict[str, Tensor]] = {UNET: {}, AUTOENCODER: {}, TEXT: {}}
    strangers = []
    for key, value in weights.items():
        prefix = next((prefix for prefix in parts if key.startswith(prefix)), None)
        if key.startswith(UNUSED):
            continue
        if prefix is None:
            strangers.append(key)
        else:
            parts[prefix][key] = value
    missing = [prefix + "*" for prefix, part in parts.items() if not part]
    if strangers or missing:
        problems = {"of no known name": strangers, "missing": missing}
        raise KeysDoNotFit("\n".join([f"{origin} is no Stable Diffusion checkpoint of version 1 or 2:", *listed(problems)]))
    text = CLIP_RULES if any(key.startswith(f"{TEXT}transformer.") for key in parts[TEXT]) else open_clip_rules(_last_layer(parts[TEXT]))
    rules: dict[str, tuple[str, Sequence[Rule]]] = {
        "unet": (UNET, unet_rules(levels, depth)), "vae": (AUTOENCODER, autoencoder_rules(levels)), "text_encoder": (TEXT, text),
    }  # fmt: skip
    return {name: translate(parts[prefix], table, None, origin) for name, (prefix, table) in rules.items()}


def _last_layer(text: Mapping[str, Tensor]) -> int:
    blocks = [int(key.split("resblocks.")[1].split(".")[0]) for key in text if "resblocks." in key]
    return max(blocks, default=0)


def _layer(there: str, here: str, j: int, temporal: bool) -> list[tuple[str, str]]:
    """What stands beside the residual block of a layer. (The slip in the authors' name of the convolution is theirs, and in their files.)"""
    names = [(f"{there}.1.{{rest*}}", f"{here}.attentions.{j}.{{rest*}}")]
    if temporal:
        names += [
            (f"{there}.2.{{rest*}}", f"{here}.temp_attentions.{j}.{{rest*}}"), (f"{there}.0.temopral_conv.{{rest*}}", f"{here}.temp_convs.{j}.{{rest*}}"),
        ]  # fmt: skip
    return names


def _resnet(there: str, here: str) -> list[tuple[str, str]]:
    return [(f"{there}.{a}.{{p}}", f"{here}.{b}.{{p}}") for a, b in RESNET.items()]
