"""A norm that learns behind layers that do not: torch's channels-last kernel would write to address 0."""

from __future__ import annotations

import torch

from flipbook.nn.clip import Clip, GroupNorm


def test_a_norm_learns_behind_frozen_layers_as_behind_others():
    x = torch.randn(2, 3, 4, 4, 16, generator=torch.Generator().manual_seed(0))
    clip = Clip(2, 3, torch.zeros(2, 1, 4), torch.arange(3.0)[None])
    for over in ("frame", "clip"):
        grads = []
        for wanted in (False, True):
            norm = GroupNorm(8, 16, over=over)
            norm(x.clone().requires_grad_(wanted), clip).square().sum().backward()
            grads.append(norm.weight.grad)
        torch.testing.assert_close(*grads)


def test_a_norm_in_bfloat16_gives_the_numbers_of_the_other_layout_and_hands_back_channels_last():
    x = torch.randn(2, 3, 4, 4, 16, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    clip = Clip(2, 3, torch.zeros(2, 1, 4), torch.arange(3.0)[None])
    norm = GroupNorm(8, 16).to(torch.bfloat16)
    y = norm(x, clip)
    want = torch.nn.functional.group_norm(x.flatten(0, 1).permute(0, 3, 1, 2).float(), 8).permute(0, 2, 3, 1).view_as(y)
    torch.testing.assert_close(y.float(), want, atol=2e-2, rtol=1e-2)
    assert y.is_contiguous()                                                # (B, T, H, W, C)
