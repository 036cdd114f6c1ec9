"""What only training shows of the transformers: a tiny one on the world, with its mechanism and without."""

from __future__ import annotations

import pytest

from flipbook.conditions import Text
from flipbook.conditions.entrances import motion
from flipbook.denoisers.gentron import GenTronConfig
from flipbook.systems.demo import DEMO_WORDS, SENTENCES
from flipbook.systems.gentron import GenTronSystemConfig
from systems.trained import fresh, made, report, taught, world

pytestmark = pytest.mark.slow


def test_more_weight_on_motion_moves_the_frames_of_gentron_further_from_pictures_by_themselves():
    """Frames apart are pictures that know nothing of each other. Away from them, a clip holds together: its frames differ less, and evenly."""
    config = GenTronSystemConfig(
        denoiser=GenTronConfig(text_dim=64, dim=96, depth=4, num_heads=4, mlp_dim=384, places=4), text_encoder=DEMO_WORDS,
    )  # fmt: skip
    system = fresh("gentron", config)
    taught(system, {"motion_free": 0.3, "train": ["denoiser", "text_encoder"]}, world(), steps=260, batch=16)
    requests = [(Text(sentence),) for sentence in SENTENCES[::5][:8]]
    recipe, moved = system.conditions, {}
    for weight in (0.0, 0.5, 1.0, 1.5):
        system.conditions = (motion(weight), *recipe[1:])
        clips = made(system, requests, steps=12)
        moved[weight] = float((clips[:, :, 1:] - clips[:, :, :-1]).abs().mean())
    report(**{f"weight {weight}": value for weight, value in moved.items()})
    assert moved[0.0] > moved[0.5] > moved[1.0]


