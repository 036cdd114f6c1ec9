"""Best of several: of the candidates that answer one request, keep the one that the model itself reads the request from best.

A denoiser that is told a sentence removes noise from a video of that sentence better than from a video of another one, so its error
on a finished video says how well the two fit (arXiv:2303.16203, with one sentence and several videos; as search over noises
arXiv:2501.09732). No other network is asked and no judge of the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flipbook.data.seeds import derive_seed
from flipbook.process.noise import initial_noise
from flipbook.process.path import Path
from flipbook.samplers.common import Denoise

LEVELS = (0.3, 0.45, 0.6, 0.75)
"""Times at which the error is taken: lower ones ask for texture alone, higher ones for little more than the mean."""


def candidate_seeds(seed: int, count: int) -> list[int]:
    """Seeds of the candidates of a video; the first is the video's own, so best_of=1 is what it was."""
    return [seed] + [derive_seed(seed, "candidate", i) for i in range(1, count)]


def judging_seed(seed: int) -> int:
    """Of the noise by which candidates are compared. No candidate began with it: one that did would be on its own way home, and always win."""
    return derive_seed(seed, "judging")


@torch.inference_mode()
def denoising_error(denoise: Denoise, z: Tensor, path: Path, is_given: Tensor, seeds: Sequence[int]) -> Tensor:
    """How badly noise is told from z (B, C, T, h, w): (B,), the mean over `LEVELS` of |x0 - z|^2 / sigma^2 on generated frames.

    denoise:  told the request; (x, t) -> x0.   is_given: (B, T), frames that were given stay at level 0.
    seeds:    of the noise, one each. Candidates that are compared get the same, so that only z differs.

    For a rectified flow that is the loss the network was trained with.
    """
    eps, wanted = initial_noise(z.shape[1:], seeds).to(z), (~is_given).to(z)
    total = z.new_zeros(len(z))
    for level in LEVELS:
        t = level * wanted                                                            # (B, T)
        alpha, sigma = (values.to(z)[:, None, :, None, None] for values in (path.alpha(t), path.sigma(t)))
        error = (denoise(alpha * z + sigma * eps, t) - z).square().mean((1, 3, 4))     # (B, T)
        total += (error * wanted / path.sigma(t).to(z).clamp_min(1e-6).square()).sum(1) / wanted.sum(1).clamp_min(1)
    return total / len(LEVELS)


def best(errors: Tensor, count: int) -> list[int]:
    """Of each `count` neighbours the place of the smallest error; the first of equals. errors: (B * count,)."""
    rows = errors.reshape(-1, count)
    return [row * count + int(place) for row, place in enumerate(rows.argmin(1))]
