"""Real recordings through the metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbook.metrics.corrupt import LEVELS, corrupt
from flipbook.metrics.distance import set_distance
from flipbook.metrics.measure import measure
from flipbook.shapes import pixels_to_tensor, tensor_to_pixels
from flipbook.video import Video


@pytest.fixture(scope="module")
def recordings(shared_clips):
    """Sixteen frames each of all clips, 64 pixels high and wide: (N, 3, 16, 64, 64)."""
    paths = sorted(shared_clips.glob("*.mp4"))
    assert len(paths) > 10
    videos = [Video.read(path, num_frames=16, start_frame=0, height=64, width=64, audio=False) for path in paths]
    return torch.stack([pixels_to_tensor(video.frames) for video in videos])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["blur", "noise", "freeze", "shuffle", "colour"])
def test_psnr_and_similarity_of_real_clips_fall_with_every_damage(recordings, kind):
    reference = list(tensor_to_pixels(recordings))
    for name in ("psnr", "ssim"):
        series = [measure(name, list(tensor_to_pixels(corrupt(kind, recordings, s))), reference, draws=0).value for s in LEVELS]
        assert (np.diff(series) < 0).all(), (name, series)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["blur", "noise", "colour"])
def test_the_projects_own_features_see_damage_of_real_clips_too(recordings, kind):
    real = list(tensor_to_pixels(recordings))
    series = [set_distance(real, list(tensor_to_pixels(corrupt(kind, recordings, s))), draws=0).value for s in LEVELS]
    assert (np.diff(series) > 0).all(), series


@pytest.mark.slow
def test_a_fixed_camera_moves_less_than_a_drive_and_files_of_any_shape_are_measured(shared_clips, tmp_path):
    pytest.importorskip("cv2")
    moves = {}
    for name in ("cars_from_above", "toy_car_view", "sign_book_portrait", "couple_in_corridor_vfr"):
        video = Video.read(shared_clips / f"{name}.mp4", num_frames=12, start_frame=20, height=64, audio=False)
        moves[name] = measure("motion", [video], draws=0).value
    assert moves["toy_car_view"] > 2 * moves["cars_from_above"]
    assert all(0 < value < 5 for value in moves.values())
