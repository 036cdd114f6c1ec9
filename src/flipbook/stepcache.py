"""Skip most of a network where a cheap probe says that its answer would hardly differ from the last one.

Between two sampler steps the state moves little, and what most blocks add to it moves less (DeepCache, arXiv:2312.00858; TeaCache,
arXiv:2411.19108). One policy serves every network that hands its blocks to `StepCache.run`, transformer or U-Net. The first block of a call is
always run. Where its answer moved by less than a threshold since the network last ran whole, every other block adds again what it added
then: all of one moment. Blocks that decide each for themselves mix moments: on the shipped transformer they end farther off at the same speed (LOG.md).

A cache belongs to one branch of one sampling run, or to branches that share a batch (`branches.py`): it is made, handed to the network at each
call, and thrown away. Caches `beside` each other, of the branches of one guidance list, decide together, or guidance would take the difference of
two moments for the difference that words make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Turn:
    """What the branches of a run decide together about one step of the sampler: the one that is asked first in it decides for all."""

    asked: set[int] = field(default_factory=set)                            # branches that were asked in this step
    served: int = 0                                                         # steps that the last whole one has served, this one with them; 0: this one is whole


@dataclass(eq=False)
class StepCache:
    """Runs blocks, or does not.

    threshold: mean |y - y_last| / mean |y_last| below which a call is skipped, y being what its first block answers, y_last the same when the
               network last ran whole. 0 skips nothing.
    longest:   steps in a row that a whole one may serve.
    ran, skipped: how many blocks were run and skipped so far.
    """

    threshold: float
    longest: int = 4
    ran: int = 0
    skipped: int = 0
    turn: Turn = field(default_factory=Turn, repr=False)
    added: dict[Any, Tensor] = field(default_factory=dict, repr=False)      # what each block added when last run
    probe: Any = field(default=None, repr=False)                            # the first block of every call
    said: Tensor | None = field(default=None, repr=False)                   # its answer when the network last ran whole

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"step_cache={self.threshold}: a threshold is 0 or more; 0 is exact. Try 0.2.")
        if self.longest < 1:
            raise ValueError(f"longest={self.longest}: a whole step serves one other at least. Try 4.")

    def beside(self) -> StepCache:
        """A cache of another branch of the same run, which decides together with this one."""
        return StepCache(self.threshold, self.longest, turn=self.turn)

    def run(self, block: Callable[..., Tensor], x: Tensor, *told: Any) -> Tensor:
        """block(x, *told), or what it last added to its input, added to x. A block may change the size of x: then its last answer is taken."""
        if self.probe is None:
            self.probe = block
        if block is not self.probe and self.turn.served and block in self.added:
            self.skipped += 1
            added = self.added[block]
            return x + added if added.shape == x.shape else added
        y = block(x, *told)
        self.ran += 1
        if block is self.probe:
            self._begin(y)
        else:
            self.added[block] = y - x if y.shape == x.shape else y
        return y

    def _begin(self, y: Tensor) -> None:
        """A call begins, whose first block answers y."""
        turn = self.turn
        if not turn.asked or id(self) in turn.asked:                        # and with it a step
            turn.asked.clear()
            serves = self.said is not None and turn.served < self.longest and moved(y, self.said) < self.threshold
            turn.served = turn.served + 1 if serves else 0
        turn.asked.add(id(self))
        if not turn.served:
            self.said = y


def moved(x: Tensor, last: Tensor) -> float:
    """mean |x - last| / mean |last|; infinite between tensors of two shapes."""
    if x.shape != last.shape:
        return float("inf")
    return float((x - last).abs().float().mean() / last.abs().float().mean().clamp(min=1e-12))
