"""Recipes: what is wrong is named, with the nearest valid key."""

from __future__ import annotations

import pytest

from flipbook.training.recipe import RecipeError, load_recipe

GOOD = """
output: run
system: thumb
objective: denoising
data: [{world: shapes}]
optimizer: {lr: 1e-4}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return path


def test_a_number_written_as_1e_minus_4_is_a_number(recipe):
    assert load_recipe(recipe).optimizer.lr == 1e-4


def test_overrides_reach_into_mappings_lists_and_what_is_not_there_yet(recipe):
    plan = load_recipe(
        recipe,
        ["optimizer.lr=3e-4", "data.0.weight=2", "checkpoint.keep=5", "objective.given=0.5", "samples.prompts=[a, b]",
         "system_config.denoiser.depth=3", "init=null"],
    )  # fmt: skip
    assert plan.optimizer.lr == 3e-4
    assert plan.data == [{"world": "shapes", "weight": 2}]
    assert plan.checkpoint.keep == 5
    assert plan.objective == {"name": "denoising", "given": 0.5}
    assert plan.samples.prompts == ("a", "b")
    assert plan.system_config == {"denoiser": {"depth": 3}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizr.lr=1", "optimizr: unknown key. Did you mean optimizer"),
        ("optimizer.lrr=1", "optimizer.lrr: unknown key. Did you mean optimizer.lr"),
        ("qqqq=1", "qqqq: unknown key. Known here: batch_size, "),
        ("batch_size=0", "batch_size: Input should be greater than or equal to 1 .got 0"),
        ("schedule=cosin", "schedule: Input should be 'constant', 'linear', 'cosine' or 'wsd'"),
        ("data.3.weight=1", "data is a list of 1; use a number from 0 to 0"),
        ("steps", "'steps' is not key=value"),
        ("samples.prompts=[a", "not valid YAML"),
        ("frame_stride=2", "spans 31 frames, but clip_frames=16. Try clip_frames=31"),
        ("init=runs/a/model", "system and init are both given"),
        ("objective={given: 1}", "objective: needs a name.*or a stage"),
        ("objective.stage=video", "a stage has its own objective, and name=denoising is given.*Try .stage: video."),
        ("data=[]", "data: "),
    ],
)
def test_what_is_wrong_is_said_with_what_to_try(recipe, override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [override])


def test_all_problems_are_told_at_once(recipe):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, ["batch_size=0", "optimizer.lr=-1", "hight=64"])
    assert all(word in str(caught.value) for word in ("batch_size", "optimizer.lr", "Did you mean height"))


@pytest.mark.parametrize(
    ("text", "message"), [("- a", "holds list"), ("a: [", "not valid YAML"), ("", "holds NoneType")]
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "x.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"nothing\.yaml: cannot read"):
        load_recipe(tmp_path / "nothing.yaml")
