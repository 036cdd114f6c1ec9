"""Evaluation with the world itself as the model: everything is right, until something is done wrong on purpose."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from flipbook.data.world import draw, from_scene, is_held_out, parse_caption, scene_from_caption
from flipbook.metrics.evaluate import JOURNAL, evaluate, psnr
from flipbook.metrics.intervals import wilson
from flipbook.metrics.prompts import DEFAULT_COUNTS, GROUPS, JUDGED, make_prompts
from flipbook.video import Video

FEW = {"seen": 6, "held-out": 3, "two": 4, "first-frame": 3, "sky": 1, "figures": 1, "satellite": 1}


def world_model(prompts, seeds, first_frames=None, **settings):
    """The perfect model: paints what the sentence says; with a first frame, the very scene that it comes from."""
    if first_frames is not None:
        options = {"plain": True, "num_objects": 1, "held_out": False}
        return [Video(draw("shapes", seed, **options).frames, fps=8.0) for seed in seeds]
    return [
        Video(from_scene(scene_from_caption(prompt, seed)).frames, fps=8.0)
        if parse_caption(prompt)
        else Video(draw("sky", seed).frames, fps=8.0)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation")
    settings = {"height": 64, "width": 64, "guidance_scale": 3.0}
    results = evaluate(world_model, make_prompts(1, FEW), output, settings=settings, model={"name": "the world"})
    return output, results


def test_the_world_as_a_model_is_all_right(run):
    _, results = run
    assert set(results["groups"]) == set(JUDGED)
    for group in results["groups"].values():
        assert {name: share["share"] for name, share in group["attributes"].items() if share["share"] < 1} == {}
    assert results["groups"]["first-frame"]["psnr"]["lowest"] == 99.0


@pytest.mark.slow
def test_the_world_as_a_model_scores_99_of_100_on_the_whole_set(tmp_path):
    results = evaluate(world_model, make_prompts(7), tmp_path)
    for group in results["groups"].values():
        assert min(share["share"] for share in group["attributes"].values()) >= 0.99


def test_results_hold_what_is_needed_to_make_each_video_again(run):
    output, results = run
    assert json.loads((output / "results.json").read_text()) == results
    assert results["settings"]["guidance_scale"] == 3.0
    assert results["versions"]["flipbook"]
    assert results["model"]["name"] == "the world"
    for record in results["prompts"]:
        assert {"prompt", "seed", "group", "attributes", "seconds"} <= record.keys()
        assert len(Video.read(output / record["video"])) == 16


def test_the_page_shows_every_video_and_asks_nobody_else(run):
    output, results = run
    html = (output / "index.html").read_text()
    sources = re.findall(r'<video src="([^"]+)"', html)
    assert sources == [record["video"] for record in results["prompts"]]
    assert not re.search(r"https?://|<link|@import|url\(", html)
    assert all((output / source).exists() for source in sources)
    assert (output / "sample.png").exists()
    assert not (output / "failures.png").exists()


def test_the_table_has_a_row_per_judged_group_with_intervals(run):
    output, _ = run
    table = (output / "table.md").read_text()
    assert re.search(r"\| seen \| 6 \| 100\.0 % \(61\.0–100\.0\)", table)
    assert "held-out" in table
    assert "+0.0 points" in table


def test_a_model_that_answers_another_sentence_is_caught(tmp_path):
    def deaf(prompts, seeds, first_frames=None, **settings):
        return world_model(["a red star falls on a teal background"] * len(prompts), seeds)

    results = evaluate(deaf, make_prompts(2, dict.fromkeys(GROUPS, 0) | {"seen": 8}), tmp_path)
    assert results["groups"]["seen"]["attributes"]["all"]["share"] < 0.2
    assert (tmp_path / "failures.png").exists()
    page = (tmp_path / "index.html").read_text()
    assert "seen: red star falls on teal" in page.replace("small ", "").replace("large ", "")


def test_a_changed_first_frame_is_not_kept(tmp_path):
    def shifted(prompts, seeds, first_frames=None, **settings):
        return [Video(np.roll(video.frames, 3, axis=2), fps=8.0) for video in world_model(prompts, seeds, first_frames)]

    results = evaluate(shifted, make_prompts(2, dict.fromkeys(GROUPS, 0) | {"first-frame": 4}), tmp_path)
    attributes = results["groups"]["first-frame"]["attributes"]
    assert attributes["kept"]["right"] == 0
    assert attributes["all"]["right"] == 0
    assert attributes["shape"]["share"] == 1


def test_resuming_makes_only_what_is_missing_and_ends_with_the_same_results(tmp_path):
    made = []

    def counting(prompts, seeds, first_frames=None, **settings):
        if len(made) >= 4 and not allowed:
            raise KeyboardInterrupt
        made.extend(prompts)
        return world_model(prompts, seeds, first_frames)

    prompts = make_prompts(3, dict.fromkeys(GROUPS, 0) | {"seen": 8})
    allowed = False
    with pytest.raises(KeyboardInterrupt):
        evaluate(counting, prompts, tmp_path, batch_size=2)
    assert len(made) == 4
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"name": "seen-00')                                     # killed while writing
    allowed = True
    results = evaluate(counting, prompts, tmp_path, batch_size=2, resume=True)
    assert made == [prompt.text for prompt in prompts]
    assert [record["name"] for record in results["prompts"]] == [prompt.name for prompt in prompts]
    assert evaluate(counting, prompts, tmp_path, resume=True)["groups"] == results["groups"]
    assert len(made) == 8


def test_a_video_of_another_model_or_setting_is_made_anew(tmp_path):
    made = []

    def counting(prompts, seeds, first_frames=None, **settings):
        made.extend(prompts)
        return world_model(prompts, seeds)

    prompts = make_prompts(3, dict.fromkeys(GROUPS, 0) | {"seen": 2})
    for model, settings in ({"name": "a"}, {}), ({"name": "b"}, {}), ({"name": "b"}, {"steps": 2}):
        evaluate(counting, prompts, tmp_path, model=model, settings=settings, resume=True)
    assert len(made) == 6


def test_results_are_never_overwritten_unasked(run):
    output, _ = run
    with pytest.raises(ValueError, match="--resume"):
        evaluate(world_model, make_prompts(1, FEW), output)


def test_a_prompt_set_is_the_same_for_a_seed_and_a_prefix_of_a_larger_one():
    prompts = make_prompts(5, FEW)
    assert prompts == make_prompts(5, FEW)
    assert set(prompts) <= set(make_prompts(5))
    assert {p.text for p in prompts} != {p.text for p in make_prompts(6, FEW)}
    assert len({p.name for p in make_prompts(5)}) == sum(DEFAULT_COUNTS.values())


def test_held_out_prompts_are_held_out_and_the_others_are_not():
    for prompt in make_prompts(4, FEW):
        if prompt.group in JUDGED:
            things = parse_caption(prompt.text)["objects"]
            held_out = [is_held_out(thing["colour"], thing["shape"], thing["motion"]) for thing in things]
            assert any(held_out) == (prompt.group == "held-out")
            assert len(things) == (2 if prompt.group == "two" else 1)


def test_first_frames_come_from_the_scene_of_their_sentence():
    (prompt,) = make_prompts(4, dict.fromkeys(GROUPS, 0) | {"first-frame": 1})
    clip = draw("shapes", prompt.seed, plain=True, num_objects=1, held_out=False)
    assert clip.caption == prompt.text
    assert np.array_equal(prompt.first_frame(64, 64), clip.frames[0])


def test_prompts_of_an_unknown_group_are_refused():
    with pytest.raises(ValueError, match="held-out"):
        make_prompts(0, {"three": 1})


def test_wilson_intervals_agree_with_published_values():
    """Newcombe 1998, table I."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


def test_psnr_of_a_known_error():
    a = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(a, a) == 99.0
    assert psnr(a, a + 1) == pytest.approx(48.1308, abs=1e-4)
