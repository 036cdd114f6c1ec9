"""Every line about several processes. Those that `torchrun` starts share each batch; without it there is one process.

Samples, their numbers and their noise do not depend on the number of processes, so the only difference between one and
many is the order of additions. Weights are either whole in each process, with gradients summed once per update in one
flat buffer, or the blocks' weights are sharded: each process keeps a slice of every matrix, of its gradient and of what
the optimiser remembers, and a block is put together while it computes (FSDP2; ZeRO, arXiv:1910.02054, stage 3).
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        """Replace every gradient by its sum over all processes. What has none in any of them keeps none, and so rests.

        Those of sharded weights are sums already.
        """
        if self.size == 1:
            return
        params = [p for p in params if p.requires_grad and not is_sharded(p)]
        held = self.sum(torch.tensor([float(p.grad is not None) for p in params]))
        params = [p for p, processes in zip(params, held.tolist(), strict=True) if processes]
        if not params:
            return
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

    def clip_gradients(self, params: Sequence[Tensor], limit: float) -> Tensor:
        """Scale all gradients down to a norm of at most `limit`; returns the norm, over all processes, before."""
        if not any(map(is_sharded, params)):
            return torch.nn.utils.clip_grad_norm_(params, limit)
        grads = [p.grad for p in params if p.grad is not None]
        share = lambda grad: _own(grad).float().square().sum()
        nothing = torch.zeros((), device=self.device)
        slices = sum((share(g) for g in grads if is_sharded(g)), nothing)
        norm = (self.sum(slices) + sum((share(g) for g in grads if not is_sharded(g)), nothing)).sqrt()
        for grad in grads:
            _own(grad).mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))
        return norm

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a small tensor over all processes."""
        if self.size > 1:
            value = value.to(self.device)
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """True everywhere when true anywhere."""
        return bool(self.sum(torch.tensor(float(flag))) > 0)

    def most(self, count: int) -> int:
        """The largest `count` of any process."""
        if self.size == 1:
            return count
        value = torch.tensor(count, device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def union(self, words: Iterable[str]) -> list[str]:
        """The words of all processes, in alphabetical order."""
        found = [list(words)]
        if self.size > 1:
            found *= self.size
            dist.all_gather_object(found, found[self.rank])
        return sorted({word for one in found for word in one})

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


def of_all(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of the samples: what one process would hold alone. Without gradient; all call this together."""
    if not dist.is_initialized():
        return rows.detach()
    each = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(each, rows.detach().contiguous())
    return torch.cat(each)


def leave() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


# --- sharded weights ------------------------------------------------------------------------------------------------


def shard(parts: nn.Module, blocks: Sequence[nn.Module], group: Group) -> None:
    """Leave to each process a slice of the weights of `blocks`, in place. All processes call this together.

    parts: the trained parts, by their children; what no block holds stays whole in each process, as do tied weights.
    blocks: modules that are called, not read from outside; one that is asked for its `keys_values` ahead of its turn
    (a denoiser's `prepare`) is put together for that alone.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    # networks here add out of place, so results that are views lose no hook (tests/training/test_blocks.py)
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(group.device.type, (group.size,))
    uses = Counter(id(p) for _, p in parts.named_parameters(remove_duplicate=False))
    tied = {p for p in parts.parameters() if uses[id(p)] > 1}
    ahead = [m for block in blocks for m in block.modules() if m is not block and hasattr(m, "keys_values")]
    for module in [*ahead, *blocks]:
        unit: Any = fully_shard(module, mesh=mesh, ignored_params=tied)
        unit.set_gradient_divide_factor(1.0)  # sums, as everywhere: losses are divided by the clips of all processes
        unit.set_force_sum_reduction_for_comms(True)  # the one reduction that gloo knows
    for module in ahead:
        register_fsdp_forward_method(module, "keys_values")
    whole = {p for p in parts.parameters() if not is_sharded(p)}
    for part in parts.children():
        if type(part).forward is not nn.Module.forward and any(map(is_sharded, part.parameters())):
            fully_shard(part, mesh=mesh, ignored_params=whole)  # holds nothing; fetches the next block ahead


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds a slice of the tensor only."""
    return hasattr(tensor, "placements")


def _own(tensor: Tensor) -> Tensor:
    """This process's slice of a sharded tensor, or the tensor."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined,no-any-return]


def whole(tensor: Tensor) -> Tensor:
    """The tensor with all its slices, in every process; all call this together."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined,no-any-return]


def gather(tensors: Mapping[str, Tensor], group: Group) -> dict[str, Tensor]:
    """Whole copies on the CPU, in the leading process; nothing in the others, which call this too."""
    together = ((name, whole(tensor.detach())) for name, tensor in tensors.items())
    return {name: tensor.cpu() for name, tensor in together if group.leads}


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """A tensor whose values every process has, cut as `target` is: each keeps its slice."""
    if not is_sharded(target) or is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = target.device_mesh, target.placements  # type: ignore[attr-defined]
    return distribute_tensor(tensor.to(target.device), mesh, placements, src_data_rank=None)


def write_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what each process holds as safetensors files of DCP, nothing pickled. All processes call this together."""
    import torch.distributed.checkpoint as dcp

    dcp.save(dict(tensors), storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))


def read_shards(folder: Path, target_of: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
    """Read the files of `write_shards`, whatever number of processes wrote them.

    target_of: a name's tensor that what is read will go to. Where it is sharded, only the same slice is read.
    """
    import torch.distributed.checkpoint as dcp

    reader = dcp.HuggingFaceStorageReader(str(folder))
    state: dict[str, Any] = {}
    facts: Any
    for name, facts in reader.read_metadata().state_dict_metadata.items():
        target, dtype = target_of(name), facts.properties.dtype
        if target is not None and is_sharded(target) and target.shape == facts.size:
            state[name] = torch.empty_like(target, dtype=dtype)
        else:
            state[name] = torch.empty(facts.size, dtype=dtype)
    with warnings.catch_warnings():  # that each process reads for itself is meant
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(state, storage_reader=reader, no_dist=True)
    return state
