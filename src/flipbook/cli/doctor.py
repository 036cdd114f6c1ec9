"""`flipbook doctor`."""

from __future__ import annotations

import re
import time
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

ENCODERS = {
    "libx264": "mp4, mov, mkv",
    "libx264rgb": "lossless mp4",
    "ffv1": "lossless mkv",
    "libvpx-vp9": "webm",
    "aac": "sound",
}
"""Encoders that the formats need, and what each is for."""


def doctor(json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False) -> None:
    """Say what is installed, what is fast here, and what is missing, with the line that installs it."""
    report = examine()
    if json:
        from json import dumps

        typer.echo(dumps(report, indent=1))
        return
    for title, rows in report.items():
        typer.echo(title)
        for name, value in rows.items():
            typer.echo(f"  {name:<22}{_in_words(value)}")


def examine() -> dict[str, dict[str, Any]]:
    """Everything `doctor` tells, as plain data."""
    from flipbook import machine
    from flipbook.interop.folder import shipped_models

    return {
        "versions": machine.versions(),
        "speed": speed(),
        "models": dict.fromkeys(shipped_models(), "shipped") or {"none": "this installation carries no weights"},
        "encoders": encoders(),
        "extras": extras(),
    }


def speed() -> dict[str, Any]:
    """Threads, devices, and how many floating-point operations a second matrix products reach, in 1e9."""
    import torch

    from flipbook import machine

    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "bf16 in hardware": bool(machine.cpu_flags() & {"avx512_bf16", "amx_bf16"}),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "float32 GFLOP/s": matmul_rate(torch.float32),
        "bfloat16 GFLOP/s": matmul_rate(torch.bfloat16),
        "generate uses": str(machine.fast_dtype()).removeprefix("torch."),
    }


def matmul_rate(dtype: torch.dtype, n: int = 768, seconds: float = 0.15) -> float:
    """GFLOP/s of n x n products on the CPU, the best of as many as fit in `seconds`."""
    import torch

    a, b = torch.randn(2, n, n).to(dtype)
    best, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return round(2 * n**3 / best / 1e9, 1)


def encoders() -> dict[str, str]:
    """Which video encoders this installation of PyAV brings."""
    import av

    def works(name: str) -> bool:
        try:
            av.codec.Codec(name, "w")
        except ValueError:
            return False
        return True

    return {name: f"{'yes' if works(name) else 'MISSING'} ({what})" for name, what in ENCODERS.items()}


def extras() -> dict[str, str]:
    """Optional extras: installed, or what is missing and the line that brings it."""
    from flipbook.machine import version

    found: dict[str, list[str]] = {}
    try:
        requirements = metadata.requires("flipbook") or []
    except metadata.PackageNotFoundError:
        return {"unknown": "flipbook runs from its source tree without being installed"}
    for requirement in requirements:
        if extra := re.search(r"extra == ['\"]([\w-]+)['\"]", requirement):
            package = re.match(r"[\w.-]+", requirement)
            assert package is not None
            found.setdefault(extra[1], []).append(package[0])
    missing = {extra: [p for p in packages if version(p) is None] for extra, packages in found.items()}
    return {
        extra: f"missing {', '.join(names)}: pip install 'flipbook[{extra}]'" if names else "installed"
        for extra, names in missing.items()
    }


def _in_words(value: Any) -> str:
    if value is None:
        return "none"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
