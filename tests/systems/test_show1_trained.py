"""What Show-1 claims of its upscaler, after minutes of the world: chunk after chunk, a clip that stands still stays as still as within a chunk."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from flipbook.conditions import Text
from flipbook.long.known import Known, resized
from flipbook.systems import show1
from systems.trained import UNSEEN, eight_that, fresh, made, report, taught, world

SIDE, FACTOR, FRAMES = 16, 4, 4


def apart(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of frames (B, 3, H, W)."""
    return float((a - b).abs().mean())


@cache
def found() -> tuple[dict[str, float], float, float, float]:
    """Clips of one still picture, four times enlarged in two chunks: how far the second frame of the second one is from the last frame of the first,
    by what the second is given; how far frames of a chunk are apart; how far the first chunk, and smooth enlargement, are from the truth."""
    system = fresh("show1", replace(show1.TINY, kind="upscaler"), latents=False)
    clips = world(frames=FRAMES, side=SIDE, sentences=eight_that("stays still"))
    known = {"take": "small", "factor": FACTOR, "levels": (0.0, 0.5), "done": 0.5}
    taught(system, {"train": ["denoiser"], "drop_text": 1.0, "known": known}, clips, steps=1800, batch=8, lr=3e-3)

    truth = clips(16, UNSEEN).video
    small = resized(truth, SIDE // FACTOR, SIDE // FACTOR)
    soft = resized(small, SIDE, SIDE)

    def enlarged(drafts: Tensor, seed: int, clean: tuple[int, ...] = ()) -> Tensor:
        asked = [(Text(), Known(frames=draft, level=0.25, clean=clean)) for draft in drafts]
        return made(system, asked, frames=FRAMES, fps=8.0, side=SIDE, steps=24, seed=seed)

    first = enlarged(small, 5)
    handed = torch.cat([first[:, :, -1:].clamp(-1, 1), soft[:, :, 1:]], dim=2)
    second = {
        "handed on": enlarged(handed, 5, clean=(0,)), "handed on, other noise": enlarged(handed, 500, clean=(0,)),
        "handed on with noise, other noise": enlarged(handed, 500), "not handed on": first, "not handed on, other noise": enlarged(small, 500),
    }  # fmt: skip
    seam = {name: apart(first[:, :, -1], video[:, :, 1]) for name, video in second.items()}
    within = sum(apart(video[:, :, i], video[:, :, i + 1]) for video in (first, second["handed on"]) for i in range(FRAMES - 1)) / (2 * FRAMES - 2)
    error, smooth = apart(first, truth), apart(soft, truth)
    report(**{f"seam, {name}": value for name, value in seam.items()}, within=within, error=error, smooth=smooth)
    return seam, within, error, smooth


@pytest.mark.slow
def test_a_chunk_that_is_handed_the_frame_before_it_and_shares_its_noise_goes_on_where_that_one_ended():
    seam, _, error, smooth = found()
    assert error < 0.8 * smooth
    assert seam["handed on, other noise"] < 0.95 * seam["not handed on, other noise"]
    assert seam["handed on"] < 0.7 * seam["not handed on, other noise"]


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="a quarter of an hour brings the seam to 1.04 times what frames of a chunk are apart (LOG.md)")
def test_at_a_seam_a_still_clip_changes_less_than_from_frame_to_frame():
    seam, within, _, _ = found()
    assert seam["handed on"] < within
