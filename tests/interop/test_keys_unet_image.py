"""Stable Diffusion's image U-Net, against the class that wrote its checkpoints."""

from __future__ import annotations

import pytest
import torch

from flipbook.denoisers.unet import UNet
from flipbook.interop.keys.unet_image import IMAGE
from flipbook.nn.doors import Doors

diffusers = pytest.importorskip("diffusers")

TINY = {
    "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": 12, "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip


def randomise(module, seed=0):
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=g) * (0.2 if p.ndim < 2 else 1.0 / p[0].numel() ** 0.5)
    return module.eval().requires_grad_(False)


def reference(**changes):
    return randomise(diffusers.UNet2DConditionModel(**{**TINY, **changes}))


def ours(theirs):
    return IMAGE.load(UNet(IMAGE.config(dict(theirs.config))), theirs.state_dict()).eval().requires_grad_(False)


def inputs(batch=2, frames=3, size=8, channels=4):
    g = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, frames, size, size, generator=g), torch.randn(batch, 5, 12, generator=g), torch.tensor([37, 998])[:batch]


@pytest.mark.parametrize("changes", [
    {}, {"use_linear_projection": True}, {"attention_head_dim": (2, 4)}, {"layers_per_block": (2, 1), "transformer_layers_per_block": 2},
    {"norm_eps": 1e-3, "act_fn": "gelu"}, {"resnet_time_scale_shift": "scale_shift"}, {"only_cross_attention": (True, False)}, {"only_cross_attention": True},
])  # fmt: skip
def test_every_frame_is_what_the_reference_makes_of_it(changes):
    theirs = reference(**changes)
    x, tokens, level = inputs()
    out = ours(theirs)(x, (level + 1) / 1000, Doors(tokens=tokens))
    for i in range(3):
        torch.testing.assert_close(out[:, :, i], theirs(x[:, :, i], level, tokens).sample, atol=1e-4, rtol=1e-4)
