"""One network as the branches of a guidance list: told nothing, then more and more.

Branches whose doors have one shape are one batch of the network while the work is small, since a small batch leaves a machine waiting for its
own bookkeeping; large ones are asked one after the other, which takes half the memory and no more time (LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flipbook.nn.doors import Doors
from flipbook.process.process import NetworkDenoiser, Process
from flipbook.stepcache import StepCache

SMALL = 8192
"""Cells (B T H W) of a state up to which branches share a batch."""


class Remembered:
    """What a run last thought of the clean clip, for networks that read it (self-conditioning, arXiv:2208.04202). A run begins with a new one.

    All branches of the guidance list read the one guided estimate.
    """

    def __init__(self) -> None:
        self.x0: Tensor | None = None

    def after(self, hook: Callable[[Tensor, int], Tensor] | None) -> Callable[[Tensor, int], Tensor]:
        """An x0 hook that does what `hook` does, and remembers what comes of it."""

        def remember(x0: Tensor, step: int) -> Tensor:
            self.x0 = x0 if hook is None else hook(x0, step)
            return self.x0

        return remember

    def told(self, doors: Doors, dtype: torch.dtype, copies: int = 1) -> Doors:
        """Doors of so many branches with the estimate, once there is one."""
        return doors if self.x0 is None else doors.with_(estimate=_copied(self.x0.to(dtype), copies))


def remembered(net: Any) -> Remembered | None:
    """The memory of a run of a network that reads its own last estimate; None for one that does not."""
    return Remembered() if getattr(getattr(net, "config", None), "self_conditioned", False) else None


class Branches(Mapping[str, NetworkDenoiser]):
    """Name of a branch to its denoiser (x, t) -> x0; `ask` asks several at once. They live as long as one sampling run."""

    def __init__(
        self,
        net: Any,
        process: Process,
        doors: Mapping[str, Doors],
        frames: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        last: Remembered | None = None,
        cache: StepCache | None = None,
    ):
        """doors: of each branch, prepared by `net`.   frames: `frame_is_given` and `frame_index`, (B, T), alike in all branches."""
        self.net, self.process, self.doors, self.frames, self.dtype, self.last, self.cache = net, process, doors, frames, dtype, last, cache
        self._alone = {name: self._denoiser(door, 1, None if cache is None else cache.beside()) for name, door in doors.items()}
        self._together: dict[tuple[str, ...], NetworkDenoiser | None] = {}

    def __getitem__(self, name: str) -> NetworkDenoiser:
        return self._alone[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._alone)

    def __len__(self) -> int:
        return len(self._alone)

    def ask(self, names: Sequence[str], x: Tensor, t: Tensor) -> dict[str, Tensor]:
        """x0 of each branch, (B, C, T, H, W)."""
        together = self._joined(tuple(names)) if len(names) > 1 and x.numel() // x.shape[1] <= SMALL else None
        if together is None:
            return {name: self[name](x, t) for name in names}
        answers = together.predict(_copied(x, len(names)), _copied(t, len(names))).chunk(len(names))
        return {name: self[name].heard(answer, x, t) for name, answer in zip(names, answers, strict=True)}

    def _joined(self, names: tuple[str, ...]) -> NetworkDenoiser | None:
        """The network that is told what all of them are, one after the other in a batch; None if their doors have several shapes."""
        if names not in self._together:
            doors = Doors.joined([self.doors[name] for name in names])
            cache = None if self.cache is None else StepCache(self.cache.threshold, self.cache.longest)
            self._together[names] = None if doors is None else self._denoiser(doors, len(names), cache)
        return self._together[names]

    def _denoiser(self, doors: Doors, copies: int, cache: StepCache | None) -> NetworkDenoiser:
        how: dict[str, Any] = {name: _copied(value, copies) for name, value in self.frames.items()} | doors.to_network()
        if cache is not None:
            how["run"] = cache.run

        def network(x: Tensor, t: Tensor) -> Tensor:
            now = doors if self.last is None else self.last.told(doors, self.dtype, copies)
            answer: Tensor = self.net(x.to(self.dtype), t, now, **how)
            return answer.float()

        return self.process.denoiser(network)


def ask(branches: Mapping[str, Callable[[Tensor, Tensor], Tensor]], names: Sequence[str], x: Tensor, t: Tensor) -> dict[str, Tensor]:
    """What each branch answers; `Branches` answer together."""
    if isinstance(branches, Branches):
        return branches.ask(names, x, t)
    return {name: branches[name](x, t) for name in names}


def _copied(x: Tensor, copies: int) -> Tensor:
    return x if copies == 1 else torch.cat([x] * copies)
