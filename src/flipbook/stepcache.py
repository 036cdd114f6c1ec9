"""Skip a block of a network where a cheap probe says that its answer would hardly differ from the last one.

Between two sampler steps the state moves little, and what most blocks add to it moves less (DeepCache, arXiv:2312.00858; TeaCache, arXiv:2411.19108).
One policy serves every denoiser that runs its blocks through `StepCache.run`: each block is asked for anew only when its input has
moved by more than a threshold since it was last run; else what it added then is added again.

A cache belongs to one branch of one sampling run: it is made, handed to the network at each call, and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Memory:
    """What is kept of a block: its input and what it added, when last run, and for how many calls that has served since."""

    x: Tensor
    added: Tensor
    served: int = 0


@dataclass
class StepCache:
    """Runs blocks, or does not.

    threshold: mean |x - x_last| / mean |x_last| up to which a block is skipped, x_last being its input when it was last run. 0 skips
               none but those whose input is the same, bit for bit.
    longest:   calls in a row that one answer may serve.
    ran, skipped: how many blocks were run and skipped so far.
    """

    threshold: float
    longest: int = 4
    ran: int = 0
    skipped: int = 0
    memory: dict[Any, Memory] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"step_cache={self.threshold}: a threshold is 0 or more; 0 is exact. Try 0.1.")
        if self.longest < 1:
            raise ValueError(f"longest={self.longest}: an answer serves one call at least. Try 4.")

    def run(self, block: Callable[..., Tensor], x: Tensor, *told: Any) -> Tensor:
        """block(x, *told), or what it last added to its input, added to x. A block may change the size of x: then its last answer is taken."""
        kept = self.memory.get(block)
        if kept is not None and kept.served < self.longest and moved(x, kept.x) <= self.threshold:
            kept.served += 1
            self.skipped += 1
            return x + kept.added if kept.added.shape == x.shape else kept.added
        y = block(x, *told)
        self.memory[block] = Memory(x, y - x if y.shape == x.shape else y)
        self.ran += 1
        return y


def moved(x: Tensor, last: Tensor) -> float:
    """mean |x - last| / mean |last|; infinite between tensors of two shapes."""
    if x.shape != last.shape:
        return float("inf")
    return float((x - last).abs().float().mean() / last.abs().float().mean().clamp(min=1e-12))
