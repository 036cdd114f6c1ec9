"""The recipes of streaming and of the four-step students are whole, and belong together."""

from pathlib import Path

import pytest

from flipbook import systems
from flipbook.long.streaming import Streaming
from flipbook.objectives.base import build_objective
from flipbook.training.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = ("stream-1-causal", "stream-2-distilled", "stream-3-eights", "thumb-distilled", "thumb-matched", "thumb-quick")
FOURS = Streaming(chunk=4, window=12)
CHUNKS = {"stream-1-causal": FOURS, "stream-2-distilled": FOURS, "stream-3-eights": Streaming(chunk=8, window=8)}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_teaches_the_shipped_model(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    options = dict(recipe.objective)
    system = systems.load("thumb")
    build_objective(options.pop("name"), system, options)
    assert system.streaming == CHUNKS.get(name)
    if name != "stream-1-causal":
        assert (system.defaults["num_inference_steps"], system.defaults["guidance_scale"]) == (4, 1.0)


def test_each_starts_from_what_another_one_leaves():
    plans = {name: load_recipe(RECIPES / f"{name}.yaml") for name in NAMES}
    assert plans["stream-1-causal"].init == plans["thumb-distilled"].init == "thumb"
    chain = [plans[name] for name in ("thumb-distilled", "thumb-matched", "thumb-quick", "stream-2-distilled", "stream-3-eights")]
    assert [one.init for one in chain[1:]] == [f"{one.output}/model" for one in chain[:-1]]
