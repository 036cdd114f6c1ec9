"""What systems that predict the next frame share: a clip's beginning is given, the rest is rolled out frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flipbook.conditions import GIVEN_FRAMES, Entrance, FirstFrame, Frames, Inputs, Request
from flipbook.long.frames import carried, on_grid, roll_frames, searched
from flipbook.nn.doors import Doors
from flipbook.process.none import NoNoise
from flipbook.process.process import Process
from flipbook.systems.base import Card, Stage, System
from flipbook.systems.demo import BEGINNING as GIVEN

DEFAULTS: dict[str, Any] = {
    "num_frames": 16, "fps": 8.0, "height": 64, "width": 64, "sampler": "rollout", "num_inference_steps": 1, "guidance_scale": 1.0,
}
BEGINNING = Entrance(name="frames", kinds=(FirstFrame, Frames), enter=GIVEN_FRAMES.enter)
STAGES = (
    Stage(name="frames", trains=(), data="clips, each frame from the true ones before it", objective="next_frame", options={"given": GIVEN}),
    Stage(
        name="own frames", trains=(), data="clips, half of the frames from what was predicted", objective="next_frame",
        options={"given": GIVEN, "own": 0.5, "ramp": 2000},
    ),
)  # fmt: skip


def draw_frames(
    system: System, net: Any, requests: Sequence[Request], inputs: Inputs, doors: Mapping[str, Doors], guidance_scale: float
) -> Tensor:
    """The given frames, (B, C, T, h, w), and behind them the predictor's own.

    Where it reads motion, that of the given frames is searched for, and what moved goes on moving; one frame alone tells of none.
    Raises ValueError for given frames that are not the beginning of the clip, or not of one length in a batch.
    """
    given, count = inputs.is_given, inputs.is_given.shape[1]
    n = int(given[0].sum())
    if n == 0 or not bool((given == (torch.arange(count, device=given.device) < n)).all()):
        raise ValueError(
            f"{system.name} goes on from the first frames of a clip, equally many in a batch; given are {[row.nonzero().flatten().tolist() for row in given]}. "
            "Try FirstFrame(image), or Frames at 0, 1, ..."
        )
    frames, motion = inputs.given[:, :, :n], None
    if net.config.motion:
        motion = frames.new_zeros(len(frames), 2, count - 1, *frames.shape[3:])
        if n > 1:
            motion[:, :, : n - 1] = on_grid(searched(system.autoencoder.decode(frames)).to(frames), system.autoencoder.stride)
            motion[:, :, n - 1 :] = carried(motion[:, :, n - 2], count - n)
    shown = frames.to(next(net.parameters()).dtype)
    return torch.cat([frames, roll_frames(net, shown, count, motion=motion)[:, :, n - 1 :].to(frames)], dim=2)


def composed(of: Card, *, defaults: dict[str, Any] | None = None, **parts: Any) -> System:
    """The system of parts that are there: denoiser (a predictor) and autoencoder; name and card if they have others."""
    return System(
        **{"name": of.name, "text_encoder": None, **parts}, method=of.name, process=Process(NoNoise(), predicts="x0"),
        defaults=DEFAULTS | (defaults or {}), conditions=(BEGINNING,), draws={"rollout": draw_frames},
    )  # fmt: skip
