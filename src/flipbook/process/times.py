"""Training times: from which t in [0, 1] a network learns. All are functions of an explicit generator.

Each distribution is a quantile map of uniform numbers. Stratification, where each of B equal slices of probability
gets exactly one sample of the batch, therefore serves all of them; it lowers the variance of the loss at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flipbook.process.path import Path


def uniform_times(shape: Sequence[int], generator: torch.Generator, *, stratified: bool = False) -> Tensor:
    """t ~ U(0, 1), float32 of shape (B,) or (B, T). stratified: one t in each of B equal slices, frame by frame."""
    return _uniform(shape, generator, stratified).to(torch.float32)


def logit_normal_times(
    shape: Sequence[int], generator: torch.Generator, *, mean: float = 0.0, std: float = 1.0, stratified: bool = False
) -> Tensor:
    """logit(t) ~ N(mean, std^2), mostly the middle of the path: arXiv 2403.03206 eq. 19. float32, (B,) or (B, T)."""
    return torch.sigmoid(mean + std * _normal(shape, generator, stratified)).to(torch.float32)


def log_normal_times(
    shape: Sequence[int],
    generator: torch.Generator,
    path: Path,
    *,
    mean: float = -1.2,
    std: float = 1.2,
    stratified: bool = False,
) -> Tensor:
    """ln(sigma / alpha) ~ N(mean, std^2), arXiv 2206.00364 table 1, as times of `path`. float32, (B,) or (B, T)."""
    return path.time_at(torch.exp(mean + std * _normal(shape, generator, stratified))).to(torch.float32)


def _uniform(shape: Sequence[int], generator: torch.Generator, stratified: bool) -> Tensor:
    u = torch.rand(tuple(shape), generator=generator, dtype=torch.float64)
    if stratified:
        slices = torch.rand(tuple(shape), generator=generator).argsort(dim=0)  # a permutation of 0..B-1 per frame
        u = (slices + u) / shape[0]
    return u


def _normal(shape: Sequence[int], generator: torch.Generator, stratified: bool) -> Tensor:
    return torch.special.ndtri(_uniform(shape, generator, stratified).clamp(1e-12, 1 - 1e-12))  # finite at the ends
