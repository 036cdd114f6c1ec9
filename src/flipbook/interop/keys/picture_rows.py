"""VideoCrafter's image encoder in its authors' files: OpenCLIP's image tower to transformers' CLIP, and the query resampler behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flipbook.interop.keys_apply import Rule

TOWER, RESAMPLER = "embedder.", "image_proj_model."


def tower_rules() -> tuple[Rule, ...]:
    """To `CLIPVisionModelWithProjection`. What the tower was trained beside is in the file, and not needed."""
    there, here = f"{TOWER}model.visual.transformer.resblocks.{{i}}", "vision_model.encoder.layers.{i}"
    pairs = [
        ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"), ("attn.out_proj", "self_attn.out_proj"),
    ]  # fmt: skip
    visual = f"{TOWER}model.visual"
    return (
        *(Rule(f"{there}.{a}.{{p}}", f"{here}.{b}.{{p}}") for a, b in pairs),
        *(Rule(f"{there}.attn.in_proj_{p}", tuple(f"{here}.self_attn.{n}_proj.{p}" for n in "qkv")) for p in ("weight", "bias")),
        Rule(f"{visual}.class_embedding", "vision_model.embeddings.class_embedding"),
        Rule(f"{visual}.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        Rule(f"{visual}.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
        Rule(f"{visual}.ln_pre.{{p}}", "vision_model.pre_layrnorm.{p}"),
        Rule(f"{visual}.ln_post.{{p}}", "vision_model.post_layernorm.{p}"),
        Rule(f"{visual}.proj", "visual_projection.weight", transposed=True),
        *(Rule(f"{TOWER}model.{name}", ()) for name in ("token_embedding.weight", "positional_embedding", "text_projection", "logit_scale", "attn_mask")),
        Rule(f"{TOWER}model.ln_final.{{p}}", ()),
        *(Rule(f"{TOWER}{name}", ()) for name in ("mean", "std")),
    )


RESAMPLER_RULES = (
    Rule(f"{RESAMPLER}latents", "queries"),
    *(Rule(f"{RESAMPLER}{a}.{{p}}", f"{b}.{{p}}") for a, b in (("proj_in", "enter"), ("proj_out", "leave"), ("norm_out", "norm"))),
    *(
        Rule(f"{RESAMPLER}layers.{{i}}.{a}.{{p}}", f"layers.{{i}}.{b}.{{p}}")
        for a, b in (
            ("0.norm1", "norm_rows"), ("0.norm2", "norm_queries"), ("0.to_q", "q"), ("0.to_kv", "kv"), ("0.to_out", "out"),
            ("1.0", "norm_mlp"), ("1.1", "up"), ("1.3", "down"),
        )
    ),
)  # fmt: skip
"""To `encoders.resampler.QueryResampler`."""


def tower_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """`CLIPVisionConfig`'s fields of OpenCLIP's tower; its heads are 80 wide in ViT-H, which has 16, and 64 in smaller ones."""
    visual = f"{TOWER}model.visual."
    width, _, patch, _ = weights[f"{visual}conv1.weight"].shape
    cells = weights[f"{visual}positional_embedding"].shape[0] - 1
    layers = 1 + max(int(key.split("resblocks.")[1].split(".")[0]) for key in weights if key.startswith(f"{visual}transformer.resblocks."))
    return {
        "hidden_size": width, "intermediate_size": weights[f"{visual}transformer.resblocks.0.mlp.c_fc.weight"].shape[0], "num_hidden_layers": layers,
        "num_attention_heads": max(width // (80 if width == 1280 else 64), 1), "patch_size": patch, "image_size": patch * round(cells**0.5),
        "projection_dim": weights[f"{visual}proj"].shape[1], "hidden_act": "gelu",
    }  # fmt: skip


def resampler_config(weights: Mapping[str, Tensor], *, head_dim: int = 64) -> dict[str, int]:
    """`QueryResampler`'s arguments. head_dim cannot be seen in a file."""
    layers = {key.split(".")[2] for key in weights if key.startswith(f"{RESAMPLER}layers.")}
    inner, dim = weights[f"{RESAMPLER}layers.0.0.to_q.weight"].shape
    head_dim = min(head_dim, inner)
    return {
        "rows_dim": weights[f"{RESAMPLER}proj_in.weight"].shape[1], "dim": dim, "out_dim": weights[f"{RESAMPLER}proj_out.weight"].shape[0],
        "queries": weights[f"{RESAMPLER}latents"].shape[1], "depth": len(layers), "heads": inner // head_dim, "head_dim": head_dim,
        "mult": weights[f"{RESAMPLER}layers.0.1.1.weight"].shape[0] // dim,
    }  # fmt: skip
