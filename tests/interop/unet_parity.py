"""Random weights for a reference class, and inputs: nothing is left at zero, so every path shows."""

from __future__ import annotations

import torch


def randomise(module, seed=0):
    """Every parameter random, at a scale that keeps activations near one."""
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=g) * (0.2 if p.ndim < 2 else 1.0 / p[0].numel() ** 0.5)
    return module.eval().requires_grad_(False)


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(a, b, atol=1e-4):
    assert b.std() > 0.05, "the reference is nearly silent: the comparison would prove nothing"
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-4)
