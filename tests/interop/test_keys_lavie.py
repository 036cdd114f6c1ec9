"""LaVie's base checkpoint: read to the numbers of a second derivation, written again under the same names.

No class of its authors can be installed. The reference is diffusers' image network, on which each frame runs by itself, with a temporal
attention hooked in behind the text: its distance buckets are those of transformers' T5, its rotation complex numbers.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from flipbook.denoisers.unet import UNet
from flipbook.interop.keys.unet_image import IMAGE
from flipbook.interop.keys.unet_lavie import BIAS, FREQUENCIES, LAVIE, config_of, json_of, seen
from flipbook.interop.keys.unet_layouts import PUBLIC
from flipbook.interop.keys_apply import KeysDoNotFit
from flipbook.nn.doors import Doors
from interop.unet_parity import close, draw, randomise

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")
FRAMES, HEADS = 12, 2


def image():
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


def read(weights):
    return LAVIE.load(UNet(config_of(seen(weights))), weights, "lavie.safetensors").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def peer():
    net = image()
    return net, checkpoint(net)


def test_the_network_computes_what_the_second_derivation_does(peer):
    x, level, tokens = draw(2, 4, FRAMES, 4, 4), torch.tensor([37, 998]), draw(2, 5, 12, seed=2)
    expected = answered(*peer, x, level, tokens)
    net = read(peer[1])
    close(net(x, (level + 1) / 1000, Doors(tokens=tokens)), expected)
    assert (net(x.flip(2), (level + 1) / 1000, Doors(tokens=tokens)).flip(2) - expected).abs().mean() > 1e-3      # the order of frames counts


def test_it_is_written_under_the_names_and_in_the_shapes_that_were_read(peer):
    weights = peer[1]
    json, written = LAVIE.write(read(weights))
    assert {key: tuple(value.shape) for key, value in written.items()} == {key: tuple(value.shape) for key, value in weights.items()}
    assert all(torch.allclose(written[key], value, rtol=1e-6, atol=0) for key, value in weights.items())
    assert config_of(json) == config_of(seen(weights))


def test_the_authors_configuration_is_that_of_stable_diffusion_1_4_with_other_blocks():
    json = {
        "_class_name": "UNet3DConditionModel", "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": False, "cross_attention_dim": 768, "down_block_types": ["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"],
        "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1,
        "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64, "use_first_frame": False,
        "up_block_types": ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3,
    }  # fmt: skip
    assert config_of(json_of(config_of(json))) == config_of(json)
    with torch.device("meta"):
        nets = [UNet(config) for config in (config_of(json), IMAGE.config(PUBLIC["stable-diffusion-1.5"]))]
    video, image = (sum(p.numel() for p in net.parameters()) for net in nets)
    widths = 5 * [320] + 5 * [640] + 6 * [1280]                             # of the transformer blocks
    assert video - image == sum(4 * c * c + 3 * c + 32 * 8 for c in widths)


def test_what_is_no_checkpoint_of_lavie_or_holds_more_is_refused_by_name(peer):
    net, weights = peer
    with pytest.raises(ValueError, match="no weights of LaVie's base network"):
        seen(net.state_dict())
    with pytest.raises(KeysDoNotFit, match=r"lavie.safetensors does not fit.*\n.*1 of no known name: stranger"):
        read(weights | {"stranger": torch.ones(1)})
    lost = next(key for key in weights if key.endswith("attn_temp.to_v.weight"))
    with pytest.raises(KeysDoNotFit, match=r"1 missing: .*inserts.temporal_attention.branch.attention.v.weight"):
        read({key: value for key, value in weights.items() if key != lost})
    turns = next(key for key in weights if key.endswith(FREQUENCIES))
    with pytest.raises(KeysDoNotFit, match="is not the frequencies of 32 channels"):
        read(weights | {turns: weights[turns] * 1.1})
    with pytest.raises(ValueError, match="with a value that this network cannot have: use_first_frame=True"):
        config_of(seen(weights) | {"use_first_frame": True})
