"""What Stable Video Diffusion claims of its motion bucket, after minutes of the world: told how much moves, it moves as much."""

from __future__ import annotations

import numpy as np
import pytest

from flipbook.conditions import Frames, Motion, NoiseAugmentation
from flipbook.data.batch import Batch, Sample, collate
from flipbook.data.world import from_scene, scene_from_caption
from flipbook.objectives.entering import FASTEST
from flipbook.shapes import tensor_to_pixels
from flipbook.systems import svd
from systems.trained import UNSEEN, eight_that, fresh, image_model, made, report, taught, travel

SIDE, FPS = 32, 2.0
SENTENCES = eight_that("moves right")
BUCKETS = (5.0, 60.0, 120.0, 180.0, 230.0)
LIVELIEST = 0.45
"""Mean optical flow of the liveliest clips, in pixels a frame: most of a picture stands still."""


def clips(n: int, first: int, *, told: bool = True) -> Batch:
    """Four frames of the same paths, gone through at five speeds, the first of which is standing still. told: their flow is what is said of them."""
    samples = []
    for k in range(first, first + n):
        stride = (k + k // len(SENTENCES)) % 5
        scene = scene_from_caption(SENTENCES[k % len(SENTENCES)], 2 * k)
        clip = from_scene(scene, num_frames=16, height=SIDE, width=SIDE, frames=range(0, 3 * stride + 1, stride or 1))
        flow = float(np.linalg.norm(clip.optical_flow, axis=-1).mean()) if stride else 0.0
        samples.append(Sample(
            video=clip.frames if stride else clip.frames.repeat(4, 0), caption=clip.caption, frame_index=np.arange(4, dtype=np.float32) * 4, fps=FPS, index=k,
            source="world", is_image=False, extra={"motion": 0.9 * FASTEST * min(1.0, flow / LIVELIEST) if told else FASTEST / 2},
        ))  # fmt: skip
    return collate(samples)


@pytest.mark.slow
def test_the_more_a_picture_is_told_to_move_the_farther_it_moves_and_only_if_training_told_how_much_did():
    pictures = clips(8, UNSEEN).video[:, :, :1]
    found = {}
    for told in (True, False):
        system = fresh("svd", svd.TINY, image=image_model())
        taught(system, {"train": ["denoiser"], "animate": True, "drop_text": 1.0}, lambda n, first, told=told: clips(n, first, told=told), steps=500, batch=8)
        for bucket in BUCKETS:
            asked = [(Frames({0: tensor_to_pixels(picture[None])[0, 0]}), Motion(bucket), NoiseAugmentation(0.02)) for picture in pictures]
            found[told, bucket] = travel(made(system, asked, frames=4, fps=FPS, side=SIDE))
    report(**{f"{'told' if told else 'untold'} {bucket:g}": pixels for (told, bucket), pixels in found.items()})
    told, untold = ([found[way, bucket] for bucket in BUCKETS] for way in (True, False))
    assert told == sorted(told)                                             # a rank correlation of 1
    assert told[0] < 0.8 < 2.5 < told[-1]
    assert max(untold) - min(untold) < 0.3 * (told[-1] - told[0])
