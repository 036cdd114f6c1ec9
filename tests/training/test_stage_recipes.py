"""A stage of a system's own training by its name in a recipe: it trains what the stage says, by the stage's objective."""

from __future__ import annotations

import pytest
import torch

from flipbook import systems
from flipbook.denoisers.unet import parameter_group
from flipbook.interop.folder import save_pretrained
from flipbook.objectives.conditioned import Conditioned
from flipbook.objectives.decoding import Decoding
from flipbook.systems import make_a_video, videoldm
from flipbook.training.plan import make_objective
from flipbook.training.recipe import parse_recipe


class Alone:
    """A group of one process."""

    device = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    return save_pretrained(videoldm.build(videoldm.TINY).eval(), tmp_path_factory.mktemp("videoldm") / "model")


def objective(folder, **options):
    asked = {"init": str(folder), "output": "run", "data": [{"world": "shapes"}], "objective": options}
    return make_objective(parse_recipe(asked), Alone())


def test_a_stage_trains_its_groups_by_its_objective(folder):
    video, decoder = objective(folder, stage="video"), objective(folder, stage="decoder")
    assert isinstance(video, Conditioned)
    assert isinstance(decoder, Decoding)
    groups = {parameter_group(name) for name, p in video.trainable()["denoiser"].named_parameters() if p.requires_grad}
    assert groups == {"temporal", "conditioning"}
    assert set(decoder.trainable()) == {"autoencoder", "adversary"}


def test_what_a_recipe_says_besides_changes_that_alone(folder):
    plain, changed = objective(folder, stage="image-upscaler"), objective(folder, stage="image-upscaler", known={"factor": 2}, drop_text=0.5)
    assert (plain.options.known.factor, changed.options.known.factor) == (4, 2)
    assert changed.options.known.levels == plain.options.known.levels == (0.0, 0.5)
    assert (changed.options.drop_text, changed.options.train) == (0.5, plain.options.train)


def test_a_stage_that_is_not_there_names_those_that_are(folder):
    with pytest.raises(ValueError, match=r"system 'videoldm' has no stage 'motion' of training. Its stages: image, video, decoder"):
        objective(folder, stage="motion")
    with pytest.raises(ValueError, match=r"system '' has no stage 'video' of training. It has none; name an objective"):
        systems.stage("", "video")
    assert systems.stage("make-a-video", "prior") is make_a_video.STAGES[1]
