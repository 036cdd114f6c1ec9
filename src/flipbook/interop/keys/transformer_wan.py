"""Wan 2.1: diffusers' WanTransformer3DModel, config.json and weights, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbook.denoisers.wan import WanConfig
from flipbook.interop.config_read import checked
from flipbook.interop.keys_apply import Rule


def _joined(theirs: str, parts: tuple[str, ...], ours: str) -> tuple[Rule, ...]:
    return tuple(Rule(tuple(f"{theirs}.{part}.{p}" for part in parts), f"{ours}.{p}") for p in ("weight", "bias"))


_BLOCK = "blocks.{i}"
RULES = (
    Rule("patch_embedding.{p}", "embed.{p}", unit_axes=True),
    Rule("condition_embedder.time_embedder.linear_1.{p}", "time.mlp.0.{p}"),
    Rule("condition_embedder.time_embedder.linear_2.{p}", "time.mlp.2.{p}"),
    Rule("condition_embedder.time_proj.{p}", "modulation.{p}"),
    Rule("condition_embedder.text_embedder.linear_1.{p}", "text.0.{p}"),
    Rule("condition_embedder.text_embedder.linear_2.{p}", "text.2.{p}"),
    Rule("condition_embedder.image_embedder.norm1.{p}", "picture.norm_in.{p}"),
    Rule("condition_embedder.image_embedder.ff.net.0.proj.{p}", "picture.mlp.0.{p}"),
    Rule("condition_embedder.image_embedder.ff.net.2.{p}", "picture.mlp.2.{p}"),
    Rule("condition_embedder.image_embedder.norm2.{p}", "picture.norm_out.{p}"),
    Rule("condition_embedder.image_embedder.pos_embed", "picture.positions", unit_axes=True),
    Rule(f"{_BLOCK}.scale_shift_table", f"{_BLOCK}.table", unit_axes=True),
    *_joined(f"{_BLOCK}.attn1", ("to_q", "to_k", "to_v"), f"{_BLOCK}.attention.qkv"),
    Rule(f"{_BLOCK}.attn1.norm_q.weight", f"{_BLOCK}.attention.q_norm.gain"),
    Rule(f"{_BLOCK}.attn1.norm_k.weight", f"{_BLOCK}.attention.k_norm.gain"),
    Rule(f"{_BLOCK}.attn1.to_out.0.{{p}}", f"{_BLOCK}.attention.out.{{p}}"),
    Rule(f"{_BLOCK}.attn2.to_q.{{p}}", f"{_BLOCK}.cross.q.{{p}}"),
    *_joined(f"{_BLOCK}.attn2", ("to_k", "to_v"), f"{_BLOCK}.cross.kv"),
    *_joined(f"{_BLOCK}.attn2", ("add_k_proj", "add_v_proj"), f"{_BLOCK}.cross.picture_kv"),
    Rule(f"{_BLOCK}.attn2.norm_q.weight", f"{_BLOCK}.cross.q_norm.gain"),
    Rule(f"{_BLOCK}.attn2.norm_k.weight", f"{_BLOCK}.cross.k_norm.gain"),
    Rule(f"{_BLOCK}.attn2.norm_added_k.weight", f"{_BLOCK}.cross.picture_norm.gain"),
    Rule(f"{_BLOCK}.attn2.norm_added_q.weight", ()),                        # in some folders, and read by nobody
    Rule(f"{_BLOCK}.attn2.to_out.0.{{p}}", f"{_BLOCK}.cross.out.{{p}}"),
    Rule(f"{_BLOCK}.norm2.{{p}}", f"{_BLOCK}.norm_cross.{{p}}"),
    Rule(f"{_BLOCK}.ffn.net.0.proj.{{p}}", f"{_BLOCK}.mlp.0.{{p}}"),
    Rule(f"{_BLOCK}.ffn.net.2.{{p}}", f"{_BLOCK}.mlp.2.{{p}}"),
    Rule("scale_shift_table", "head.table", unit_axes=True),
    Rule("proj_out.{p}", "head.{p}"),
)
"""Names in `WanTransformer3DModel` folders to ours."""


def config(theirs: Mapping[str, Any], origin: str) -> WanConfig:
    """Our config for that of such a folder. Raises ValueError for what we cannot do, by name."""
    v = checked(
        theirs,
        origin,
        read={
            "patch_size": (1, 2, 2), "num_attention_heads": 40, "attention_head_dim": 128, "in_channels": 16, "out_channels": 16,
            "text_dim": 4096, "freq_dim": 256, "ffn_dim": 13824, "num_layers": 40, "cross_attn_norm": True, "eps": 1e-6, "image_dim": None,
            "added_kv_proj_dim": None, "pos_embed_seq_len": None,
        },
        fixed={"qk_norm": ("rms_norm_across_heads",)},
        ignored=("rope_max_seq_len", "window_size", "add_img_emb"),
    )  # fmt: skip
    dim = v["num_attention_heads"] * v["attention_head_dim"]
    time, high, wide = v["patch_size"]
    if time != 1 or high != wide:
        raise ValueError(f"{origin}: patch_size={v['patch_size']!r} is not supported. Only patches of one frame and equal sides are.")
    if v["added_kv_proj_dim"] not in (None, dim) or (v["added_kv_proj_dim"] is None) != (v["image_dim"] is None):
        raise ValueError(
            f"{origin}: added_kv_proj_dim={v['added_kv_proj_dim']!r} with image_dim={v['image_dim']!r} is not supported. Only {dim}, the "
            "network's width, with an image_dim is, or neither."
        )
    channels = v["out_channels"] or v["in_channels"]
    if channels > v["in_channels"]:
        raise ValueError(f"{origin}: out_channels={channels} with in_channels={v['in_channels']} is not supported: what is denoised comes in, too.")
    return WanConfig(
        in_channels=channels, channel_door=v["in_channels"] - channels, text_dim=v["text_dim"], picture_dim=v["image_dim"],
        picture_positions=v["pos_embed_seq_len"], dim=dim, depth=v["num_layers"], num_heads=v["num_attention_heads"], mlp_dim=v["ffn_dim"],
        time_frequencies=v["freq_dim"], patch=high, norm_before_text=v["cross_attn_norm"], eps=v["eps"],
    )  # fmt: skip


def their_config(ours: WanConfig) -> dict[str, Any]:
    """What stands in the config.json of such a folder."""
    return {
        "_class_name": "WanTransformer3DModel",
        "patch_size": [1, ours.patch, ours.patch], "num_attention_heads": ours.num_heads, "attention_head_dim": ours.dim // ours.num_heads,
        "in_channels": ours.in_channels + ours.channel_door, "out_channels": ours.in_channels, "text_dim": ours.text_dim,
        "freq_dim": ours.time_frequencies, "ffn_dim": ours.mlp_dim, "num_layers": ours.depth, "cross_attn_norm": ours.norm_before_text,
        "qk_norm": "rms_norm_across_heads", "eps": ours.eps, "image_dim": ours.picture_dim,
        "added_kv_proj_dim": None if ours.picture_dim is None else ours.dim, "pos_embed_seq_len": ours.picture_positions,
    }  # fmt: skip


def shape_there(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a weight there, of its name there and its shape here."""
    if key == "patch_embedding.weight":
        return (*shape[:2], 1, *shape[2:])
    return (1, *shape) if key.endswith(("scale_shift_table", "pos_embed")) else shape
