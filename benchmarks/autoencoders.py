"""Rate against distortion: autoencoders of frames and of clips, each trained as long on the same clips of the world.

    OMP_NUM_THREADS=1 python benchmarks/autoencoders.py runs/autoencoders [--minutes 4] [--numbers 0.0625 0.25] [--only frames causal]
        [--footage FOLDER] [--markdown docs/autoencoders.md]

    frames  each frame by itself, 4 x 4 pixels to a cell       clips   4 frames of 4 x 4 pixels, seen both ways in time
    split   as clips, each convolution split into one within frames and one along time, with as many weights
    causal  the same cell, nothing sees what comes later        codes   the same cell as one code of a codebook of 512 vectors

`--numbers`: latent numbers per pixel, the same for all: a cell of a clip packs four times the pixels and has four times the channels. The rate is
what these numbers tell, in bits per pixel: the divergence of the encoder's Gaussians from one Gaussian per channel that fits them all, which bounds what
a code for samples of them costs; of codes, the entropy of how often each is used. The distortion is that of decoded samples, so that both are
of one thing. `--minutes` are those of one autoencoder on the clock; a finished one is not trained again. `--footage`: real clips in a third of each
batch, and in a table of their own. Clips have 9 frames (8 where none stands alone) of 32 x 32 pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tables import replace_table
from torch import Tensor, nn

from flipbook import systems
from flipbook.autoencoders.clip import ClipAutoencoder, ClipAutoencoderConfig
from flipbook.autoencoders.frame import FrameAutoencoder, FrameAutoencoderConfig
from flipbook.autoencoders.vq import VQAutoencoder, VQAutoencoderConfig
from flipbook.autoencoders.wan import WanAutoencoder, WanAutoencoderConfig
from flipbook.data.batch import Batch, collate
from flipbook.data.framing import Framing
from flipbook.data.sources import build_stream
from flipbook.metrics.fidelity import psnr_of_clip
from flipbook.objectives.base import build_objective
from flipbook.shapes import fold_frames, unfold_frames
from flipbook.train import train
from flipbook.training.recipe import Recipe, parse_recipe

SIDE, BATCH, TESTED = 32, 8, 32
KL = 3e-4


@dataclass(frozen=True)
class Kind:
    """build: from latent channels.   pixels: of a cell.   frames: of a clip.   objective: what teaches it."""

    build: Callable[[int], nn.Module]
    pixels: int
    frames: int
    objective: dict[str, Any]


def _causal(channels: int) -> nn.Module:
    normaliser: dict[str, Any] = {"latent_mean": (0.0,) * channels, "latent_std": (1.0,) * channels}
    return WanAutoencoder(WanAutoencoderConfig(latent_channels=channels, dim=16, mults=(1, 2, 4), packs_time=(True, True), blocks=1, **normaliser))


VARIATIONAL = {"name": "autoencoding", "kl": KL}
KINDS = {
    "frames": Kind(lambda n: FrameAutoencoder(FrameAutoencoderConfig(latent_channels=n)), 16, 8, VARIATIONAL),
    "clips": Kind(lambda n: ClipAutoencoder(ClipAutoencoderConfig(latent_channels=n, pack=(4, 4, 4), dim=24, groups=8)), 64, 8, VARIATIONAL),
    "split": Kind(lambda n: ClipAutoencoder(ClipAutoencoderConfig(latent_channels=n, pack=(4, 4, 4), dim=24, groups=8, split=True)), 64, 8, VARIATIONAL),
    "causal": Kind(_causal, 64, 9, VARIATIONAL),
    "codes": Kind(
        lambda _: VQAutoencoder(VQAutoencoderConfig(num_codes=512, latent_channels=32, dim=48, blocks=1)), 64, 8, {"name": "quantising"},
    ),
}  # fmt: skip


def recipe_of(kind: Kind, output: Path, minutes: float, footage: Path | None) -> Recipe:
    """Clips of the world, and real ones in a third of each batch where there are some."""
    data: list[dict[str, Any]] = [{"world": "shapes", "weight": 0.7}, {"world": "sky", "weight": 0.3}]
    if footage is not None:
        data.append({"folder": str(footage), "weight": 0.5})
    return parse_recipe({
        "output": str(output), "objective": kind.objective, "data": data, "num_frames": kind.frames, "height": SIDE, "width": SIDE, "batch_size": BATCH,
        "optimizer": {"name": "muon", "lr": 3e-3, "weight_decay": 0.0}, "steps": 10**6, "schedule_minutes": minutes, "warmup": 20, "ema": 0.99,
        "num_workers": 0, "threads": 1,
        "validation": {"every": 0}, "samples": {"every": 0}, "checkpoint": {"keep": 1}, "log": {"every": 50, "tensorboard": False},
    })  # fmt: skip


def learned(kind: Kind, channels: int, home: Path, minutes: float, footage: Path | None) -> tuple[nn.Module, int]:
    """The trained autoencoder, and how many updates there was time for."""
    recipe = recipe_of(kind, home, minutes, footage)
    torch.manual_seed(recipe.seed)
    system = systems.build("thumb", tiny=True)
    system.autoencoder = kind.build(channels)
    options = dict(recipe.objective)
    result = train(recipe, objective=build_objective(options.pop("name"), system, options), resume=True)
    if result.stopped:
        raise SystemExit(f"{result.stopped}, {home} is saved at update {result.step}. The same command goes on from there.")
    return systems.load(home / "model").autoencoder, result.step


def tested(recipe: Recipe, entry: dict[str, Any]) -> Tensor:
    """Clips (N, 3, T, H, W) of one source that no training saw."""
    framing = Framing(num_frames=recipe.num_frames, clip_frames=recipe.clip_frames, height=SIDE, width=SIDE)
    stream = build_stream([entry], framing, 0, "val")
    batch: Batch = collate([stream.sample(k) for k in range(TESTED)])
    return batch.video


@torch.inference_mode()
def measured(autoencoder: Any, clips: Tensor) -> dict[str, float]:
    """bits: of the latents per pixel.   psnr: of decoded samples, dB, the mean over clips."""
    pixels = clips[:, 0].numel()
    if hasattr(autoencoder, "codebook"):
        codes = autoencoder.codes(clips)
        bits = math.log2(autoencoder.codebook.health(codes).perplexity) * codes.numel() / pixels
        out = autoencoder.decode(autoencoder.codebook.vectors_of(codes))
    else:
        packs = getattr(autoencoder, "time_stride", 1) > 1
        mean, log_var = autoencoder.posterior(clips if packs else fold_frames(clips))
        bits = gaussian_bits(mean, log_var) / pixels
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
        out = autoencoder.frames(mean + (0.5 * log_var).exp() * noise)
        out = out if packs else unfold_frames(out, len(clips))
    return {"bits": bits, "psnr": float(psnr_of_clip(clips, out.clamp(-1, 1)).mean())}


def gaussian_bits(mean: Tensor, log_var: Tensor) -> float:
    """The sum of KL(N(mean, var), N(m_c, v_c)) over all numbers, in bits; m_c and v_c of a channel are those that make it least."""
    rows, logs = (x.transpose(0, 1).flatten(1).double() for x in (mean, log_var))             # (C, ...)
    fitted = logs.exp().mean(1) + rows.var(1, correction=0)
    return float((0.5 * (fitted.log()[:, None] - logs)).sum() / math.log(2))


def result_of(name: str, numbers: float, asked: argparse.Namespace) -> dict[str, Any]:
    """What one autoencoder reaches, kept beside it."""
    kind = KINDS[name]
    channels = round(numbers * kind.pixels)
    home = asked.output / (name if name == "codes" else f"{name}-{channels}")
    record = home / "result.json"
    if not record.is_file():
        autoencoder, updates = learned(kind, channels, home, asked.minutes, asked.footage)
        recipe = recipe_of(kind, home, asked.minutes, asked.footage)
        found = {Path(str(entry.get("world") or "footage")).name: measured(autoencoder, tested(recipe, _plain(entry))) for entry in recipe.data}
        facts = {"parameters": sum(p.numel() for p in autoencoder.parameters()), "updates": updates, "numbers": None if name == "codes" else numbers}
        record.write_text(json.dumps({"kind": name, **facts, "found": found}, indent=1) + "\n")
    made: dict[str, Any] = json.loads(record.read_text())
    return made


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "weight"}


def table(results: list[dict[str, Any]]) -> list[str]:
    """Rows, the lowest rate first."""
    sources = list(results[0]["found"])
    cells = [f"{source}: {what}" for source in sources for what in ("bits per pixel", "PSNR, dB")]
    lines = ["| autoencoder | numbers per pixel | parameters, M | updates | " + " | ".join(cells) + " |", "|---" * (4 + len(cells)) + "|"]
    for one in sorted(results, key=lambda result: result["found"][sources[0]]["bits"]):
        values = [f"{one['found'][source]['bits']:.3f} | {one['found'][source]['psnr']:.2f}" for source in sources]
        numbers = "-" if one["numbers"] is None else f"{one['numbers']:g}"
        lines.append(f"| {one['kind']} | {numbers} | {one['parameters'] / 1e6:.2f} | {one['updates']} | " + " | ".join(values) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--numbers", type=float, nargs="*", default=[0.0625, 0.25])
    parser.add_argument("--only", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--footage", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the table into this page, in the place of the last one")
    asked = parser.parse_args()
    results = []
    for name in asked.only:
        for numbers in asked.numbers[:1] if name == "codes" else asked.numbers:
            results.append(result_of(name, numbers, asked))
            print(*table(results), sep="\n", flush=True)
    if asked.markdown:
        replace_table(asked.markdown, "autoencoders", table(results), sys.argv)


if __name__ == "__main__":
    main()
