"""LaVie's three networks once more, from the description of arXiv:2309.15103 and the names in their checkpoints: references, since no package has them.

diffusers' image network on all frames as one batch, whose residual blocks take their norms over a clip, with what LaVie adds hooked in: distance
buckets are those of transformers' T5, a rotation is complex numbers, a convolution over time is torch's own in three axes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from flipbook.interop.keys.unet_lavie import FREQUENCIES
from flipbook.nn.doors import Doors
from interop.unet_parity import draw, randomise

FRAMES = 12
TABLE = "time_rel_pos_bias.relative_attention_bias.weight"
HEADS = {"base": 2, "interpolation": 8, "upscaler": 2}
ATTENTION = {"base": "attn_temp", "interpolation": "attn_temp", "upscaler": "attn_temporal"}
NORM = {"base": "norm_temp", "interpolation": "norm_temp", "upscaler": "norm_temporal"}
LABELS = torch.tensor([50, 7])


class OverClip(nn.GroupNorm):
    """Statistics over all frames of a clip, whose frames are a batch."""

    def forward(self, x):
        return super().forward(x.unflatten(0, (-1, FRAMES)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)


def image(kind="base"):
    """The image network: Stable Diffusion's, with room for the latents of keys; or its upscaler's, whose first level but one reads text alone."""
    import diffusers

    sizes = {"base": (96, 192), "interpolation": (64, 128), "upscaler": (64, 64, 128)}[kind]
    down, up = ["CrossAttnDownBlock2D", "DownBlock2D"], ["UpBlock2D", "CrossAttnUpBlock2D"]
    told = {"in_channels": 8} if kind == "interpolation" else {}
    if kind == "upscaler":
        down, up = ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2], [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"]
        told = {"in_channels": 7, "only_cross_attention": (True, True, False), "num_class_embeds": 60, "use_linear_projection": True}
    net = randomise(diffusers.UNet2DConditionModel(
        block_out_channels=sizes, layers_per_block=1, norm_num_groups=32, cross_attention_dim=12, attention_head_dim=HEADS[kind],
        down_block_types=down, up_block_types=up, out_channels=4, **told,
    ))  # fmt: skip
    for name, norm in net.named_modules():
        if isinstance(norm, nn.GroupNorm) and "attentions" not in name:
            norm.__class__ = OverClip
    return net


def checkpoint(net, kind="base"):
    """The image network's weights, and what LaVie adds beside them, random."""
    weights, shapes = dict(net.state_dict()), {}
    for key, value in net.state_dict().items():
        c = len(value)
        if key.endswith(".norm3.weight"):
            place = key.removesuffix("norm3.weight")
            shapes |= {f"{place}{NORM[kind]}.weight": (c,), f"{place}{NORM[kind]}.bias": (c,), f"{place}{ATTENTION[kind]}.to_out.0.bias": (c,)}
            shapes |= {f"{place}{ATTENTION[kind]}.to_{name}.weight": (c, c) for name in ("q", "k", "v", "out.0")}
            if kind != "interpolation":
                shapes[f"{place}{ATTENTION[kind]}.{TABLE}"] = (32, HEADS[kind])
        if kind == "upscaler" and key.endswith(".proj_in.weight"):
            shapes |= resnet_shapes(key.replace("proj_in.weight", "resblock_temporal."), c, (3, 1, 1), (3, 1, 1))
    if kind == "upscaler":
        wide, time = net.config.block_out_channels, 4 * net.config.block_out_channels[0]
        places = {f"down_temporal_blocks.{i}.": c for i, c in enumerate(wide)} | {f"up_temporal_blocks.{i}.": c for i, c in enumerate(reversed(wide))}
        for place, c in (places | {"mid_temporal_block.": wide[-1]}).items():
            shapes |= resnet_shapes(f"{place}resblocks_3d_t.", c, (5, 1, 1), (3, 1, 1), time)
            shapes |= resnet_shapes(f"{place}resblocks_3d_s.", c, (3, 3), (3, 3), time)
            shapes |= {f"{place}shift_conv.weight": (c, c, 1, 1), f"{place}shift_conv.bias": (c,)}
    for seed, (key, shape) in enumerate(shapes.items(), 100):
        weights[key] = draw(*shape, seed=seed) * (0.5 if len(shape) == 1 or key.endswith(TABLE) else torch.Size(shape[1:]).numel() ** -0.5)
    turns = [key.replace(TABLE, FREQUENCIES) for key in shapes if key.endswith(TABLE)] + ([f"temporal_{FREQUENCIES}"] if kind == "upscaler" else [])
    return weights | {key: 1.0 / 10_000.0 ** (torch.arange(0, 32, 2) / 32) for key in turns}


def resnet_shapes(place, c, first, second, time=None):
    """A residual block; with time: one that is told the noise level."""
    shapes = {f"{place}norm{n}.{p}": (c,) for n in (1, 2) for p in ("weight", "bias")}
    shapes |= {f"{place}conv1.weight": (c, c, *first), f"{place}conv1.bias": (c,), f"{place}conv2.weight": (c, c, *second), f"{place}conv2.bias": (c,)}
    return shapes | ({f"{place}time_emb_proj.weight": (c, time), f"{place}time_emb_proj.bias": (c,)} if time else {})


def asked(kind):
    """x, level, tokens, what enters beside x, and the doors for it."""
    x, level, tokens = draw(2, 4, FRAMES, 8, 8), torch.tensor([37, 998]), draw(2, 5, 12, seed=2)
    beside = None if kind == "base" else draw(2, {"interpolation": 4, "upscaler": 3}[kind], FRAMES, 8, 8, seed=3)
    return x, level, tokens, beside, Doors(tokens=tokens, channels=beside, vector=LABELS[:, None].float() if kind == "upscaler" else None)


def over_time(weights, kind, place, x):
    """x (B T, N, C) with what the temporal attention at a place adds."""
    from transformers.models.t5.modeling_t5 import T5Attention

    c, part = x.shape[-1], lambda name: weights[f"{place}{ATTENTION[kind]}.{name}"]
    at = F.layer_norm(x, (c,), weights[f"{place}{NORM[kind]}.weight"], weights[f"{place}{NORM[kind]}.bias"]).unflatten(0, (-1, FRAMES)).transpose(1, 2)
    q, k, v = (F.linear(at, part(f"to_{name}.weight")).unflatten(-1, (HEADS[kind], -1)).transpose(2, 3) for name in "qkv")
    bias = None                                                             # q, k, v: (B, N, heads, T, d)
    if kind != "interpolation":
        q, k = turned(q), turned(k)
        apart = torch.arange(FRAMES)[None] - torch.arange(FRAMES)[:, None]
        bias = part(TABLE)[T5Attention._relative_position_bucket(apart, bidirectional=True, num_buckets=32, max_distance=32)].permute(2, 0, 1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(2, 3).flatten(3)
    return F.linear(out, part("to_out.0.weight"), part("to_out.0.bias")).transpose(1, 2).flatten(0, 1)


def turned(x):
    """The first 32 channels of a head as 16 complex numbers, each turned by its frame's angle."""
    angle = torch.arange(FRAMES)[:, None] / 10_000.0 ** (torch.arange(16) / 16)
    pairs = torch.view_as_complex(x[..., :32].unflatten(-1, (16, 2)).contiguous()) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([torch.view_as_real(pairs).flatten(-2), x[..., 32:]], dim=-1)


def sparse_causal(layer, x):
    """Attention of each frame to the first one and the one before it, x (B T, N, C), by a loop over frames."""
    clip = x.unflatten(0, (-1, FRAMES))
    heads = lambda y: y.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    made = []
    for i in range(FRAMES):
        read = torch.cat([clip[:, 0], clip[:, max(i - 1, 0)]], dim=1)
        made.append(F.scaled_dot_product_attention(heads(layer.to_q(clip[:, i])), heads(layer.to_k(read)), heads(layer.to_v(read))).transpose(1, 2).flatten(2))
    return layer.to_out[0](torch.stack(made, dim=1).flatten(0, 1))


def resnet(weights, place, x, time=None):
    """A residual block of the upscaler on clips (B, C, T, H, W), time (B, E) after its activation."""
    def conv(name, h):
        weight = weights[f"{place}{name}.weight"]
        weight = weight if weight.dim() == 5 else weight[:, :, None]
        return F.conv3d(h, weight, weights[f"{place}{name}.bias"], padding=[n // 2 for n in weight.shape[2:]])

    norm = lambda name, h: F.silu(F.group_norm(h, 32, weights[f"{place}{name}.weight"], weights[f"{place}{name}.bias"], 1e-6))
    h = conv("conv1", norm("norm1", x))
    if time is not None:
        h = h + F.linear(time, weights[f"{place}time_emb_proj.weight"], weights[f"{place}time_emb_proj.bias"])[:, :, None, None, None]
    return x + conv("conv2", norm("norm2", h))


def in_clips(layer, x):
    """A layer of clips, on frames that are a batch."""
    return layer(x.unflatten(0, (-1, FRAMES)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)


def module_behind(weights, place, x, time):
    """What stands behind a level: a residual block over time, one of the picture, and a product, added."""
    h = resnet(weights, f"{place}resblocks_3d_s.", resnet(weights, f"{place}resblocks_3d_t.", x, time), time)
    return x + F.conv3d(h, weights[f"{place}shift_conv.weight"][..., None], weights[f"{place}shift_conv.bias"])


def answered(net, weights, x, level, tokens, beside=None, kind="base"):
    """The reference: the image network with the hooks. x, beside: (B, C, T, H, W)."""
    before, handles = {}, []
    hook = lambda module, what: handles.append(module.register_forward_hook(what))
    for name, block in net.named_modules():
        place = f"{name}."
        if hasattr(block, "attn2") and kind == "interpolation":
            hook(block.attn1, lambda layer, args, _: sparse_causal(layer, args[0]))
            hook(block, lambda _, __, out, place=place: out + over_time(weights, kind, place, out))
        elif hasattr(block, "attn2"):
            handles.append(block.norm2.register_forward_pre_hook(lambda _, args, place=place: before.update({place: args[0]})))
            hook(block.attn2, lambda _, __, out, place=place: out + over_time(weights, kind, place, before[place] + out))
        elif hasattr(block, "proj_in") and kind == "upscaler":
            handles.append(block.register_forward_pre_hook(
                lambda _, args, place=place: (in_clips(lambda y: resnet(weights, f"{place}resblock_temporal.", y), args[0]), *args[1:])
            ))  # fmt: skip
    if kind == "upscaler":
        hook(net.time_embedding, lambda _, __, out: before.update(time=F.silu(out + net.class_embedding(LABELS.repeat_interleave(FRAMES)))[::FRAMES]))
        behind = lambda place: lambda y: in_clips(lambda z: module_behind(weights, place, z, before["time"]), y)
        for i, block in enumerate(net.down_blocks):
            hook(block, lambda _, __, out, i=i: (behind(f"down_temporal_blocks.{i}.")(out[0]), out[1]))
        hook(net.mid_block, lambda _, __, out: behind("mid_temporal_block.")(out))
        for i, block in enumerate(net.up_blocks):
            hook(block, lambda _, __, out, i=i: behind(f"up_temporal_blocks.{i}.")(out))
    labels = {"class_labels": LABELS.repeat_interleave(FRAMES)} if kind == "upscaler" else {}
    frames = (x if beside is None else torch.cat([x, beside], dim=1)).transpose(1, 2).flatten(0, 1)
    out = net(frames, level.repeat_interleave(FRAMES), tokens.repeat_interleave(FRAMES, 0), **labels).sample
    for handle in handles:
        handle.remove()
    return out.unflatten(0, (-1, FRAMES)).transpose(1, 2)
