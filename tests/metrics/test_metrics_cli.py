"""`flipbook metrics` on files, as a user calls it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flipbook.cli import main
from flipbook.metrics.measurement import Measurement
from flipbook.video import Video


def run(capsys, *arguments):
    """What a command printed, and its exit code."""
    code = 0
    try:
        main(["metrics", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code or 0
    out = capsys.readouterr()
    return out.out + out.err, code


@pytest.fixture
def folders(tmp_path):
    """Six clips and the same ones half as bright, lossless."""
    rng = np.random.default_rng(0)
    for i in range(6):
        frames = rng.integers(0, 256, (16, 16, 16, 3)).astype(np.uint8)
        for name, shown in (("real", frames), ("dim", frames // 2)):
            (tmp_path / name).mkdir(exist_ok=True)
            Video(shown, 8.0).write(tmp_path / name / f"{i}.mkv", lossless=True)
    return tmp_path


def test_a_metric_is_printed_with_its_protocol_and_written_as_json(folders, capsys):
    out, code = run(capsys, "psnr", folders / "dim", folders / "real", "--output", folders / "psnr.json")
    assert code == 0
    assert out.startswith("psnr(")
    assert "against=" in out
    m = Measurement.read(folders / "psnr.json")
    frames = Video.read(folders / "real" / "0.mkv").frames.astype(float)
    expected = np.mean(10 * np.log10(255**2 / np.square(frames - frames // 2).mean((1, 2, 3))))
    assert m.details["each"][0] == pytest.approx(expected, abs=1e-3)


def test_results_are_compared_and_results_of_two_protocols_are_not(folders, capsys):
    for name, clips in (("a", "real"), ("b", "dim")):
        run(capsys, "flickering", folders / clips, "--output", folders / f"{name}.json")
    run(capsys, "sharpness", folders / "real", "--output", folders / "c.json")
    out, code = run(capsys, "compare", folders / "a.json", folders / "b.json")
    assert code == 0
    assert "b.json is better" in out
    out, code = run(capsys, "compare", folders / "a.json", folders / "c.json")
    assert code == 1
    assert "metric: flickering against sharpness" in out


def test_the_offline_distance_names_itself_and_its_floor(folders, capsys):
    out, code = run(capsys, "world-features", folders / "dim", folders / "real", "--json")
    assert code == 0
    record = json.loads(out)
    assert record["metric"] == "world-features"
    assert record["floor"] is not None
    assert record["protocol"]["network"] == "world-features"
    assert "fvd" not in out.lower().replace("not fvd", "")


def test_everything_is_listed_with_what_it_needs_and_what_is_refused(capsys):
    out, code = run(capsys, "list")
    assert code == 0
    for said in ("fvd-stylegan-v-16f", "needs weights: a CLIP folder", "not: aesthetic quality, imaging quality"):
        assert said in out
    listed = json.loads(run(capsys, "list", "--json")[0])
    assert listed["psnr"]["sees"]
    assert (listed["psnr"]["tested"], listed["lpips"]["tested"]) == (True, False)


def test_what_cannot_be_measured_is_an_error_in_one_line(folders, capsys):
    for arguments, said in (
        (["object_class", folders / "real"], "the GRiT detector"),
        (["fvd", folders / "dim", folders / "real"], "state dict of the PyTorch I3D"),
        (["psnr", folders / "dim"], "6 clips want 6 references"),
        (["psnr"], "Give a folder of clips"),
        (["world-features", folders / "nowhere", folders / "real"], "holds no clips"),
    ):
        out, code = run(capsys, *arguments)
        assert code == 1
        assert said in out
        assert out.count("\n") == 1
