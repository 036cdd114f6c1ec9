"""Open-Sora 1.2: the folders of its authors, STDiT3 and its stacked autoencoder, config.json and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from flipbook.denoisers.stdit import STDiTConfig
from flipbook.interop.config_read import checked
from flipbook.interop.keys_apply import Rule


def _block(kind: str) -> tuple[Rule, ...]:
    theirs, ours = f"{kind}_blocks.{{i}}", f"{kind}.{{i}}"
    return (
        Rule(f"{theirs}.scale_shift_table", f"{ours}.table"),
        Rule(f"{theirs}.attn.qkv.{{p}}", f"{ours}.attention.0.qkv.{{p}}"),
        Rule(f"{theirs}.attn.q_norm.weight", f"{ours}.attention.0.q_norm.gain"),
        Rule(f"{theirs}.attn.k_norm.weight", f"{ours}.attention.0.k_norm.gain"),
        Rule(f"{theirs}.attn.proj.{{p}}", f"{ours}.attention.0.out.{{p}}"),
        Rule(f"{theirs}.cross_attn.q_linear.{{p}}", f"{ours}.cross.q.{{p}}"),
        Rule(f"{theirs}.cross_attn.kv_linear.{{p}}", f"{ours}.cross.kv.{{p}}"),
        Rule(f"{theirs}.cross_attn.proj.{{p}}", f"{ours}.cross.out.{{p}}"),
        Rule(f"{theirs}.mlp.fc1.{{p}}", f"{ours}.mlp.0.{{p}}"),
        Rule(f"{theirs}.mlp.fc2.{{p}}", f"{ours}.mlp.2.{{p}}"),
    )


RULES = (
    Rule("x_embedder.proj.{p}", "embed.{p}", unit_axes=True),
    Rule("t_embedder.mlp.{i}.{p}", "time.mlp.{i}.{p}"),
    Rule("fps_embedder.mlp.0.{p}", "vector.enter.{p}"),
    Rule("fps_embedder.mlp.2.{p}", "vector.leave.{p}"),
    Rule("t_block.1.{p}", "modulation.{p}"),
    Rule("y_embedder.y_proj.fc1.{p}", "text.0.{p}"),
    Rule("y_embedder.y_proj.fc2.{p}", "text.2.{p}"),
    Rule("y_embedder.y_embedding", "null_text"),
    Rule("rope.freqs", ()),                                                 # computed here
    *_block("spatial"),
    *_block("temporal"),
    Rule("final_layer.scale_shift_table", "head.table"),
    Rule("final_layer.linear.{p}", "head.{p}"),
)
"""Names of STDiT3 to ours."""


def config(theirs: Mapping[str, Any], origin: str) -> STDiTConfig:
    """Our config for that of such a folder. Raises ValueError for what we cannot do, by name."""
    v = checked(
        theirs,
        origin,
        read={
            "in_channels": 4, "patch_size": (1, 2, 2), "hidden_size": 1152, "depth": 28, "num_heads": 16, "mlp_ratio": 4.0, "pred_sigma": True,
            "caption_channels": 4096, "model_max_length": 300, "qk_norm": True, "input_sq_size": 512,
        },
        fixed={"skip_y_embedder": (False, None)},
        ignored=(
            "input_size", "class_dropout_prob", "drop_path", "enable_flash_attn", "enable_layernorm_kernel", "enable_sequence_parallelism",
            "only_train_temporal", "freeze_y_embedder", "architectures", "model_type", "torch_dtype", "transformers_version", "auto_map",
        ),
    )  # fmt: skip
    time, high, wide = v["patch_size"]
    if time != 1 or high != wide:
        raise ValueError(f"{origin}: patch_size={v['patch_size']!r} is not supported. Only patches of one frame and equal sides are.")
    return STDiTConfig(
        in_channels=v["in_channels"], out_channels=v["in_channels"] * (2 if v["pred_sigma"] else 1), text_dim=v["caption_channels"],
        null_rows=v["model_max_length"], dim=v["hidden_size"], depth=v["depth"], num_heads=v["num_heads"],
        mlp_dim=int(v["hidden_size"] * v["mlp_ratio"]), patch=high, qk_norm=v["qk_norm"], base_cells=v["input_sq_size"] // 8,
    )  # fmt: skip


def converted(net: nn.Module) -> nn.Module:
    """Turn a network of Open-Sora's sign, x0 - eps, into one of ours, eps - x0, and back."""
    head: Any = net.head
    for value in (head.weight, head.bias):
        value.data.neg_()
    return net
