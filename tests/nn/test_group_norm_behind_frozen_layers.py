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
