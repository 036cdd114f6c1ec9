"""No noise path: what a system has that draws its latents in another way (`System.draws`)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class NoNoise:
    """Stands where a path stands, and refuses whatever would need one."""

    @property
    def straight(self) -> bool:
        return True

    def alpha(self, t: Tensor) -> Tensor:
        raise ValueError("this system knows no noise: it makes its latents piece by piece. Try its own objective, `flipbook systems show NAME`.")

    def sigma(self, t: Tensor) -> Tensor:
        return self.alpha(t)

    def time_at(self, ratio: Tensor) -> Tensor:
        return self.alpha(ratio)
