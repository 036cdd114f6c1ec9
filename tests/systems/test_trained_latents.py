"""What systems on an image model claim, after a minute of the world: which way time goes (ModelScope), and images that are kept (LaVie)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.denoisers.unet_tables import modelscope
from flipbook.nn.inserts import InsertTable
from flipbook.systems import lavie
from flipbook.systems import modelscope as modelscope_system
from flipbook.systems.demo import PLACES, SENTENCES
from systems.trained import UNSEEN, fresh, image_model, loss_on, report, taught, world

pytestmark = pytest.mark.slow


# ---------------------------------------------------------------- the order of frames


def cost_of_going_backwards(learnt, clips):
    """How much dearer clips are that are played backwards, with their noise, than as they are: 0 for a network that knows no order."""
    data = clips(32, UNSEEN)
    rows = learnt.rows(data, range(32), list(range(32)), torch.full((32,), 0.8), False)
    turned = replace(rows, z0=rows.z0.flip(2), eps=rows.eps.flip(2), x=rows.x.flip(2))
    with torch.no_grad():
        forwards, backwards = (learnt.errors(one, learnt.predict(one)).mean().item() for one in (rows, turned))
    return (backwards - forwards) / forwards


RIGHT = [s for s in SENTENCES if "moves right" in s]


def test_convolutions_alone_teach_modelscope_which_way_time_goes():
    """Its transformers have no positions: without the convolutions nothing knows the order."""
    config, rows, gaps = modelscope_system.TINY, modelscope(head_dim=4, dropout=0.0).rows, {}
    for arm, table in (("with", rows), ("without", tuple(row for row in rows if row.name != "temporal_conv"))):
        system = fresh("modelscope", replace(config, denoiser=replace(config.denoiser, inserts=InsertTable(table))), image=image_model())
        learnt = taught(system, {"train": ["denoiser"], **PLACES}, world(sentences=RIGHT), steps=100, batch=10)
        gaps[arm] = cost_of_going_backwards(learnt, world(sentences=RIGHT))
    report(dearer_backwards=gaps["with"], dearer_backwards_without=gaps["without"])
    assert abs(gaps["without"]) < 1e-3
    assert gaps["with"] > 0.03


# ---------------------------------------------------------------- images kept while clips are learnt


def test_stills_behind_the_clips_keep_what_the_image_model_knew():
    """LaVie: clips show red and green alone; the image model knows yellow and blue, and forgets them unless stills come along."""
    clips, stills = [s for s in SENTENCES if "red" in s or "green" in s], [s for s in SENTENCES if "yellow" in s or "blue" in s]
    mixed = [s for pair in zip(clips, stills, strict=False) for s in pair]                       # even rows are clips, odd ones stills
    kept = {}
    for arm, sentences, options in (("joint", mixed, {"form": "append", "stills": 1}), ("clips", clips, {})):
        system = fresh("lavie", lavie.TINY, image=image_model())
        learnt = taught(system, {"train": ["denoiser", "text_encoder"], **options}, world(sentences=sentences), steps=80, batch=12)
        kept[arm] = loss_on(learnt, world(frames=1, sentences=stills), n=48), loss_on(learnt, world(sentences=clips))
    before = loss_on(taught(fresh("lavie", lavie.TINY, image=image_model()), {}, world(), steps=0), world(frames=1, sentences=stills), n=48)
    report(before=before, joint=kept["joint"][0], clips_alone=kept["clips"][0], clips_joint=kept["joint"][1], clips_clips=kept["clips"][1])
    assert kept["joint"][0] < 1.1 * before
    assert kept["clips"][0] > 1.25 * kept["joint"][0]
