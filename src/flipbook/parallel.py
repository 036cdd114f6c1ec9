"""Every line about several processes. Those that `torchrun` starts share each batch; without it there is one process.

Gradients are summed once per update in one flat buffer. Samples, their numbers and their noise do not depend on the
number of processes, so the only difference between one and many is the order of additions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Group:
    """This process among its fellows: `rank` of `size`, on `device`."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True in the one process that writes files and speaks."""
        return self.rank == 0

    def share(self, numbers: Sequence[int]) -> Sequence[int]:
        """This process's contiguous part of the sample numbers of one update."""
        part = len(numbers) // self.size
        return numbers[self.rank * part : (self.rank + 1) * part]

    def sum_gradients(self, params: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over all processes."""
        if self.size == 1:
            return
        params = [p for p in params if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in params])
        dist.all_reduce(flat)
        for p, grad in zip(params, flat.split([p.numel() for p in params]), strict=True):
            p.grad = grad.view_as(p)

    def average_buffers(self, module: nn.Module) -> None:
        """Replace every floating buffer (running statistics) by its mean over all processes."""
        if self.size == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer.div_(self.size)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a small tensor over all processes."""
        if self.size > 1:
            value = value.to(self.device)
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """True everywhere when true anywhere."""
        return bool(self.sum(torch.tensor(float(flag))) > 0)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier()


def join(device: str = "auto") -> Group:
    """Join the processes that `torchrun` started, if its environment variables say so: nccl on GPUs, gloo on CPUs."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if device == "cuda" else torch.device("cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    return Group(rank, size, place)


def leave() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
