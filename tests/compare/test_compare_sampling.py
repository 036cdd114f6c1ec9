"""Comparisons that only generate: what is reported of a factor whose effect is known."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from compare_toy import WorldModel, made, save_tiny

from flipbook.cli import main
from flipbook.compare import run
from flipbook.compare.plan import make_plan
from flipbook.compare.summary import summarise
from flipbook.compare.table import BEGIN, END, markdown, write_into

SENTENCES = ["a red circle moves right on a black background", "a blue square falls on a gray background"]


def typed(*words):
    with pytest.raises(SystemExit) as stop:
        main(["compare", *words])
    assert not stop.value.code


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished comparison of guidance 1 and 4: its folder, its results, and the model with all that was asked of it."""
    output, model = tmp_path_factory.mktemp("compared"), WorldModel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load", lambda name: model)
        yield output, run.compare(plan(), output), model


def plan(**changes):
    tree = {
        "name": "guidance", "model": "the world", "vary": "guidance_scale", "arms": [1, 4], "repeats": 2, "prompts": SENTENCES, "videos": 4,
        "scores": ["colour", "motion", "all", "identity", "seconds"], "shown": 2,
    }  # fmt: skip
    return make_plan(tree | changes)


def test_what_helps_is_reported_as_better_with_its_size_and_what_does_not_matter_is_not(compared):
    _, results, model = compared
    one, four = results["summary"]["1"], results["summary"]["4"]
    odd = sum(seed % 2 for _, seed, scale in model.made[:32] if scale == 1)
    assert 4 <= odd <= 12
    assert one["colour"]["value"] == 1 - odd / 16
    assert four["colour"]["value"] == 1.0
    assert four["colour"]["against"]["value"] == pytest.approx(odd / 16)
    assert four["colour"]["verdict"] == "better"
    assert four["all"]["verdict"] == "better"
    assert four["motion"]["verdict"] is None
    assert four["identity"]["verdict"] is None
    assert one["colour"]["against"] is None


def test_the_other_way_round_it_is_reported_as_worse(compared):
    _, results, _ = compared
    summary = summarise(dict(reversed(results["runs"].items())), results["scores"])
    assert summary["1"]["colour"]["verdict"] == "worse"
    assert summary["1"]["colour"]["against"]["high"] < 0


def test_all_arms_are_asked_the_same_with_the_same_seeds_and_each_repeat_with_others(compared):
    _, _, model = compared
    asked = [(words, seed) for words, seed, scale in model.made[:32] if scale == 1]
    assert sorted(asked) == sorted((words, seed) for words, seed, scale in model.made[:32] if scale == 4)
    assert len({seed for _, seed in asked}) == 16


def test_finished_arms_are_not_made_again_and_more_repeats_are_added_to_what_is_there(compared, tmp_path):
    output, first, model = compared
    shutil.copytree(output, tmp_path / "copy")
    count, said = len(model.made), []
    assert made(run.compare(plan(), tmp_path / "copy", say=said.append)) == made(first)
    assert len(model.made) == count
    more = run.compare(plan(repeats=3), tmp_path / "copy", say=said.append)
    assert said == ["5/6: 1, repeat 3 of 3", "6/6: 4, repeat 3 of 3"]
    assert len(model.made) == count + 16
    assert [made(more)[arm][:2] for arm in ("1", "4")] == [made(first)[arm] for arm in ("1", "4")]


def test_a_folder_of_another_comparison_is_refused_and_left_alone(compared):
    output, _, _ = compared
    before = (output / "comparison.json").read_text()
    for changed, said in (({"arms": [1, 5]}, "arms"), ({"videos": 5}, "videos"), ({"seed": 1}, "seed"), ({"repeats": 1}, "repeats")):
        with pytest.raises(ValueError, match=rf"holds another comparison: {said} differ"):
            run.compare(plan(**changed), output)
    assert (output / "comparison.json").read_text() == before


def test_the_page_shows_the_arms_side_by_side_and_asks_nobody_else(compared):
    output, results, _ = compared
    html = (output / "index.html").read_text()
    sources = re.findall(r'<video src="([^"]+)"', html)
    assert len(sources) == 2 * 2
    assert [source.split("/")[1] for source in sources] == ["1", "4", "1", "4"]
    assert all((output / source).is_file() for source in [*sources, *re.findall(r'href="([^"]+)"', html)])
    assert not re.search(r"https?://|<link|@import|url\(", html)
    assert len(list((output / "sheets").glob("*.png"))) == 2
    assert json.loads((output / "results.json").read_text()) == results


def test_the_table_goes_between_the_marks_of_a_document_and_nowhere_else(compared, tmp_path):
    text = markdown(compared[1])
    document = tmp_path / "study.md"
    document.write_text(f"# Study\n\n{BEGIN}\nold\n{END}\n\nThe end.\n")
    for _ in range(2):
        write_into(document, text)
        assert document.read_text() == f"# Study\n\n{BEGIN}\n{text.rstrip()}\n{END}\n\nThe end.\n"
    assert "| guidance_scale | colour |" in text
    assert "| 4 | 100.0 % (" in text
    assert "▲" in text
    document.write_text("# No marks\n")
    with pytest.raises(ValueError, match="no place for the table"):
        write_into(document, text)


def test_the_command_compares_a_model_folder_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "model")
    words = ["--model", "model", "--vary", "sampler=euler,heun", "--repeats", "2", "--prompt", SENTENCES[0], "--score", "identity", "--output", "out"]
    typed(*words)
    first = capsys.readouterr().out
    assert "| sampler | identity |" in first
    assert "page: out/index.html" in first
    typed(*words, "--json")
    results = json.loads(capsys.readouterr().out)
    assert list(results["summary"]) == ["euler", "heun"]
    assert markdown(results).strip() in first


@pytest.mark.slow
def test_guidance_of_the_shipped_model_is_reported_to_help(tmp_path):
    tree = {"model": "thumb", "vary": "guidance_scale", "arms": [1, 4], "repeats": 1, "prompts": {"seen": 24}, "settings": {"num_inference_steps": 12}}
    summary = run.compare(make_plan(tree), tmp_path)["summary"]
    assert summary["4"]["all"]["against"]["value"] > 0
    assert summary["4"]["seconds"]["against"]["value"] > 1.3
