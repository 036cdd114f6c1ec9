"""What a network predicts, and the algebra that turns each prediction into the others.

With x = alpha x0 + sigma eps:  v = alpha eps - sigma x0  (arXiv 2202.00512),  flow = eps - x0  (arXiv 2209.03003),
and the EDM network output F (arXiv 2206.00364, eq. 7) written in our x, which is the EDM state times alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flipbook.process.path import Path
from flipbook.process.variance import learned_share

Prediction = Literal["eps", "x0", "v", "flow", "edm"]
Clock = Literal["t", "sigma", "level"]


def expand_t(t: Tensor, x: Tensor) -> Tensor:
    """Give t (B,) or (B, T) the axes it needs against x (B, C, T, H, W): (B, 1, 1, 1, 1) or (B, 1, T, 1, 1)."""
    if t.ndim == 1 and t.shape[0] in (1, x.shape[0]):
        return t.reshape(-1, 1, 1, 1, 1)
    if t.ndim == 2 and t.shape[0] in (1, x.shape[0]) and t.shape[1] in (1, x.shape[2]):
        return t[:, None, :, None, None]
    raise ValueError(
        f"t has shape {tuple(t.shape)} but x {tuple(x.shape)}: a noise level belongs to a sample, (B,), "
        f"or to each of its frames, (B, T). Try t of shape ({x.shape[0]},) or ({x.shape[0]}, {x.shape[2]})."
    )


@dataclass(frozen=True)
class Process:
    """A noise path and the quantity a network predicts along it.

    path:       alpha(t) and sigma(t).
    predicts:   "eps", "x0", "v", "flow" or "edm".
    sigma_data: standard deviation of the data, in the units of x0; only "edm" reads it.
    clock:      what the network is told as its noise level: "t"; "sigma", the share of noise, which a shift of the path moves; "level", the
                same in thousandths, cut to a whole number below 1000, as solvers with integer timesteps tell it.

    All methods take x, x0, eps and predictions of (B, C, T, H, W) and t of (B,) or (B, T).
    """

    path: Path
    predicts: Prediction
    sigma_data: float = 1.0
    clock: Clock = "t"

    def __post_init__(self) -> None:
        if self.predicts not in get_args(Prediction):
            raise ValueError(f"predicts={self.predicts!r} is unknown. Try one of {', '.join(get_args(Prediction))}.")
        if self.clock not in get_args(Clock):
            raise ValueError(f"clock={self.clock!r} is unknown. Try one of {', '.join(get_args(Clock))}.")
        if not self.sigma_data > 0:
            raise ValueError(f"sigma_data={self.sigma_data}: a standard deviation is above 0. Try 0.5 (pixels) or 1.")

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x = alpha(t) x0 + sigma(t) eps. Frames with t = 0 are x0, bit for bit."""
        alpha, sigma = self._alpha_sigma(t, x0)
        return alpha * x0 + sigma * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What a perfect network would answer for x = add_noise(x0, eps, t). Finite for every t in [0, 1]."""
        if self.predicts == "eps":
            return eps
        if self.predicts == "x0":
            return x0
        if self.predicts == "flow":
            return eps - x0
        alpha, sigma = self._alpha_sigma(t, x0)
        if self.predicts == "v":
            return alpha * eps - sigma * x0
        # F = (x0 - c_skip x) / c_out with eps put in for x: c_out = 0 at t = 0 cancels
        std = self.sigma_data
        return (sigma * x0 - std**2 * alpha * eps) / (std * _norm(alpha, sigma, std))

    def network_input(self, x: Tensor, t: Tensor) -> Tensor:
        """The state as the network wants it: x, and for "edm" x at unit variance (c_in of arXiv 2206.00364 table 1)."""
        if self.predicts != "edm":
            return x
        alpha, sigma = self._alpha_sigma(t, x)
        return x / _norm(alpha, sigma, self.sigma_data)

    def network_time(self, t: Tensor) -> Tensor:
        """The noise level as the network is told it, in [0, 1], the shape of t."""
        if self.clock == "t":
            return t
        sigma = self.path.sigma(t)
        return sigma if self.clock == "sigma" else torch.floor(1000.0 * sigma + 1e-3).clamp(max=999.0) / 1000.0   # 1e-3: rounding of sigma

    def to_x0(self, prediction: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The clean sample that a prediction at (x, t) means. Channels behind those of x are a learned variance, and say nothing of it.

        Raises ValueError for an eps prediction where alpha = 0: x is pure noise there and eps says nothing about x0.
        """
        prediction = prediction[:, : x.shape[1]]
        if self.predicts == "x0":
            return prediction
        alpha, sigma = self._alpha_sigma(t, x)
        if self.predicts == "eps":
            if bool((alpha == 0).any()):
                raise ValueError(
                    "an eps prediction does not determine x0 at a level with alpha = 0 (here t = 1). "
                    "Try a first level below 1, or a network that predicts v, x0, flow or edm."
                )
            return (x - sigma * prediction) / alpha
        if self.predicts == "flow":
            return (x - sigma * prediction) / (alpha + sigma)
        if self.predicts == "v":
            return (alpha * x - sigma * prediction) / (alpha**2 + sigma**2)
        std, norm = self.sigma_data, _norm(alpha, sigma, self.sigma_data)
        return (std / norm) ** 2 * alpha * x + (std / norm) * sigma * prediction

    def to_eps(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The noise in x beside x0: (x - alpha x0) / sigma; 0 where sigma = 0, since a clean frame holds no noise."""
        alpha, sigma = self._alpha_sigma(t, x)
        inverse = torch.where(sigma == 0, 0.0, 1.0 / torch.where(sigma == 0, 1.0, sigma))
        return (x - alpha * x0) * inverse

    def denoiser(self, net: Callable[..., Tensor], *args: Any, **kwargs: Any) -> NetworkDenoiser:
        """Give a network the face samplers know, `denoise(x, t) -> x0`. Further arguments go to every call."""
        return NetworkDenoiser(self, lambda x, t: net(self.network_input(x, t), self.network_time(t), *args, **kwargs))

    def _alpha_sigma(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return expand_t(self.path.alpha(t), x), expand_t(self.path.sigma(t), x)


class NetworkDenoiser:
    """`denoise(x, t) -> x0` of a network, and `denoise.share(x, t)`, where it says that the variance of the step back stands (`variance.py`).

    Both are of one answer, which is kept until another state is asked about.
    """

    def __init__(self, process: Process, predict: Callable[[Tensor, Tensor], Tensor]):
        self.process, self.predict = process, predict
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.heard(self.predict(x, t), x, t)

    def heard(self, prediction: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """x0 of what the network answered about (x, t)."""
        self._last = (x, t, prediction) if prediction.shape[1] > x.shape[1] else None
        return self.process.to_x0(prediction, x, t)

    def share(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, T, H, W): 0 at the smaller variance, 1 at the larger. Raises ValueError for a network that predicts none."""
        if self._last is not None and self._last[0] is x and torch.equal(self._last[1], t):
            return learned_share(self._last[2], x.shape[1])
        return learned_share(self.predict(x, t), x.shape[1])


def _norm(alpha: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """Standard deviation of x for data of std sigma_data: sqrt(sigma^2 + sigma_data^2 alpha^2)."""
    return torch.sqrt(sigma**2 + (sigma_data * alpha) ** 2)
