"""What a comparison may be asked for, and what it says to what it cannot do, before anything is built or written."""

from __future__ import annotations

import copy

import pytest
from compare_toy import FAST, RECIPE, save_tiny, training_plan

from flipbook.cli import main
from flipbook.compare import run
from flipbook.compare.factors import find_key
from flipbook.compare.plan import make_plan


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("optimizer.lr", ("recipe", "optimizer.lr")),
        ("num_frames", ("recipe", "num_frames")),
        ("settings.num_frames", ("settings", "num_frames")),
        ("guidance_scale", ("settings", "guidance_scale")),
        ("inserts", ("recipe", "system_config.denoiser.inserts")),
        ("text_encoder.depth", ("recipe", "system_config.text_encoder.depth")),
        ("system_config.denoiser.inserts", ("recipe", "system_config.denoiser.inserts")),
    ],
)
def test_a_factor_is_found_by_its_short_name(key, place):
    assert find_key(key, RECIPE) == place


def test_the_shallowest_field_of_a_name_is_meant_and_two_alike_must_be_told_apart():
    assert find_key("inserts", {"system": "videoldm"}) == ("recipe", "system_config.inserts")
    with pytest.raises(ValueError, match=r"'dim' may be system_config\.denoiser\.dim or system_config\.text_encoder\.dim\. Write it in full"):
        find_key("dim", {"system": "thumb"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vary": "guidance_scal"}, "'guidance_scal' is not a recipe's key.*Did you mean 'guidance_scale'"),
        ({"vary": "optimizer.lrr", "arms": [1, 2]}, "arm '1' cannot be run:\n.*optimizer.lrr: unknown key. Did you mean optimizer.lr"),
        ({"vary": "batch_size", "arms": [2, "two"]}, "arm 'two' cannot be run"),
        ({"vary": "inserts", "arms": ["none", "vdn"]}, "no inserts are called so. Did you mean 'vdm'"),
        ({"scores": ["motoin"]}, "score 'motoin' is not known. Did you mean 'motion'"),
        ({"repeat": 3}, "'repeat' is no key of a comparison. Did you mean 'repeats'"),
        ({"repeats": 0}, "repeats: "),
        ({"arms": [1]}, "arms"),
        ({"model": "thumb"}, "either `recipe`, to train every arm, or `model`"),
        ({"minutes": 1}, "steps and minutes are both given"),
        ({"vary": None, "arms": [1, 2]}, "without `vary`, every arm says what it sets"),
        ({"vary": "inserts", "arms": [[], [1]]}, "need names"),
        ({"vary": None, "arms": {"a b": {}, "a-b": {}}}, "would share a folder"),
        ({"settings": {"sampler": "euler", "clip_norm": 1, "nonsense": 1}}, "'settings.nonsense'|'settings.clip_norm'"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(changes, said):
    tree = {"recipe": copy.deepcopy(RECIPE), "vary": "guidance_scale", "arms": [1, 4], "steps": 2, "settings": FAST} | changes
    with pytest.raises(ValueError, match=f"(?s){said}"):
        make_plan({key: value for key, value in tree.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vary": "text_encoder.depths", "arms": [1, 2]}, "is not a recipe's key"),
        ({"vary": "system_config.denoiser.widhts", "arms": {"a": [16], "b": [32]}}, "arm 'a': UNetConfig has no field denoiser.widhts. Did you mean 'widths'"),
        ({"vary": "objective.drop_txt", "arms": [0.1, 0.2]}, "arm '0.1': conditioned has no option"),
        ({"vary": "sampler", "arms": ["ddim", "eular"]}, "arm 'eular': sampler='eular' is not known. Did you mean 'euler'"),
        ({"vary": "dtype", "arms": ["fp32", "fp64"]}, "fp64"),
    ],
)
def test_arms_that_cannot_be_built_or_run_are_found_before_anything_is_trained(changes, said, tmp_path):
    tree = {"recipe": copy.deepcopy(RECIPE), "steps": 2, "settings": FAST, "repeats": 1} | changes
    with pytest.raises(ValueError, match=said):
        run.compare(make_plan(tree), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_about_training_is_scored_or_set_where_nothing_is_trained():
    base = {"model": "thumb", "vary": "guidance_scale", "arms": [1, 4]}
    with pytest.raises(ValueError, match="score 'validation' is about training"):
        make_plan(base | {"scores": ["validation"]})
    with pytest.raises(ValueError, match=r"'optimizer\.lr' is not a setting of generation"):
        make_plan(base | {"vary": "optimizer.lr"})
    with pytest.raises(ValueError, match="trains nothing"):
        make_plan(base | {"steps": 3})


def test_inserts_go_by_the_names_of_the_published_tables():
    plan = training_plan(["none", "vdm", "lavie"], vary="inserts")
    names = [[row["name"] for row in arm.recipe.system_config["denoiser"]["inserts"]] for arm in plan.arms]
    assert names == [[], ["temporal_attention_in", "temporal_attention"], ["temporal_attention"]]
    run.check(plan)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "model")
    for words, said in (
        ([], "nothing is compared yet. Try --vary guidance_scale=1,4,7 --model thumb"),
        (["--model", "model", "--vary", "guidance_scale"], "is not KEY=V1,V2,... with two values or more"),
        (["--model", "model", "--vary", "guidance_scale=1"], "is not KEY=V1,V2,... with two values or more"),
        (["--model", "model", "--vary", "guidanc_scale=1,4"], "Did you mean 'guidance_scale'?"),
        (["--model", "model", "--vary", "guidance_scale=1,4", "--prompt", "seen=2", "--prompt", "a star spins"], "mixes groups and sentences"),
        (["absent.yaml"], "absent.yaml: cannot read the comparison"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["compare", *words])
        assert stop.value.code == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "comparisons").exists()
