"""The autoregressive family in the one training loop, and on footage that nobody here drew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flipbook import systems
from flipbook.baselines.predictor import MotionCompensation
from flipbook.long.frames import roll_frames, searched
from flipbook.shapes import pixels_to_tensor
from flipbook.train import train
from flipbook.training.recipe import load_recipe, parse_recipe
from flipbook.video import Video

RECIPES = Path(__file__).parents[2] / "recipes"
QUICK = {
    "data": [{"world": "shapes", "sentences": ["a red circle moves right on a black background"]}], "num_frames": 4, "frame_stride": 2,
    "height": 16, "width": 16, "batch_size": 2, "num_workers": 0, "warmup": 1, "dtype": "fp32", "validation": {"every": 0}, "samples": {"every": 0},
    "log": {"every": 1, "tensorboard": False}, "schedule": "constant",
}  # fmt: skip
VQ = {"num_codes": 16, "latent_channels": 4, "dim": 8, "blocks": 1}


def weights(folder):
    system = systems.load(folder / "model")
    return {f"{part}.{key}": value for part, net in system.parts.items() for key, value in net.state_dict().items()}


def test_a_codebook_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    """Its averages, counts and restarts are part of the checkpoint."""
    recipe = lambda name, steps: parse_recipe({
        **QUICK, "system": "videogpt", "output": str(tmp_path / name), "objective": "quantising", "steps": steps,
        "system_config": {
            "autoencoder": VQ, "denoiser": {"num_codes": 16, "in_channels": 4, "dim": 12, "depth": 1, "text_dim": 16}, "text_encoder": {"dim": 16, "depth": 1},
        },
    })  # fmt: skip
    train(recipe("whole", 4))
    train(recipe("parts", 2))
    train(recipe("parts", 4), resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    assert bool(whole["autoencoder.codebook.started"])
    assert '"loss/perplexity"' in (tmp_path / "whole/log.jsonl").read_text()
    prior = parse_recipe({**QUICK, "init": str(tmp_path / "whole/model"), "output": str(tmp_path / "prior"), "objective": "codes", "steps": 2})
    train(prior)
    after = weights(tmp_path / "prior")
    moved = {key for key, value in whole.items() if not torch.equal(value, after[key])}
    assert moved
    assert not any(key.startswith("autoencoder.") for key in moved)


@pytest.mark.parametrize("name", ["next-frame", "convlstm", "tcn"])
def test_a_predictor_learns_in_the_training_loop_from_true_or_searched_fields(name, tmp_path):
    small = {"next-frame": {"dim": 16, "depth": 1, "num_heads": 2}, "convlstm": {"dims": [8], "kernel": 3}, "tcn": {"dim": 8, "depth": 1}}[name]
    data = [{**QUICK["data"][0], "fields": True}] if name == "next-frame" else QUICK["data"]
    result = train(parse_recipe({
        **QUICK, "data": data, "system": name, "output": str(tmp_path / "run"), "steps": 2, "system_config": {"denoiser": small},
        "objective": {"name": "next_frame", "given": 2, "own": 0.5}, "validation": {"every": 2, "clips": 2, "repeats": 1}, "samples": {"every": 2},
    }))  # fmt: skip
    assert result.step == 2
    assert result.validation.loss > 0
    assert list((tmp_path / "run/samples").glob("*.png"))


def test_the_recipes_are_whole_and_belong_together():
    codes, prior = (load_recipe(RECIPES / f"videogpt-{name}.yaml") for name in ("1-codes", "2-prior"))
    assert Path(prior.init) == codes.output / "model"
    assert (codes.num_frames, codes.height, codes.frame_stride) == (prior.num_frames, prior.height, prior.frame_stride)
    with torch.device("meta"):
        built = systems.build("videogpt", **codes.system_config)
    assert built.denoiser.config.grid == (len(built.latent_ends(codes.num_frames)), codes.height // 4, codes.width // 4)


def test_on_footage_the_moved_frame_before_is_nearer_than_the_frame_before(shared_clips):
    for name in ("hikers_handheld.mp4", "highway_dashcam.mp4", "toy_car_view.mp4"):
        video = pixels_to_tensor(Video.read(shared_clips / name, num_frames=4, height=72, width=96, audio=False).frames)[None]
        said = roll_frames(MotionCompensation(), video, 4, motion=searched(video), own=torch.zeros(1, 4, dtype=torch.bool))
        moved, copied = ((one - video[:, :, 1:]).square().mean().item() for one in (said, video[:, :, :-1]))
        assert moved < 0.8 * copied, name
