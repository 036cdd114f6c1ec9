"""What this machine is and does well."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DTYPES = {"float32": "float32", "fp32": "float32", "bfloat16": "bfloat16", "bf16": "bfloat16"}
"""What people write to the name torch uses."""


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the CPU, as the kernel names them; empty where there is no /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 where its products beat float32's: CPUs with avx512_bf16 or AMX, GPUs that know it. Else float32."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if cpu_flags() & {"avx512_bf16", "amx_bf16"} else torch.float32


def dtype_named(name: str) -> torch.dtype:
    """The torch dtype called "float32", "fp32", "bfloat16" or "bf16". Raises ValueError for others."""
    import torch

    if name not in DTYPES:
        raise ValueError(f"dtype={name!r} is not known. Try one of {', '.join(DTYPES)}.")
    return getattr(torch, DTYPES[name])


def device_named(name: torch.device | str) -> torch.device:
    """The device called so, such as "cpu" or "cuda:1". Raises ValueError if there is none of that kind here."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device={str(name)!r} is not known. Try 'cpu', or 'cuda' where there is an NVIDIA or AMD GPU.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None and torch.version.hip is None else "torch finds no GPU"
        raise ValueError(f"device={str(name)!r}: {why}. Try 'cpu'; `flipbook doctor` says what is there.")
    return device


def free_memory(device: torch.device | str = "cpu", root: Path = Path("/")) -> int | None:
    """Bytes that can still be had; None where nothing says how many.

    On a GPU what is free there and what torch has and does not use. On a CPU what the kernel calls available, or less where a
    container's limit (cgroup 1 or 2) leaves less. root: where /proc and /sys are.
    """
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    available = _fields(root / "proc/meminfo").get("MemAvailable:")
    rooms = [*([] if available is None else [1024 * available]), *_container_rooms(root)]
    return max(0, min(rooms)) if rooms else None


def _container_rooms(root: Path) -> Iterator[int]:
    """What the limit of each control group around this process leaves; cached files that may go count as room."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, limit, used = ("sys/fs/cgroup/memory", "limit_in_bytes", "usage_in_bytes") if controllers else ("sys/fs/cgroup", "max", "current")
        inside = [part for part in path.split("/") if part]
        for depth in range(len(inside) + 1):
            folder = (root / top).joinpath(*inside[:depth])
            try:
                room = int((folder / f"memory.{limit}").read_text()) - int((folder / f"memory.{used}").read_text())
            except (OSError, ValueError):                                   # no such group in this view, or the limit is "max"
                continue
            yield room + _fields(folder / "memory.stat").get("total_inactive_file" if controllers else "inactive_file", 0)


def _fields(path: Path) -> dict[str, int]:
    """Name to number of a file of the kernel's; empty where it is not there."""
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def keep_freed_memory() -> bool:
    """Let the C library keep large freed buffers for the next step instead of handing each back to the system.

    glibc maps and unmaps every buffer above 32 MiB at most, and a third of a CPU training step can go into the page faults.
    Returns whether it took effect: it does on Linux with glibc, for the rest of the process.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_threshold, limit = -1, -3, 2**31 - 1               # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(mmap_threshold, 2**30)) and bool(mallopt(trim_threshold, limit))


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a generated file."""
    found = {"python": platform.python_version()}
    for package in ("flipbook", "torch", "numpy", "av", "pillow"):
        found[package] = version(package) or "unknown"
    return found


def version(package: str) -> str | None:
    """The installed version of a package, None if it is not there; the package is not imported."""
    if package == "flipbook":
        from flipbook import __version__

        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
