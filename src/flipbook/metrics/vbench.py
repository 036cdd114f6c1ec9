"""VBench's sixteen dimensions (arXiv:2311.17982): those that can be computed here, and by name what the others lack.

What is computed is labelled `vbench-like`: the formula is VBench's, the network is what the user brings. For the original numbers
`export_for_vbench` writes files under the names that VBench wants.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flipbook.files.temporary import written_whole


class DimensionRefused(ValueError):
    """A dimension cannot be computed without a network that flipbook cannot load."""


@dataclass(frozen=True)
class Dimension:
    """group: "quality" or "semantic".   how: the computation.   needs: what it takes.   computed_by: our metric, None if refused."""

    group: str
    how: str
    needs: str
    computed_by: str | None = None


DIMENSIONS: dict[str, Dimension] = {
    "subject consistency": Dimension(
        "quality", "cosine with the previous and the first frame", "DINO ViT-B/16 (any image encoder here)",
        "flipbook.metrics.consistency.first_and_previous",
    ),
    "background consistency": Dimension(
        "quality", "cosine with the previous and the first frame", "CLIP ViT-B/32", "flipbook.metrics.consistency.first_and_previous",
    ),
    "temporal flickering": Dimension(
        "quality", "255 minus the mean change of frames, over 255", "nothing (the original looks at still clips only, chosen with RAFT)",
        "flipbook.metrics.vbench.temporal_flickering",
    ),
    "motion smoothness": Dimension(
        "quality", "every second frame made again from its neighbours", "an interpolator (the original: AMT-S)",
        "flipbook.metrics.vbench.motion_smoothness",
    ),
    "dynamic degree": Dimension(
        "quality", "whether the fastest twentieth of the pixels moves enough", "optical flow (the original: RAFT)",
        "flipbook.metrics.motion.dynamic_degree",
    ),
    "aesthetic quality": Dimension("quality", "linear head on CLIP", "CLIP ViT-L/14 and the LAION aesthetic head"),
    "imaging quality": Dimension("quality", "MUSIQ over 100", "MUSIQ trained on SPAQ"),
    "object class": Dimension("semantic", "share of frames with the object", "the GRiT detector"),
    "multiple objects": Dimension("semantic", "share of frames with both objects", "the GRiT detector"),
    "human action": Dimension("semantic", "the asked action among the top five", "UMT ViT-L trained on Kinetics-400"),
    "color": Dimension("semantic", "share of frames with the right colour", "captions by GRiT"),
    "spatial relationship": Dimension("semantic", "where two boxes lie", "the GRiT detector"),
    "scene": Dimension("semantic", "scene words in a caption", "Tag2Text"),
    "appearance style": Dimension(
        "semantic", "cosine of frames and the style's words", "CLIP ViT-B/32", "flipbook.metrics.consistency.text_alignment"
    ),
    "temporal style": Dimension("semantic", "cosine of clip and text", "ViCLIP"),
    "overall consistency": Dimension("semantic", "cosine of clip and text", "ViCLIP"),
}  # fmt: skip


def require(name: str) -> Dimension:
    """A dimension that can be computed. Raises DimensionRefused for the others, saying what they lack, ValueError for unknown names."""
    from flipbook.hints import nearest

    name = name.replace("_", " ")
    if name not in DIMENSIONS:
        raise ValueError(f"VBench has no dimension {name!r}. {nearest(name, DIMENSIONS)}")
    dimension = DIMENSIONS[name]
    if dimension.computed_by is None:
        raise DimensionRefused(
            f"VBench's {name!r} is {dimension.how} and needs {dimension.needs}, which flipbook does not load, and a stand-in would be "
            "another number. Export the clips with export_for_vbench and run the original."
        )
    return dimension


def temporal_flickering(clip: Tensor) -> float:
    """1 minus the mean absolute change from frame to frame, on the scale of bytes. Clip (3, T, H, W) in [-1, 1]; motion counts as flicker."""
    if clip.shape[1] < 2:
        raise ValueError("a clip of one frame cannot flicker. Give two frames or more.")
    return 1 - float((clip[:, 1:] - clip[:, :-1]).abs().mean()) / 2


def blend_neighbours(before: Tensor, after: Tensor) -> Tensor:
    """The plainest interpolator: the mean of two frames. Motion of more than a pixel counts as rough."""
    return (before + after) / 2


def motion_smoothness(clip: Tensor, interpolate: Callable[[Tensor, Tensor], Tensor] = blend_neighbours) -> float:
    """1 minus the mean absolute error of frames 1, 3, 5, ... made again from their neighbours, on the scale of bytes.

    clip: (3, T, H, W) in [-1, 1], T >= 3.   interpolate: (before, after), each (3, H, W), to the frame between.
    """
    t = clip.shape[1]
    if t < 3:
        raise ValueError(f"a clip of {t} frames has no frame between two others. Give three or more.")
    errors = [(interpolate(clip[:, i - 1], clip[:, i + 1]) - clip[:, i]).abs().mean() for i in range(1, t - 1, 2)]
    return 1 - float(torch.stack(errors).mean()) / 2


def export_for_vbench(videos: Sequence[Path], prompts: Sequence[str], folder: Path) -> list[Path]:
    """Copy files to `<prompt>-<index>.mp4`, index counting the videos of one prompt from 0. Returns the new paths.

    Raises ValueError if there is not one prompt a video, a file is no mp4, or a prompt cannot be a file name.
    """
    if len(videos) != len(prompts):
        raise ValueError(f"{len(videos)} videos and {len(prompts)} prompts: there is one prompt a video.")
    seen: dict[str, int] = {}
    paths = []
    for video, prompt in zip(videos, prompts, strict=True):
        if video.suffix != ".mp4":
            raise ValueError(f"{video.name}: VBench reads mp4. Write the videos as .mp4.")
        if not prompt or "/" in prompt or "\0" in prompt or prompt.startswith(".") or len(prompt.encode()) > 240:
            raise ValueError(f"prompt {prompt[:80]!r} cannot be the name of a file, and VBench finds prompts by it.")
        index = seen[prompt] = seen.get(prompt, -1) + 1
        with written_whole(folder / f"{prompt}-{index}.mp4") as path:
            shutil.copyfile(video, path)
        paths.append(folder / f"{prompt}-{index}.mp4")
    return paths
