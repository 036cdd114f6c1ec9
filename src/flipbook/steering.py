"""What steers a sample without another condition: energies whose gradient moves the prediction, and hooks of the sampler.

Energies wrap a denoiser, `denoise(x, t) -> x0`. Hooks are the two callbacks of a sampler: `state_hook` (x, i) -> x before the
network sees row i, `x0_hook` (x0, i) -> x0 on what it answers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.process import Path, expand_t
from flipbook.samplers.common import Denoise, Hook, Noise
from flipbook.shapes import fold_frames, unfold_frames

Energy = Callable[[Tensor], Tensor]
"""A prediction x0 (B, C, T, H, W) to one number per sample, (B,): small where the prediction is as wanted."""


def with_energy(denoise: Denoise, energy: Energy, path: Path, *, weight: float = 1.0, moves: Tensor | None = None) -> Denoise:
    """x0 - (weight alpha / 2) d energy(x0(x)) / dx: the gradient runs through the network (VDM, arXiv 2204.03458, eq. 7).

    weight: 0 returns the bits of `denoise` and costs nothing more. Else each call is one pass forward and one back.
    moves:  (B, T) bool, the frames that the gradient may move; None: all.
    """
    if weight == 0:
        return denoise

    def guided(x: Tensor, t: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_(True)
            x0 = denoise(x, t)
            (gradient,) = torch.autograd.grad(energy(x0).sum(), x)
        alpha = expand_t(path.alpha(t), x)
        pull = (0.5 * weight) * alpha * gradient
        return (x0 - (pull if moves is None else pull * moves[:, None, :, None, None])).detach()

    return guided


def reconstruction(given: Tensor, is_given: Tensor) -> Energy:
    """|given - x0|^2 over the frames that are given: reconstruction guidance of prediction, interpolation, extension.

    given: (B, C, T, H, W), anything in the other frames.   is_given: (B, T) bool.
    """
    counted = is_given[:, None, :, None, None]
    return lambda x0: torch.where(counted, given - x0, 0.0).square().flatten(1).sum(1)


def reconstruction_of_small(small: Tensor) -> Energy:
    """|small - down(x0)|^2 with averages over squares of cells: spatial super-resolution by a model that never learnt it.

    small: (B, C, T, h, w), whose sides divide those of x0.
    """

    def energy(x0: Tensor) -> Tensor:
        down = unfold_frames(F.adaptive_avg_pool2d(fold_frames(x0), (small.shape[-2], small.shape[-1])), x0.shape[0])
        return (small - down).square().flatten(1).sum(1)

    return energy


def reconstruction_guidance(
    denoise: Denoise, given: Tensor, is_given: Tensor, path: Path, *, weight: float = 2.0
) -> Denoise:
    """Frames that are wanted lean towards what makes the given ones come out right (VDM, arXiv 2204.03458, section 3.1).

    Use it beside `replacement`, which puts noised given frames into the state. weight: 0 is replacement alone; above 1 works
    best; a large one overshoots and narrows the spread of samples.
    """
    return with_energy(denoise, reconstruction(given, is_given), path, weight=weight, moves=~is_given)


def replacement(given: Tensor, is_given: Tensor, path: Path, matrix: Tensor, noise: Noise) -> Hook:
    """A state hook: before each call, given frames become fresh draws of q(x | given) at their level (arXiv 2204.03458).

    given: (B, C, T, H, W).   is_given: (B, T) bool.   matrix: the sampler's, with no column held at 0.
    """

    def hook(x: Tensor, i: int) -> Tensor:
        t = matrix[i].to(x.device, torch.float64)[None]
        alpha, sigma = (expand_t(part, x).to(x.dtype) for part in (path.alpha(t), path.sigma(t)))
        return torch.where(is_given[:, None, :, None, None], alpha * given + sigma * noise().to(x), x)

    return hook


def langevin(denoise: Denoise, path: Path, matrix: Tensor, noise: Noise, *, step: float = 0.1) -> Hook:
    """A state hook: x - (step / 2) sigma eps(x) + sqrt(step) sigma noise, a correction between two steps of the sampler
    (arXiv 2204.03458, section 3.1, which takes 0.1). One more network call per step; at alpha = 0 it only stirs the noise.
    """

    def hook(x: Tensor, i: int) -> Tensor:
        t = matrix[i].to(x.device, torch.promote_types(x.dtype, torch.float32)).expand(x.shape[0], -1)
        alpha, sigma = expand_t(path.alpha(t), x), expand_t(path.sigma(t), x)
        drift = x - alpha * denoise(x, t)                                   # sigma eps
        return x - 0.5 * step * drift + step**0.5 * sigma * noise().to(x)

    return hook


def clip_at(limit: float) -> Hook:
    """An x0 hook: values are cut at +-limit, the largest that data has, as most pixel models do."""
    return lambda x0, i: x0.clamp(-limit, limit)


def dynamic_threshold(share: float = 0.995, *, limit: float = 1.0) -> Hook:
    """An x0 hook: values are cut at +-s, s the share-quantile of |x0| in the sample, and divided by s / limit where s > limit
    (Imagen, arXiv 2205.11487, section 2.3). Keeps large guidance weights from saturating.

    limit: the largest value that data has, 1 for pixels in [-1, 1]. The quantile spans the whole clip, so that it does not flicker.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share}: the threshold is the value that this share of all numbers stays below. Try 0.995.")

    def hook(x0: Tensor, i: int) -> Tensor:
        sizes = x0.detach().abs().flatten(1).float()
        rank = max(1, round(share * sizes.shape[1]))
        s = sizes.kthvalue(rank, dim=1).values.clamp(min=limit).to(x0.dtype)[:, None, None, None, None]
        return torch.maximum(torch.minimum(x0, s), -s) * (limit / s)

    return hook
