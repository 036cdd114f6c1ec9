"""`flipbook systems`: the list, the explanation, and the words for what was measured."""

from __future__ import annotations

import json

import pytest

from flipbook.cli import main
from flipbook.cli.systems import demo_in_words, parity_in_words
from flipbook.systems import SYSTEMS
from flipbook.systems.describe import explanation, module_of, parity, summary


def printed(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["systems", *arguments])
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_the_list_has_every_system_with_its_paper_and_parts(capsys):
    code, out, _ = printed(capsys, "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert list(rows) == list(SYSTEMS)
    assert (rows["vdm"]["arxiv"], rows["vdm"]["year"]) == ("2204.03458", 2022)
    assert rows["magicvideo"]["parts"] == ["frame adaptor", "temporal attention", "KLAutoencoder", "WordEncoder"]
    assert rows["thumb"]["arxiv"] is None
    assert "Stable Video Diffusion" in rows["svd"]["title"]
    for name in ("vdm", "thumb"):
        assert name in printed(capsys)[1]


def test_the_parity_figure_is_the_tables_row_nearest_to_its_bound():
    worst = parity("svd")
    from flipbook.systems import describe

    rows = [row for row in json.loads(describe.PARITY.read_text())["rows"] if row["system"] == "svd"]
    assert worst["rows"] == len(rows) > 0
    assert worst["difference"] / worst["bound"] == max(row["difference"] / row["bound"] for row in rows)
    assert parity("vdm") is None
    assert parity_in_words(None) == "–"
    assert parity_in_words(worst).startswith(f"{worst['difference']:.1e} of {worst['bound']:.0e}")


def test_show_explains_a_system_and_prints_its_citation(capsys):
    code, out, _ = printed(capsys, "show", "videoldm")
    assert code == 0
    card = module_of("videoldm").CARD
    assert card.citation in out
    squeezed = " ".join(out.split())
    for sentence in (*card.reproduces, *card.leaves_out, card.authors):
        assert " ".join(sentence.split()) in squeezed
    for stage in module_of("videoldm").STAGES:
        assert stage.name in out
    assert "no reference has this network whole" in squeezed
    assert "objective: {stage: NAME}" in out
    assert "of 1e-04" in printed(capsys, "show", "show1")[1]                 # its pixel networks have a class to be held to


def test_sizes_are_those_of_the_published_network():
    facts = {row["part"]: row for row in explanation("stable-diffusion")["sizes"]}
    assert facts["denoiser"]["parameters"] == 859_520_964                     # Stable Diffusion 1.5
    assert facts["autoencoder"]["parameters"] == 83_653_863
    assert facts["denoiser"]["tiny"] < 1_000_000


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_explanation_is_plain_data_and_says_of_each_stage_what_learns(name):
    facts = explanation(name)
    assert json.loads(json.dumps(facts))["name"] == name
    assert facts["about"]
    assert {row["part"] for row in facts["sizes"]} >= {"denoiser", "autoencoder"}
    for row in facts["stages"]:
        assert row["parts"]
        assert row["data"]


def test_an_unknown_system_is_named_with_the_nearest(capsys):
    code, _, err = printed(capsys, "show", "magic-video")
    assert code == 1
    assert "magicvideo" in err
    assert summary("vdm")["demo"] is None or summary("vdm")["demo"]["measured"]


def test_what_a_demonstration_reached_is_said_in_words():
    facts = {"lessons": [{"seconds": 20.4}, {"seconds": 40.0}], "measured": {"clips": 16, "colour": 0.875, "motion": 0.5, "steady": 1.0, "flicker": 1.26}}
    assert demo_in_words(facts) == "60 s of training: colour 88 %, motion 50 %, steady 100 %, flicker 1.3 grey levels, of 16 clips"
    assert demo_in_words(None) == "not run"
