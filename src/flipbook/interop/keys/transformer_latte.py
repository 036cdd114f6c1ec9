"""Latte and PixArt-alpha: diffusers' LatteTransformer3DModel and PixArtTransformer2DModel, config.json and weights, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.denoisers.latte import Kind, LatteConfig, layout
from flipbook.interop.config_read import checked
from flipbook.interop.keys_apply import Rule


def _block(theirs: str, ours: str) -> tuple[Rule, ...]:
    """The rules of one kind of block."""

    def joined(parts: tuple[str, ...], there: str) -> tuple[Rule, ...]:
        return tuple(Rule(tuple(f"{theirs}.{part}.{p}" for part in parts), f"{ours}.{there}.{p}") for p in ("weight", "bias"))

    return (
        Rule(f"{theirs}.scale_shift_table", f"{ours}.table"),
        *joined(("attn1.to_q", "attn1.to_k", "attn1.to_v"), "attention.0.qkv"),
        Rule(f"{theirs}.attn1.to_out.0.{{p}}", f"{ours}.attention.0.out.{{p}}"),
        Rule(f"{theirs}.attn2.to_q.{{p}}", f"{ours}.cross.q.{{p}}"),
        *joined(("attn2.to_k", "attn2.to_v"), "cross.kv"),
        Rule(f"{theirs}.attn2.to_out.0.{{p}}", f"{ours}.cross.out.{{p}}"),
        Rule(f"{theirs}.ff.net.0.proj.{{p}}", f"{ours}.mlp.0.{{p}}"),
        Rule(f"{theirs}.ff.net.2.{{p}}", f"{ours}.mlp.2.{{p}}"),
    )


RULES = (
    Rule("pos_embed.proj.{p}", "embed.{p}"),
    Rule("adaln_single.emb.timestep_embedder.linear_1.{p}", "time.mlp.0.{p}"),
    Rule("adaln_single.emb.timestep_embedder.linear_2.{p}", "time.mlp.2.{p}"),
    Rule("adaln_single.linear.{p}", "modulation.{p}"),
    Rule("caption_projection.linear_1.{p}", "text.0.{p}"),
    Rule("caption_projection.linear_2.{p}", "text.2.{p}"),
    *_block("transformer_blocks.{i}", "blocks.spatial.{i}"),
    *_block("temporal_transformer_blocks.{i}", "blocks.temporal.{i}"),
    Rule("scale_shift_table", "head.table"),
    Rule("proj_out.{p}", "head.{p}"),
)
"""Names in folders of either class to ours."""

CLASSES = ("LatteTransformer3DModel", "PixArtTransformer2DModel")


def config(theirs: Mapping[str, Any], origin: str) -> LatteConfig:
    """Our config for that of such a folder. Raises ValueError for what we cannot do, by name."""
    image = theirs.get("_class_name") == CLASSES[1]
    v = checked(
        theirs,
        origin,
        read={
            "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 4, "out_channels": 8, "num_layers": 28, "sample_size": 64,
            "patch_size": 2, "caption_channels": 4096, "norm_eps": 1e-6, "cross_attention_dim": 1152, "interpolation_scale": None,
        },
        fixed={
            "activation_fn": ("gelu-approximate",), "attention_bias": (True,), "norm_type": ("ada_norm_single",), "norm_elementwise_affine": (False,),
            "num_embeds_ada_norm": (1000,), "use_additional_conditions": (None, False), "attention_type": ("default",),
        },
        ignored=("dropout", "video_length", "upcast_attention", "norm_num_groups", "double_self_attention", "only_cross_attention"),
    )  # fmt: skip
    dim = v["num_attention_heads"] * v["attention_head_dim"]
    if v["cross_attention_dim"] != dim:
        raise ValueError(f"{origin}: cross_attention_dim={v['cross_attention_dim']!r} is not supported. Only {dim}, the network's width, is.")
    if image and v["sample_size"] == 128 and theirs.get("use_additional_conditions") is None:
        raise ValueError(f"{origin}: sample_size=128 means a network that is told sizes, unless use_additional_conditions=False, and that is not supported.")
    kinds: tuple[Kind, ...] = ("spatial",) * v["num_layers"] if image else layout("V1", 2 * v["num_layers"])
    channels = v["out_channels"] or v["in_channels"]
    return LatteConfig(
        in_channels=v["in_channels"], out_channels=channels, text_dim=v["caption_channels"], dim=dim, num_heads=v["num_attention_heads"],
        mlp_dim=4 * dim, layout=kinds, patch=v["patch_size"], places=v["sample_size"] // v["patch_size"],
        place_scale=v["interpolation_scale"] or max(v["sample_size"] // 64, 1), eps=v["norm_eps"],
    )  # fmt: skip


def their_config(ours: LatteConfig) -> dict[str, Any]:
    """What stands in the config.json of such a folder. Raises ValueError for a network that neither class holds."""
    kinds = ours.layout
    image = set(kinds) == {"spatial"}
    if not image and kinds != layout("V1", len(kinds)):
        raise ValueError(f"{CLASSES[0]} holds spatial and temporal blocks by turns (V1), and this network has another layout.")
    if ours.text_dim is None or ours.vector_dim or not ours.shared:
        raise ValueError(f"{CLASSES[0]} reads text and shares its modulation, and this network does not.")
    if ours.mlp_dim != 4 * ours.dim:
        raise ValueError(f"{CLASSES[0]} has mlp_dim={4 * ours.dim}, four times its width, and this network has {ours.mlp_dim}.")
    size = ours.places * ours.patch
    scale = max(size // 64, 1)
    if not image and ours.place_scale != scale:
        raise ValueError(f"{CLASSES[0]} has place_scale={scale} for frames of {size} cells, and this network has {ours.place_scale}.")
    return {
        "_class_name": CLASSES[image],
        "num_attention_heads": ours.num_heads, "attention_head_dim": ours.dim // ours.num_heads, "in_channels": ours.in_channels,
        "out_channels": ours.out_channels, "num_layers": len(kinds) if image else len(kinds) // 2, "cross_attention_dim": ours.dim,
        "sample_size": size, "patch_size": ours.patch, "caption_channels": ours.text_dim, "norm_eps": ours.eps, "attention_bias": True,
        "activation_fn": "gelu-approximate", "norm_type": "ada_norm_single", "norm_elementwise_affine": False, "num_embeds_ada_norm": 1000,
        **({"use_additional_conditions": False, "interpolation_scale": ours.place_scale} if image else {}),
    }  # fmt: skip
