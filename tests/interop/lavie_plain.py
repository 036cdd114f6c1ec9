"""LaVie's base network once more, from the description of arXiv:2309.15103 and the names in its checkpoint: a reference, since none can be installed.

diffusers' image network, on which each frame runs by itself, with a temporal attention hooked in behind the text: its distance buckets are those
of transformers' T5, its rotation complex numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from flipbook.interop.keys.unet_lavie import BIAS, FREQUENCIES
from interop.unet_parity import draw, randomise

FRAMES, HEADS = 12, 2


def image():
    import diffusers

    return randomise(diffusers.UNet2DConditionModel(
        block_out_channels=(96, 192), layers_per_block=1, norm_num_groups=32, cross_attention_dim=12, attention_head_dim=HEADS,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ))  # fmt: skip


def checkpoint(net):
    """The image network's weights, and beside each transformer block what LaVie adds."""
    weights, seed = dict(net.state_dict()), 100
    for key, value in net.state_dict().items():
        if key.endswith(".norm3.weight"):
            place, c = key.removesuffix("norm3.weight"), len(value)
            shapes = {"norm_temp.weight": (c,), "norm_temp.bias": (c,), "attn_temp.to_out.0.bias": (c,), BIAS[1:]: (32, HEADS)}
            shapes |= {f"attn_temp.to_{name}.weight": (c, c) for name in ("q", "k", "v", "out.0")}
            for name, shape in shapes.items():
                seed += 1
                weights[place + name] = draw(*shape, seed=seed) * (0.5 if len(shape) == 1 or name in BIAS else c**-0.5)
            weights[place + FREQUENCIES[1:]] = 1.0 / 10_000.0 ** (torch.arange(0, 32, 2) / 32)
    return weights


def over_time(weights, place, x):
    """x (B T, N, C) with what the temporal attention at a place adds."""
    from transformers.models.t5.modeling_t5 import T5Attention

    c = x.shape[-1]
    at = F.layer_norm(x, (c,), weights[f"{place}norm_temp.weight"], weights[f"{place}norm_temp.bias"]).unflatten(0, (-1, FRAMES)).transpose(1, 2)
    q, k, v = (F.linear(at, weights[f"{place}attn_temp.to_{name}.weight"]).unflatten(-1, (HEADS, -1)).transpose(2, 3) for name in "qkv")
    q, k = turned(q), turned(k)                                             # (B, N, heads, T, d)
    apart = torch.arange(FRAMES)[None] - torch.arange(FRAMES)[:, None]
    bucket = T5Attention._relative_position_bucket(apart, bidirectional=True, num_buckets=32, max_distance=32)
    bias = weights[place + BIAS[1:]][bucket].permute(2, 0, 1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(2, 3).flatten(3)
    out = F.linear(out, weights[f"{place}attn_temp.to_out.0.weight"], weights[f"{place}attn_temp.to_out.0.bias"])
    return out.transpose(1, 2).flatten(0, 1)


def turned(x):
    """The first 32 channels of a head as 16 complex numbers, each turned by its frame's angle."""
    angle = torch.arange(FRAMES)[:, None] / 10_000.0 ** (torch.arange(16) / 16)
    pairs = torch.view_as_complex(x[..., :32].unflatten(-1, (16, 2)).contiguous()) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([torch.view_as_real(pairs).flatten(-2), x[..., 32:]], dim=-1)


def answered(net, weights, x, level, tokens):
    """The reference: the image network with the hooks, on all frames as one batch."""
    before, handles = {}, []
    for name, block in net.named_modules():
        if hasattr(block, "attn2"):
            place = f"{name}."
            handles.append(block.norm2.register_forward_pre_hook(lambda _, args, place=place: before.update({place: args[0]})))
            handles.append(block.attn2.register_forward_hook(lambda _, __, out, place=place: out + over_time(weights, place, before[place] + out)))
    frames = x.transpose(1, 2).flatten(0, 1)
    out = net(frames, level.repeat_interleave(FRAMES), tokens.repeat_interleave(FRAMES, 0)).sample
    for handle in handles:
        handle.remove()
    return out.unflatten(0, (-1, FRAMES)).transpose(1, 2)
