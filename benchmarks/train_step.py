"""One training step of the pixel U-Net of Video Diffusion Models against lucidrains' `video-diffusion-pytorch`.

    pip install video-diffusion-pytorch
    python benchmarks/train_step.py [--rounds 5] [--dtype bfloat16] [--markdown docs/performance.md]

The same published design (factorised space-time attention with distance buckets and rotations, arXiv:2204.03458) at the same widths 32, 64, 128, on
batches of two clips of 8 frames of 32 x 32 pixels: forward, mean squared error on the noise, backward, fused AdamW. bfloat16 is CPU autocast on
both sides, as either trains. The two networks differ where the design is silent (norms, linear attention within frames there, softmax
attention on the coarser levels here), so weights cannot be shared and outputs not compared. Ours has the depths at which a step is as many
operations as the peer's; the table gives parameters, operations and the rate at which they are done for both. What the two share, the temporal
attention, is held equal by `tests/systems/test_vdm.py`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from race import DTYPES, draw, operations, product_rate, race
from tables import replace_table
from torch import nn

from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import VDM

BATCH, FRAMES, SIDE = 2, 8, 32
CONFIG = UNetConfig(
    in_channels=3, widths=(32, 64, 128), depths=(2, 1, 1), transformers=(0, 1, 1), heads=(8, 8, 8), text_dim=None, groups=8,
    time_scale_shift=True, clock="edm", inserts=VDM,
)  # fmt: skip
BOUNDS = {"float32": 2.0, "bfloat16": 2.5}


def peer_class() -> Any:
    """`Unet3D`. Its module also holds a loader of images, which asks for torchvision: a step does without."""

    class Anything(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything(name)

        def __call__(self) -> None:
            return None

    missing = {name: Anything(name) for name in ("torchvision", "torchvision.transforms", "torchvision.utils") if name not in sys.modules}
    sys.modules.update(missing)
    try:
        return importlib.import_module("video_diffusion_pytorch.video_diffusion_pytorch").Unet3D
    finally:
        for name in missing:
            del sys.modules[name]


def step_of(net: nn.Module, run: Callable[[Any], Any], dtype: torch.dtype) -> Callable[[], None]:
    """One training step: forward, loss, backward, update."""
    optimizer, target = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True), draw(BATCH, 3, FRAMES, SIDE, SIDE, seed=2)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = F.mse_loss(run(net).float(), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


HEAD = (
    "| dtype | ours, ms | peer, ms | times as fast (quartiles) | bound | parameters, M, ours / peer | GFLOP, ours / peer | GFLOP/s, ours / peer "
    "| products, GFLOP/s | share of the floor, ours / peer |",
    "|---|---|---|---|---|---|---|---|---|---|",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", nargs="*", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="write the table into this page, in the place of the last one")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x = draw(BATCH, 3, FRAMES, SIDE, SIDE)
    ours, theirs = UNet(CONFIG), peer_class()(dim=32, dim_mults=(1, 2, 4))
    sizes = " / ".join(f"{sum(p.numel() for p in net.parameters()) / 1e6:.1f}" for net in (ours, theirs))
    facts = f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
    print(facts, *HEAD, sep="\n", flush=True)
    rows = []
    for name in asked.dtype:
        dtype = DTYPES[name]
        step = step_of(ours, lambda net: net(x, torch.tensor([0.3, 0.6])), dtype)
        peer_step = step_of(theirs, lambda net: net(x, torch.tensor([300, 600])), dtype)
        flops = operations(step), operations(peer_step)
        result, rate = race(step, peer_step, asked.rounds), product_rate(dtype)
        times = result.ours, result.theirs
        cells = [
            name, f"{1000 * result.ours:.0f}", f"{1000 * result.theirs:.0f}", f"{result.ratio:.2f} ({result.low:.2f} to {result.high:.2f})",
            f"{BOUNDS[name]}", sizes, " / ".join(f"{n / 1e9:.1f}" for n in flops), " / ".join(f"{n / t / 1e9:.0f}" for n, t in zip(flops, times, strict=True)),
            f"{rate / 1e9:.0f}", " / ".join(f"{n / rate / t:.0%}" for n, t in zip(flops, times, strict=True)),
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    if asked.markdown:
        replace_table(asked.markdown, "train-step", [facts, "", *HEAD, *rows], sys.argv)


if __name__ == "__main__":
    main()
