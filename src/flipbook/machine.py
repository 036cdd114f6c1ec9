"""What this machine is and does well."""

from __future__ import annotations

import ctypes
import platform
import sys
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
