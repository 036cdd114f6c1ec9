"""The analytic denoiser: a mixture of Gaussians whose exact denoiser is a closed form, on any noise path.

"Content" is the mode a clip belongs to, "structure" the residual x0 - mean. Samplers, guidance, inversion and editing
are tested on it in milliseconds, without a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flipbook.process import Path, Process, expand_t


@dataclass(frozen=True)
class Mixture:
    """K Gaussians over whole clips: mode k with probability shares[k], then x0 ~ N(means[k], std^2) in every number.

    means (K, C, T, H, W); shares (K,), adding up to 1.
    """

    path: Path
    means: Tensor
    std: float = 0.25
    shares: Tensor | None = None

    def draw(self, num: int, seed: int, mode: int | None = None) -> Tensor:
        """Exact samples (num, C, T, H, W), all of one mode if it is named."""
        generator = torch.Generator().manual_seed(seed)
        shares = torch.ones(len(self.means)) if self.shares is None else self.shares
        modes = torch.multinomial(shares, num, replacement=True, generator=generator)
        if mode is not None:
            modes = torch.full_like(modes, mode)
        residual = torch.randn(num, *self.means.shape[1:], generator=generator)
        return self.means[modes] + self.std * residual.to(self.means)

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x] at times t (B,) or (B, T): the modes' own answers, weighted by how likely each one is."""
        every = torch.stack([self.conditional(k)(x, t) for k in range(len(self.means))])  # (K, B, C, T, H, W)
        return torch.einsum("bk,kb...->b...", self.posterior(x, t), every)

    def conditional(self, mode: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The denoiser that knows the mode: E[x0 | x, mode]. All its trajectories are closed forms."""

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            alpha, sigma = expand_t(self.path.alpha(t), x), expand_t(self.path.sigma(t), x)
            mean = self.means[mode].to(x)
            gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
            return mean + gain * (x - alpha * mean)

        return denoise

    def posterior(self, x: Tensor, t: Tensor) -> Tensor:
        """Probability of each mode given x, (B, K)."""
        alpha, sigma = expand_t(self.path.alpha(t), x), expand_t(self.path.sigma(t), x)
        variance = alpha**2 * self.std**2 + sigma**2
        logits = [-((x - alpha * mean.to(x)) ** 2 / (2 * variance)).flatten(1).sum(1) for mean in self.means]
        shares = torch.ones(len(self.means)) if self.shares is None else self.shares
        return torch.softmax(torch.stack(logits, dim=1) + shares.to(x).log(), dim=1)

    def network(self, process: Process, mode: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
        """The perfect network of a process on this path: (x, t) -> its prediction, for x as network_input gives it."""
        denoise = self.denoise if mode is None else self.conditional(mode)

        def net(x: Tensor, t: Tensor) -> Tensor:
            x = x / process.network_input(torch.ones_like(x), t)
            x0 = denoise(x, t)
            return process.target(x0, process.to_eps(x0, x, t), t)

        return net

    def end_of_flow(self, x: Tensor, t: Tensor, mode: int) -> Tensor:
        """Where the probability-flow ODE of one mode carries x from times t to t = 0: the exact solution."""
        alpha, sigma = expand_t(self.path.alpha(t), x), expand_t(self.path.sigma(t), x)
        mean = self.means[mode].to(x)
        return mean + self.std * (x - alpha * mean) / torch.sqrt(alpha**2 * self.std**2 + sigma**2)


def well_apart(
    path: Path, *, num_modes: int = 3, std: float = 0.25, shape: tuple[int, int, int, int] = (2, 4, 2, 2), seed: int = 0
) -> Mixture:
    """A mixture with means of +-1 drawn from a seed, shape (C, T, H, W), and unequal shares 1 : 2 : 3 ..."""
    means = torch.randint(0, 2, (num_modes, *shape), generator=torch.Generator().manual_seed(seed)).float() * 2 - 1
    shares = torch.arange(1, num_modes + 1).float()
    return Mixture(path, means, std, shares / shares.sum())
