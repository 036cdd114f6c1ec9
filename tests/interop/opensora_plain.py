"""Open-Sora 1.2 a second time, plainly: weights under their authors' names, and what is computed of them, derived from the report.

No class of theirs can be installed. Nothing here is shared with flipbook's own networks, positions or attention.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

WIDTH, HEADS, DEPTH, TEXT, LENGTH, CHANNELS = 24, 2, 2, 12, 6, 4
CONFIG = {
    "architectures": ["STDiT3"], "model_type": "STDiT3", "hidden_size": WIDTH, "num_heads": HEADS, "depth": DEPTH, "caption_channels": TEXT,
    "model_max_length": LENGTH, "in_channels": CHANNELS, "patch_size": [1, 2, 2], "pred_sigma": True, "qk_norm": True, "input_sq_size": 512,
    "mlp_ratio": 4.0, "class_dropout_prob": 0.1, "drop_path": 0.0, "enable_flash_attn": True, "torch_dtype": "float32",
}  # fmt: skip
Weights = dict[str, Tensor]


def transformer_shapes() -> dict[str, tuple[int, ...]]:
    """Every name of the transformer, with its shape."""
    d, linear = WIDTH, {}

    def layer(name: str, out: int, into: int) -> None:
        linear[f"{name}.weight"], linear[f"{name}.bias"] = (out, into), (out,)

    layer("t_embedder.mlp.0", d, 256)
    layer("t_embedder.mlp.2", d, d)
    layer("fps_embedder.mlp.0", d, 256)
    layer("fps_embedder.mlp.2", d, d)
    layer("t_block.1", 6 * d, d)
    layer("y_embedder.y_proj.fc1", d, TEXT)
    layer("y_embedder.y_proj.fc2", d, d)
    layer("final_layer.linear", 4 * 2 * CHANNELS, d)
    for kind in ("spatial", "temporal"):
        for i in range(DEPTH):
            name = f"{kind}_blocks.{i}"
            layer(f"{name}.attn.qkv", 3 * d, d)
            layer(f"{name}.attn.proj", d, d)
            layer(f"{name}.cross_attn.q_linear", d, d)
            layer(f"{name}.cross_attn.kv_linear", 2 * d, d)
            layer(f"{name}.cross_attn.proj", d, d)
            layer(f"{name}.mlp.fc1", 4 * d, d)
            layer(f"{name}.mlp.fc2", d, 4 * d)
            linear |= {f"{name}.scale_shift_table": (6, d), f"{name}.attn.q_norm.weight": (d // HEADS,), f"{name}.attn.k_norm.weight": (d // HEADS,)}
    return linear | {
        "x_embedder.proj.weight": (d, CHANNELS, 1, 2, 2), "x_embedder.proj.bias": (d,), "y_embedder.y_embedding": (LENGTH, TEXT),
        "final_layer.scale_shift_table": (2, d), "rope.freqs": (d // HEADS // 2,),
    }  # fmt: skip


def temporal_shapes(width: int = 32, blocks: int = 4, mults: tuple[int, ...] = (1, 2, 2, 4)) -> dict[str, tuple[int, ...]]:
    """Every name of the autoencoder along time, with its shape, at a smaller width than the published 128."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, into: int, size: int = 3, *, bias: bool = True) -> None:
        found[f"{name}.conv.weight"] = (out, into, size, size, size)
        if bias:
            found[f"{name}.conv.bias"] = (out,)

    def stack(name: str, into: int, out: int) -> None:
        for j in range(blocks):
            a = into if j == 0 else out
            found.update({f"{name}.{j}.norm{n}.{p}": (a if n == 1 else out,) for n in (1, 2) for p in ("weight", "bias")})
            conv(f"{name}.{j}.conv1", out, a, bias=False)
            conv(f"{name}.{j}.conv2", out, out, bias=False)
            if a != out:
                conv(f"{name}.{j}.conv3", out, a, 1, bias=False)

    widths = [width * m for m in mults]
    conv("encoder.conv_in", width, CHANNELS, bias=False)
    for i, (a, b) in enumerate(zip([width, *widths], widths, strict=False)):
        stack(f"encoder.block_res_blocks.{i}", a, b)
        stack(f"decoder.block_res_blocks.{i}", widths[min(i + 1, len(widths) - 1)], b)
    for i in (1, 2):                                                        # of three steps the last two pack time
        conv(f"encoder.conv_blocks.{i}", widths[i], widths[i])
        conv(f"decoder.conv_blocks.{i}", 2 * widths[i + 1], widths[i + 1])
    stack("encoder.res_blocks", widths[-1], widths[-1])
    stack("decoder.res_blocks", widths[-1], widths[-1])
    conv("encoder.conv2", 2 * CHANNELS, widths[-1], 1)
    conv("decoder.conv1", widths[-1], CHANNELS)
    conv("decoder.conv_out", CHANNELS, widths[0])
    conv("quant_conv", 2 * CHANNELS, 2 * CHANNELS, 1)
    conv("post_quant_conv", CHANNELS, CHANNELS, 1)
    for half, n in (("encoder", widths[-1]), ("decoder", widths[0])):
        found |= {f"{half}.norm1.{p}": (n,) for p in ("weight", "bias")}
    return found


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Weights:
    """Random weights, none at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes.items():
        fan = math.prod(shape[1:]) if len(shape) > 1 else 16
        made[name] = torch.randn(shape, generator=generator) * (0.8 / fan**0.5) + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return made


def write(folder: Path, config: dict, weights: Weights) -> Path:
    """A folder as they publish it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "model.safetensors")
    return folder


# ---------------------------------------------------------------- the transformer


def waves(numbers: Tensor) -> Tensor:
    """(B,) to (B, 256): cosines, then sines."""
    angles = numbers[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def mlp(w: Weights, names: tuple[str, str], x: Tensor, act: str) -> Tensor:
    first, second = names
    x = F.linear(x, w[f"{first}.weight"], w[f"{first}.bias"])
    x = F.silu(x) if act == "silu" else F.gelu(x, approximate="tanh")
    return F.linear(x, w[f"{second}.weight"], w[f"{second}.bias"])


def places(rows: int, columns: int, height: float, width: float) -> Tensor:
    """(rows columns, D): half of the channels for the column, half for the row, sines before cosines. Sizes in pixels."""
    base, scale, quarter = round((rows * columns) ** 0.5), (height * width) ** 0.5 / 512, WIDTH // 4
    freqs = 10_000.0 ** (-torch.arange(quarter) / quarter)
    made = torch.empty(rows, columns, WIDTH)
    for i in range(rows):
        for j in range(columns):
            x, y = j / scale * base / columns * freqs, i / scale * base / rows * freqs
            made[i, j] = torch.cat([x.sin(), x.cos(), y.sin(), y.cos()])
    return made.flatten(0, 1)


def turned(x: Tensor) -> Tensor:
    """(..., T, d): neighbouring channels are pairs, turned by their frame's number."""
    angles = torch.arange(x.shape[-2])[:, None] * 10_000.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1).flatten(-2)


def softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1) @ v


def heads(x: Tensor) -> Tensor:
    """(..., N, D) to (..., heads, N, d)."""
    return x.unflatten(-1, (HEADS, -1)).transpose(-3, -2)


def block(w: Weights, name: str, x: Tensor, text: Tensor, rows: Tensor, *, temporal: bool) -> Tensor:
    """x (T, S, D), rows (T, 6, D)."""
    norm = lambda h: F.layer_norm(h, (WIDTH,), eps=1e-6)
    shift1, scale1, gate1, shift2, scale2, gate2 = (w[f"{name}.scale_shift_table"] + rows)[:, :, None].unbind(1)
    h = norm(x) * (1 + scale1) + shift1
    h = h.transpose(0, 1) if temporal else h
    q, k, v = (heads(part) for part in F.linear(h, w[f"{name}.attn.qkv.weight"], w[f"{name}.attn.qkv.bias"]).chunk(3, dim=-1))
    q, k = (part * torch.rsqrt(part.square().mean(-1, keepdim=True) + 1e-6) * w[f"{name}.attn.{n}_norm.weight"] for part, n in ((q, "q"), (k, "k")))
    q, k = (turned(q), turned(k)) if temporal else (q, k)
    h = F.linear(softmax(q, k, v).transpose(-3, -2).flatten(-2), w[f"{name}.attn.proj.weight"], w[f"{name}.attn.proj.bias"])
    x = x + gate1 * (h.transpose(0, 1) if temporal else h)
    q = heads(F.linear(x, w[f"{name}.cross_attn.q_linear.weight"], w[f"{name}.cross_attn.q_linear.bias"]))
    k, v = (heads(part) for part in F.linear(text, w[f"{name}.cross_attn.kv_linear.weight"], w[f"{name}.cross_attn.kv_linear.bias"]).chunk(2, dim=-1))
    h = softmax(q, k, v).transpose(-3, -2).flatten(-2)
    x = x + F.linear(h, w[f"{name}.cross_attn.proj.weight"], w[f"{name}.cross_attn.proj.bias"])
    return x + gate2 * mlp(w, (f"{name}.mlp.fc1", f"{name}.mlp.fc2"), norm(x) * (1 + scale2) + shift2, "gelu")


def transformer(w: Weights, x: Tensor, timesteps: Tensor, text: Tensor, fps: float) -> Tensor:
    """One sample: x (C, T, H, W), a timestep of [0, 1000] for each frame, rows of text (L, TEXT). Returns x0 - eps."""
    _, frames, height, width = x.shape
    told = torch.stack([
        mlp(w, ("t_embedder.mlp.0", "t_embedder.mlp.2"), waves(t[None]), "silu")[0]
        + mlp(w, ("fps_embedder.mlp.0", "fps_embedder.mlp.2"), waves(torch.tensor([fps])), "silu")[0]
        for t in timesteps
    ])  # fmt: skip
    rows = F.linear(F.silu(told), w["t_block.1.weight"], w["t_block.1.bias"]).unflatten(-1, (6, WIDTH))
    text = mlp(w, ("y_embedder.y_proj.fc1", "y_embedder.y_proj.fc2"), text, "gelu")
    tokens = F.conv3d(x[None], w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=(1, 2, 2))[0].flatten(2).permute(1, 2, 0)
    tokens = tokens + places(height // 2, width // 2, 8 * height, 8 * width)
    for i in range(DEPTH):
        tokens = block(w, f"spatial_blocks.{i}", tokens, text, rows, temporal=False)
        tokens = block(w, f"temporal_blocks.{i}", tokens, text, rows, temporal=True)
    shift, scale = (w["final_layer.scale_shift_table"] + told[:, None])[:, :, None].unbind(1)
    out = F.linear(F.layer_norm(tokens, (WIDTH,), eps=1e-6) * (1 + scale) + shift, w["final_layer.linear.weight"], w["final_layer.linear.bias"])
    out = out.view(frames, height // 2, width // 2, 2, 2, 2 * CHANNELS).permute(5, 0, 1, 3, 2, 4).reshape(2 * CHANNELS, frames, height, width)
    return out[:CHANNELS]


# ---------------------------------------------------------------- the autoencoder along time


def convolved(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = w[f"{name}.conv.weight"]
    n = weight.shape[-1]
    x = F.pad(x, (n // 2, n // 2, n // 2, n // 2, n - stride if n > 1 else 0, 0))
    return F.conv3d(x, weight, w.get(f"{name}.conv.bias"), stride=(stride, 1, 1))


def residual(w: Weights, name: str, x: Tensor, blocks: int) -> Tensor:
    for j in range(blocks):
        h = x
        for n in (1, 2):
            h = convolved(w, f"{name}.{j}.conv{n}", F.silu(F.group_norm(h, 32, w[f"{name}.{j}.norm{n}.weight"], w[f"{name}.{j}.norm{n}.bias"])))
        x = (convolved(w, f"{name}.{j}.conv3", x) if f"{name}.{j}.conv3.conv.weight" in w else x) + h
    return x


def encoded(w: Weights, x: Tensor, blocks: int = 4) -> Tensor:
    """The mean of a chunk (B, C, T, h, w)."""
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % 4, 0))
    x = convolved(w, "encoder.conv_in", x)
    for i in range(4):
        x = residual(w, f"encoder.block_res_blocks.{i}", x, blocks)
        x = convolved(w, f"encoder.conv_blocks.{i}", x, 2) if i in (1, 2) else x
    x = residual(w, "encoder.res_blocks", x, blocks)
    x = convolved(w, "encoder.conv2", F.silu(F.group_norm(x, 32, w["encoder.norm1.weight"], w["encoder.norm1.bias"])))
    return convolved(w, "quant_conv", x)[:, :CHANNELS]


def decoded(w: Weights, z: Tensor, frames: int, blocks: int = 4) -> Tensor:
    """`frames` frames of a chunk's raw latents."""
    x = residual(w, "decoder.res_blocks", convolved(w, "decoder.conv1", convolved(w, "post_quant_conv", z)), blocks)
    for i in (3, 2, 1, 0):
        x = residual(w, f"decoder.block_res_blocks.{i}", x, blocks)
        if i in (2, 3):
            x = convolved(w, f"decoder.conv_blocks.{i - 1}", x)
            b, c, t, h, n = x.shape
            x = x.view(b, c // 2, 2, t, h, n).transpose(2, 3).reshape(b, c // 2, 2 * t, h, n)
    x = F.silu(F.group_norm(x, 32, w["decoder.norm1.weight"], w["decoder.norm1.bias"]))
    return convolved(w, "decoder.conv_out", x)[:, :, -frames:]


def autoencoder_along_time() -> tuple[Any, Weights]:
    """Ours with the weights of theirs, read by flipbook's own key map, and those weights."""
    from flipbook.autoencoders.temporal import TemporalAutoencoder, TemporalAutoencoderConfig
    from flipbook.interop.keys.autoencoder_opensora import RULES
    from flipbook.interop.keys_apply import translate

    weights = drawn(temporal_shapes())
    net = TemporalAutoencoder(TemporalAutoencoderConfig(dim=32)).eval().requires_grad_(False)
    named = {f"temporal.{key}": value for key, value in net.state_dict().items()}
    made = translate({f"temporal_vae.{key}": value for key, value in weights.items()}, RULES, named)
    net.load_state_dict({key.removeprefix("temporal."): value for key, value in made.items()})
    return net, weights
