"""The smallest comparison that trains, and a model that needs no training: the world itself, which sees worse without guidance."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from flipbook import save_pretrained
from flipbook.compare.plan import Plan, make_plan
from flipbook.data.world import from_scene, scene_from_caption
from flipbook.video import Video
from tiny import tiny_system

RECIPE: dict[str, Any] = {
    "system": "vdm",
    "system_config": {
        "denoiser": {
            "in_channels": 48, "widths": [16, 16], "depths": [1, 1], "transformers": [0, 0], "mid_transformers": 1, "heads": [2, 2],
            "text_dim": 16, "groups": 8,
            "inserts": [{"name": "t", "at": "after_pair", "kind": {"kind": "temporal_attention"}}],
        },
        "autoencoder": {"patch": 4},
        "text_encoder": {"dim": 16, "depth": 1, "num_heads": 2},
    },
    "objective": {"name": "conditioned", "train": {"denoiser": "all", "text_encoder": "all"}},
    "data": [{"world": "shapes", "num_objects": 1}],
    "num_frames": 4, "clip_frames": 4, "height": 32, "width": 32, "batch_size": 2, "num_workers": 0, "dtype": "fp32",
    "optimizer": {"lr": 0.003}, "warmup": 0, "ema": 0.5, "validation": {"clips": 2, "repeats": 1}, "log": {"every": 1},
}  # fmt: skip
FAST = {"sampler": "ddim", "num_inference_steps": 2, "guidance_scale": 1.0, "dtype": "float32"}


def training_plan(arms: Any, **changes: Any) -> Plan:
    tree = {
        "recipe": copy.deepcopy(RECIPE), "arms": arms, "steps": 3, "repeats": 1, "prompts": {"seen": 2}, "settings": FAST,
        "scores": ["motion", "identity", "local flicker", "validation", "seconds", "parameters"], "shown": 1,
    }  # fmt: skip
    return make_plan(tree | changes)


def made(results: dict[str, Any]) -> dict[str, Any]:
    """All of a comparison's results but what a clock says."""
    kept = copy.deepcopy(results["runs"])
    for run in (run for runs in kept.values() for run in runs):
        for key in ("seconds", "finished"):
            run.pop(key)
        if run["training"]:
            run["training"] = {key: run["training"][key] for key in ("updates", "parameters", "validation")}
        for clip in run["clips"]:
            clip.pop("seconds")
    return kept


class WorldModel:
    """Paints what a sentence says; without guidance every other clip shows another sentence's colour."""

    def __init__(self) -> None:
        self.system, self.identity = tiny_system(), {"name": "the world"}
        self.made: list[tuple[str, int, float]] = []

    def generate(self, requests: Any, *, seed: list[int], batch_size: int, guidance_scale: float, **settings: Any) -> list[Video]:
        videos = []
        for request, own in zip(requests, seed, strict=True):
            words = request[0].prompt
            self.made.append((words, own, guidance_scale))
            if guidance_scale < 2 and own % 2:
                words = " ".join("white" if word in ("red", "blue", "green", "yellow", "purple", "orange") else word for word in words.split())
            videos.append(Video(from_scene(scene_from_caption(words, own), num_frames=8, height=32, width=32).frames, fps=8.0))
        return videos


def save_tiny(folder: Path) -> Path:
    """A model folder whose system makes 4 frames of 32 x 32."""
    return save_pretrained(tiny_system(), folder)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {f"{path.parent.name}/{name}": value for path in sorted(folder.rglob("*.safetensors")) for name, value in load_file(path).items()}


__all__ = ["FAST", "RECIPE", "WorldModel", "made", "save_tiny", "training_plan", "weights_of"]
