"""`flipbook cascade`: a system's own cascade, written down, changed and run from the command line."""

from __future__ import annotations

import pytest
import yaml

from flipbook import systems
from flipbook.cli import main
from flipbook.interop.folder import save_pretrained
from flipbook.long.cascade import from_data, to_data
from flipbook.systems import lavie


def run(*arguments, code=0):
    with pytest.raises(SystemExit, match=f"^{code}$"):
        main(["cascade", *map(str, arguments)])


def test_a_systems_cascade_is_printed_with_what_is_changed_and_read_again(capsys):
    run("lavie", "--set", "upscaler.model=runs/mine/model", "--print")
    plan = from_data(yaml.safe_load(capsys.readouterr().out))
    assert plan == systems.cascade("lavie").with_stage("upscaler", model="runs/mine/model")


def test_a_system_without_a_cascade_names_those_that_have_one(capsys):
    with pytest.raises(ValueError, match=r"system 'vdm' has no cascade. Those that have: .*lavie, .*magicvideo, make-a-video, show1, videoldm"):
        systems.cascade("vdm")
    run("vdm", code=1)
    assert "has no cascade" in capsys.readouterr().err


def test_a_printed_cascade_runs_with_folders_as_stages_and_makes_a_replaced_one_alone_again(tmp_path, capsys):
    for kind in lavie.PLANS:
        save_pretrained(lavie.build(lavie.tiny_stage(kind)).eval(), tmp_path / kind)
    plan = lavie.cascade({kind: str(tmp_path / kind) for kind in lavie.PLANS}, num_frames=2, height=16, width=16)
    for stage in plan.stages:
        plan = plan.with_stage(stage.name, num_inference_steps=1)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(to_data(plan)))
    run(tmp_path / "plan.yaml", "a red circle", "--folder", tmp_path / "run")
    told = capsys.readouterr()
    assert [line.split(":")[0] for line in told.err.splitlines()] == ["base", "interpolation", "upscaler"]
    assert "5 frames of 64x64 at 32 fps" in told.out
    run(tmp_path / "plan.yaml", "a red circle", "--folder", tmp_path / "run", "--set", "interpolation.guidance_scale=1.0")
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["interpolation", "upscaler"]
