"""What layers over time are for, after a minute of clips that stand still: frames together know more of a picture than each by itself.

A clip of the world that is held still has one picture under four noises. A network that reads its frames together can average the noises
away, which no network of single frames can, however long it learns; and what it makes holds still.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.conditions import Text
from flipbook.denoisers.unet_tables import VIDEO_LDM
from flipbook.nn.inserts import InsertTable
from flipbook.systems import animatediff, lavie, magicvideo, modelscope, stable_diffusion, videoldm
from flipbook.systems.demo import SENTENCES
from flipbook.systems.image_weights import without_inserts
from systems.trained import Clips, flicker, fresh, image_model, loss_on, made, report, taught, world

pytestmark = pytest.mark.slow
IMAGE, WORDS = stable_diffusion.TINY.denoiser, stable_diffusion.TINY.text_encoder
ASKED = [(Text(sentence),) for sentence in SENTENCES[::6]]
T = 0.8


def held_still(clips: Clips) -> Clips:
    """Clips whose every frame is the first one."""

    def some(n, first):
        data = clips(n, first)
        return replace(data, video=data.video[:, :, :1].expand_as(data.video).contiguous())

    return some


@pytest.mark.parametrize(("name", "config"), [
    ("animatediff", animatediff.TINY),
    ("videoldm", replace(videoldm.TINY, image=IMAGE, inserts=InsertTable(tuple(videoldm._small(row) for row in VIDEO_LDM.rows)), text_encoder=WORDS)),
])  # fmt: skip
def test_layers_over_time_calm_a_frozen_image_model_that_keeps_every_bit(name, config):
    system, clips = fresh(name, config, image=image_model()), held_still(world())
    image = {key: value.clone() for key, value in image_model().denoiser.state_dict().items()}
    learnt = taught(system, {"train": {"denoiser": ["temporal", "conditioning"] if name == "videoldm" else ["temporal"]}}, clips, steps=120, batch=10)
    own = system.denoiser.state_dict()
    assert all(torch.equal(own[key], value) for key, value in image.items())
    off = without_inserts(system)
    told, calm, restless = loss_on(learnt, clips, t=T), flicker(made(system, ASKED)), flicker(made(off, ASKED))
    untold = loss_on(taught(off, {"train": ["denoiser"]}, clips, steps=0), clips, t=T)
    report(flicker=calm, flicker_of_image_model=restless, loss=told, loss_of_image_model=untold)
    assert told < 0.9 * untold
    assert calm < 0.85 * restless


@pytest.mark.parametrize(("name", "config", "margin"), [
    ("magicvideo", replace(magicvideo.TINY, num_frames=4, image=IMAGE, text_encoder=WORDS), 0.96),      # the first frame sees itself alone
    ("modelscope", replace(modelscope.TINY, denoiser=replace(modelscope.TINY.denoiser, heads=IMAGE.heads)), 0.8),
    ("lavie", lavie.TINY, 1.0),                                             # attention alone is slow to learn: the clips tell
])  # fmt: skip
def test_a_network_with_layers_over_time_is_calmer_than_the_same_one_taught_without_them(name, config, margin):
    clips, loss, wavers = held_still(world()), {}, {}
    for arm in ("together", "apart"):
        system = fresh(name, config, image=image_model())
        system = without_inserts(system) if arm == "apart" else system
        learnt = taught(system, {"train": ["denoiser"]}, clips, steps=120, batch=10)
        loss[arm], wavers[arm] = loss_on(learnt, clips, t=T), flicker(made(system, ASKED))
    report(loss=loss["together"], loss_apart=loss["apart"], flicker=wavers["together"], flicker_apart=wavers["apart"])
    assert loss["together"] < margin * loss["apart"]
    assert wavers["together"] < 0.75 * wavers["apart"]
