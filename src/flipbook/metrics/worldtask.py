"""What the network behind the world-features distance is trained to say, and its training loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from flipbook.data.seeds import derive_seed, generator
from flipbook.data.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Clip, draw
from flipbook.files.temporary import written_whole
from flipbook.metrics.corrupt import CORRUPTIONS, TEMPORAL, corrupt
from flipbook.metrics.worldnet import HEADS, PICTURED, WorldNet, WorldNetConfig, config_json
from flipbook.shapes import pixels_to_tensor

SHARES = (0.7, 0.15, 0.15)                     # of shapes, sky, figures
DAMAGED = 0.6                                  # share of clips that are damaged, each in one way
BATCH = 16
EMA = 0.99


def sample(seed: int, number: int, config: WorldNetConfig) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Training clip `number`: (3, T, S, S), targets by head, and weights by head, 0 where the clip has no answer.

    A clip damaged in time says nothing of its motion: a freeze or a shuffle is not the motion that was drawn.
    """
    rng = generator(seed, "world-features", number)
    domain = PICTURED[rng.choice(len(PICTURED), p=SHARES)]
    clip = draw(domain, derive_seed(seed, "clip", number), num_frames=config.num_frames, height=config.size, width=config.size,
                held_out=False)  # fmt: skip
    x = pixels_to_tensor(clip.frames)
    damage = torch.zeros(len(CORRUPTIONS))
    kind = None
    if rng.random() < DAMAGED:
        which, strength = int(rng.integers(len(CORRUPTIONS))), float(rng.random())
        kind = list(CORRUPTIONS)[which]
        x = corrupt(kind, x[None], strength, derive_seed(seed, "damage", number))[0]
        damage[which] = strength
    targets, weights = _words(clip, domain)
    targets["damage"], weights["damage"] = damage, torch.tensor(1.0)
    if kind in TEMPORAL:
        weights["motion"] = torch.tensor(0.0)
    return x, targets, weights


def _words(clip: Clip, domain: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Multi-hot targets of a clip; only `shapes` clips have objects to speak of."""
    things = clip.scene["objects"] if domain == "shapes" else []
    said = {
        "shape": _hot(SHAPES, [thing["shape"] for thing in things]),
        "colour": _hot(tuple(COLOURS), [thing["colour"] for thing in things]),
        "motion": _hot(MOTIONS, [thing["motion"] for thing in things]),
        "background": _hot(tuple(BACKGROUNDS), [clip.scene["background"]] if things else []),
        "count": _hot((1, 2, 3), [len(things)]),
        "domain": _hot(PICTURED, [domain]),
    }
    return said, {name: torch.tensor(1.0 if things or name == "domain" else 0.0) for name in said}


def _hot(words: tuple[Any, ...], present: list[Any]) -> Tensor:
    return torch.tensor([float(word in present) for word in words])


def losses(logits: dict[str, Tensor], targets: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """One loss a head, each a mean over the clips that have an answer, of equal weight: neither content nor motion rules."""
    out = {}
    for name in HEADS:
        each = F.binary_cross_entropy_with_logits(logits[name].float(), targets[name], reduction="none").sum(1)
        out[name] = (each * weights[name]).sum() / weights[name].sum().clamp(min=1)
    return out


def train(
    updates: int, folder: Path, *, seed: int = 0, config: WorldNetConfig | None = None, batch: int = BATCH,
    save_every: int = 100, on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train and write `folder`: config.json, model.safetensors (bfloat16, the moving average) and card.json. Returns the card.

    Adam at a constant rate with a moving average, so that the folder is of use after any number of updates.
    """
    torch.manual_seed(seed)
    net = WorldNet(config)
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA), use_buffers=True
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    start, seen = time.process_time(), dict.fromkeys(HEADS, 0.0)
    card: dict[str, Any] = {}
    for step in range(1, updates + 1):
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1.0, step / 50)
        rows = [sample(seed, (step - 1) * batch + i, net.config) for i in range(batch)]
        x, targets, weights = torch.utils.data.default_collate(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net.read(net(x))
        parts = losses(logits, targets, weights)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        optimiser.step()
        average.update_parameters(net)
        seen = {name: 0.95 * seen[name] + 0.05 * float(value.detach()) for name, value in parts.items()}
        if step % save_every == 0 or step == updates:
            card = _card(net, step, batch, seed, time.process_time() - start, seen)
            _write(average.module, net.config, folder, card)
            if on_progress:
                on_progress(step, {name: round(value, 3) for name, value in seen.items()})
    return card


def _card(net: WorldNet, updates: int, batch: int, seed: int, seconds: float, seen: dict[str, float]) -> dict[str, Any]:
    return {
        "name": "world-features",
        "what": "Features of short clips for the world-features distance. Not FVD, and comparable with no paper.",
        "licence": "Apache-2.0",
        "data": "flipbook.data.world (shapes, sky, figures; held-out combinations left out), damaged by flipbook.metrics.corrupt.",
        "recipe": f"scripts/features {updates}",
        "parameters": sum(p.numel() for p in net.parameters()),
        "updates": updates, "clips": updates * batch, "seed": seed, "cpu_seconds": round(seconds),
        "loss": {name: round(value, 4) for name, value in seen.items()},
    }  # fmt: skip


def _write(net: torch.nn.Module, config: WorldNetConfig, folder: Path, card: dict[str, Any]) -> None:
    weights = {
        key: value.to(torch.bfloat16) if value.is_floating_point() else value
        for key, value in net.state_dict().items()
    }  # fmt: skip
    with written_whole(folder / "model.safetensors") as path:
        save_file(weights, path)
    with written_whole(folder / "config.json") as path:
        path.write_text(config_json(config))
    with written_whole(folder / "card.json") as path:
        path.write_text(json.dumps(card, indent=1) + "\n")


def accuracy(net: WorldNet, numbers: range, seed: int = 1) -> dict[str, float]:
    """Share of right words by head (thresholded at 1/2), and the mean error of the strength of damage, on clips of a seed."""
    right: dict[str, list[float]] = {name: [] for name in HEADS}
    for number in numbers:
        x, targets, weights = sample(seed, number, net.config)
        with torch.inference_mode():
            logits = net.read(net(x[None]))
        for name, target in targets.items():
            if weights[name]:
                guess = logits[name][0]
                hit = (guess.sigmoid() - target).abs() if name == "damage" else ((guess > 0) == (target > 0.5)).float()
                right[name].append(float(hit.mean()))
    return {name: float(np.mean(values)) for name, values in right.items()}
