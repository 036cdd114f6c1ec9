"""Two models at the same work in one process: what every benchmark against a peer shares.

Both hold the same random weights, their outputs are compared first, and then they run in turns (A, B, A, B, ...). What is reported is the
median over rounds of the ratio of two neighbouring runs, so that what else the machine does strikes both alike. Time is the CPU time
of the process (with one thread: work done) and, beside it, wall time. The floor is the floating-point operations of the cheaper of the two
over the rate of a large matrix product, measured in the same minute.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flipbook.machine import cpu_flags
from flipbook.nn import blocks

Run = Callable[[], Any]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Race:
    """What two runners took, seconds per run. ratio: theirs over ours, median of the rounds; low, high: its quartiles."""

    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    wall_ratio: float


def race(ours: Run, theirs: Run, rounds: int = 7) -> Race:
    """Time both in turns, after one run each that is not counted."""
    ours(), theirs()
    pairs = []
    for i in range(rounds):
        order = (ours, theirs) if i % 2 == 0 else (theirs, ours)                # neither always runs on the other's warm caches
        taken = {run: _clocked(run) for run in order}
        pairs.append((taken[ours], taken[theirs]))
    ratios = sorted(them[0] / us[0] for us, them in pairs)
    low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
    return Race(
        statistics.median(us[0] for us, _ in pairs), statistics.median(them[0] for _, them in pairs),
        statistics.median(ratios), low, high, statistics.median(them[1] / us[1] for us, them in pairs),
    )  # fmt: skip


def _clocked(run: Run) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def product_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """Floating-point operations per CPU second of a square matrix product: the best of nine."""
    a = torch.randn(size, size).to(dtype)
    return 2 * size**3 / min(_clocked(lambda: a @ a)[0] for _ in range(9))


def copy_rate(megabytes: int = 256) -> float:
    """Bytes read and written per CPU second by a copy of a buffer that no cache holds: the best of five."""
    a = torch.zeros(megabytes << 18)
    b = torch.empty_like(a)
    return 2 * a.numel() * 4 / min(_clocked(lambda: b.copy_(a))[0] for _ in range(5))


def operations(run: Run) -> int:
    """Floating-point operations of a run. Attention and linear layers are counted as their products (torch counts nothing for fused CPU kernels)."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), patch.object(blocks, "HAS_KERNELS", False):
        run()
    return counter.get_total_flops()


def randomise(net: nn.Module, seed: int = 0) -> Any:
    """Every weight random, none at zero, at a scale that keeps activations near one; norms near one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            fan = p[0].numel() if p.ndim > 1 else 64
            p.copy_(torch.randn(p.shape, generator=generator) * (0.7 / fan**0.5))
            if p.ndim == 1 and name.endswith("weight"):
                p.add_(1.0)
    return net.eval()


def draw(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers of a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference over the standard deviation of b."""
    return float((a.float() - b.float()).abs().max() / b.float().std())


# ---------------------------------------------------------------- the table

MEASURED = (
    "ours, ms", "peer, ms", "times as fast (quartiles)", "bound", "GFLOP", "products, GFLOP/s", "share of the floor, ours / peer",
    "difference from the peer in float32, ours / peer",
)  # fmt: skip


def options(about: str | None) -> argparse.ArgumentParser:
    """The command line that all races have; each adds what it alone asks."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", nargs="*", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--markdown", type=Path, help="write each table into this page, in the place of the last one")
    return parser


def head(*names: str) -> tuple[str, str]:
    """The first two lines of a table whose rows begin with these columns and end as `row` makes them."""
    return "| " + " | ".join((*names, *MEASURED)) + " |", "|---" * (len(names) + len(MEASURED)) + "|"


def row(names: Sequence[str], result: Race, rate: float, flops: float | None, bound: Any, errors: tuple[float, float]) -> str:
    """A line of the table.   rate, flops: of the floor; None: not counted.   bound: what is aimed at, if anything.   errors: ours, theirs."""
    floor = "" if flops is None else f"{flops / rate / result.ours:.0%} / {flops / rate / result.theirs:.0%}"
    cells = [
        *names, f"{1000 * result.ours:.0f}", f"{1000 * result.theirs:.0f}", f"{result.ratio:.2f} ({result.low:.2f} to {result.high:.2f})",
        f"{bound or ''}", "" if flops is None else f"{flops / 1e9:.1f}", f"{rate / 1e9:.0f}", floor, f"{errors[0]:.0e} / {errors[1]:.0e}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def facts(peer: str, *more: str) -> str:
    """Versions and the machine, in a line above the table."""
    told = ", ".join([f"torch {torch.__version__}", peer, f"{torch.get_num_threads()} thread(s)", *more, platform.machine()])
    return f"{told}, AMX {'yes' if 'amx_bf16' in cpu_flags() else 'no'}; memory copies at {copy_rate() / 1e9:.0f} GB/s in the same minute"
