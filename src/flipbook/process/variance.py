"""The step back of a noising chain: its mean, the two ends of its variance, and a variance between them that a network learns.

Learned range of Improved DDPM, arXiv:2102.09672: behind its C channels a network predicts C more, whose value, from -1 to 1, says where in
the logarithm the variance of a step stands between the posterior's own and that of the noising step. `sample_ddpm` draws with it, and
`vlb` teaches it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from flipbook.process.process import Process

LEAST = 1e-20
"""Variances are taken no smaller in logarithms."""
HALF_BIN = 1.0 / 255
"""Half the distance of neighbouring grey levels in [-1, 1]."""


@dataclass(frozen=True)
class Posterior:
    """q(x' | x, x0) from (alpha, sigma) to (alpha', sigma'), arXiv:2006.11239, eq. 6 and 7, on any path. All of one shape.

    of_x0, of_x:  the mean is of_x0 x0 + of_x x.   small: the posterior's own variance.
    large: b = sigma^2 - k^2 sigma'^2 with k = alpha / alpha', what the noising step adds (beta on a variance-preserving path).
    """

    of_x0: Tensor
    of_x: Tensor
    small: Tensor
    large: Tensor

    @staticmethod
    def between(alpha: Tensor, sigma: Tensor, alpha_next: Tensor, sigma_next: Tensor) -> Posterior:
        """The step from a level to a cleaner one. Where both are the same, its variances are 0."""
        keep = divide(alpha, alpha_next)
        shrink = divide(sigma_next, sigma) ** 2
        added = (sigma**2 - keep**2 * sigma_next**2).clamp(min=0.0)
        return Posterior(alpha_next * divide(added, sigma**2), keep * shrink, added * shrink, added)

    def log_range(self) -> tuple[Tensor, Tensor]:
        """Logarithms of the smaller and the larger variance."""
        return torch.log(self.small.clamp(min=LEAST)), torch.log(self.large.clamp(min=LEAST))


def learned_share(prediction: Tensor, channels: int) -> Tensor:
    """Where the variance stands, 0 at the smaller end, 1 at the larger one: (B, C, T, H, W), of a prediction (B, 2C, T, H, W); C is `channels`.

    Raises ValueError for a prediction without a variance.
    """
    if prediction.shape[1] != 2 * channels:
        raise ValueError(
            f"the network predicts {prediction.shape[1]} channels of a state of {channels}: with a learned variance it would be {2 * channels}. "
            "Try variance='small'."
        )
    return (prediction[:, channels:] + 1.0) / 2.0


@dataclass(frozen=True)
class WithVariance:
    """A denoiser that has `share(x, t)`, where a network says that the variance of the step back stands, see `learned_share`."""

    denoise: Callable[[Tensor, Tensor], Tensor]
    share: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.denoise(x, t)


def vlb(process: Process, x0: Tensor, x: Tensor, prediction: Tensor, t: Tensor, num_levels: int = 1000) -> Tensor:
    """What one step back of a chain of `num_levels` costs, (B, T): bits per number, arXiv:2102.09672, eq. 4 to 6. The mean gets no gradient.

    x: x0 noised to t, (B, C, T, H, W).   prediction: (B, 2C, T, H, W).   t: (B, T), above 0 in frames whose cost is wanted.
    The step goes from t to t - 1 / num_levels: the KL divergence of the network's Gaussian from the posterior. The last one, from
    below the second level to 0, costs -log2 of the chance of x0 among neighbours 2/255 apart; the smaller variance is 0 there, and the
    network's range ends at that of the step before. (The reference counts all that lies beyond -1 and 1 to the last neighbours; we do not.)
    """
    wide, least = t.to(torch.float64), 1.0 / num_levels
    last = wide < 1.5 * least
    step = _posterior(process, wide, torch.where(last, 0.0, wide - least))
    before = _posterior(process, wide.clamp(min=2 * least), wide.clamp(min=2 * least) - least)
    low, high = (_spread(value, x) for value in (torch.maximum(step.log_range()[0], before.log_range()[0]), step.log_range()[1]))
    log_variance = low + learned_share(prediction, x.shape[1]).to(x.dtype) * (high - low)
    guess = process.to_x0(prediction.detach(), x, t)
    of_x0, of_x = _spread(step.of_x0, x), _spread(step.of_x, x)
    mean, wanted = of_x0 * guess + of_x * x, of_x0 * x0 + of_x * x
    cost = torch.where(
        last[:, None, :, None, None], -log_bin(x0, mean, log_variance), gaussian_kl(wanted, _spread(step.log_range()[0], x), mean, log_variance)
    )
    return cost.mean((1, 3, 4)) / math.log(2.0)


def gaussian_kl(mean: Tensor, log_variance: Tensor, other: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp log_variance) || N(other, exp other_log_variance)) in nats, of each number."""
    apart = (mean - other).square() * torch.exp(-other_log_variance)
    return 0.5 * (other_log_variance - log_variance + torch.exp(log_variance - other_log_variance) + apart - 1.0)


def log_bin(x: Tensor, mean: Tensor, log_variance: Tensor, half: float = HALF_BIN) -> Tensor:
    """Logarithm of the chance of [x - half, x + half] under N(mean, exp log_variance); exact far out in the tails too."""
    away, scale = (x - mean).abs(), torch.exp(-0.5 * log_variance)          # by symmetry the interval lies above the mean, or across it
    near, far = torch.special.log_ndtr((half - away) * scale), torch.special.log_ndtr((-half - away) * scale)
    return near + torch.log1p(-torch.exp(far - near))


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b = 0: such frames are clean or pure noise, and the quotient meets a factor 0."""
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def _posterior(process: Process, t: Tensor, t_next: Tensor) -> Posterior:
    path = process.path
    return Posterior.between(path.alpha(t), path.sigma(t), path.alpha(t_next), path.sigma(t_next))


def _spread(values: Tensor, x: Tensor) -> Tensor:
    """Numbers per frame (B, T) against x (B, C, T, H, W), in its dtype."""
    return values[:, None, :, None, None].to(x)
