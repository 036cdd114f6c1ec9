"""A path that ends in purer noise: the data's share of another path, scaled down as the level rises."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from flipbook.process.vp import VP


@dataclass(frozen=True)
class X0Scale:
    """alpha(t) s(t) beside the sigma(t) of a discrete schedule: VideoCrafter2's scale on x0 (arXiv:2401.09047 and its code).

    Stable Diffusion's last level still holds 7% of x0, enough to betray a clip's brightness; with s it holds 5%.
    Any sampler runs on it, since a sampler asks for alpha and sigma alone. (The authors' DDIM with eta > 0 draws its fresh
    noise by the plain schedule; ours by this one. The two differ only below level `levels`, where s changes.)

    last:   s is 1 at level 0 and falls linearly to `last` at level `levels` - 1; then it stays.
    levels: counted in levels of `base`.
    Raises ValueError unless 0 < last <= 1 and 2 <= levels <= base.num_levels.
    """

    base: VP = field(default_factory=VP)
    last: float = 0.7
    levels: int = 400

    def __post_init__(self) -> None:
        if not 0 < self.last <= 1:
            raise ValueError(f"last={self.last}: x0 keeps a share of its size, above 0 and at most 1. Try 0.7.")
        if not 2 <= self.levels <= self.base.num_levels:
            raise ValueError(f"levels={self.levels}: the scale falls over 2 to {self.base.num_levels} levels. Try 400.")

    @property
    def straight(self) -> bool:
        return False

    def alpha(self, t: Tensor) -> Tensor:
        return self.base.alpha(t) * self.scale(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.base.sigma(t)

    def time_at(self, ratio: Tensor) -> Tensor:
        wanted = ratio.to(torch.float64)
        low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
        for _ in range(60):                                                 # sigma / alpha rises with t: halve until float64 ends
            middle = (low + high) / 2
            below = self.sigma(middle) < wanted * self.alpha(middle)
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return ((low + high) / 2).to(ratio.dtype)

    def scale(self, t: Tensor) -> Tensor:
        """s(t), the shape of t."""
        level = t.to(torch.promote_types(t.dtype, torch.float32)) * self.base.num_levels - 1.0
        return torch.lerp(torch.ones_like(level), torch.full_like(level, self.last), (level / (self.levels - 1)).clamp(0.0, 1.0))
