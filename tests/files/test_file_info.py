"""`flipbook info` on videos."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file
from typer.testing import CliRunner

from flipbook.cli.info import info
from footage import encode, numbered, tone, video


@pytest.fixture(scope="module")
def run():
    app = typer.Typer()
    app.command()(info)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_video_is_described_for_people(run, tmp_path):
    shown = run(
        video(12, audio=tone(1.0), recipe={"prompt": "a red circle falls", "seed": 3}).write(tmp_path / "clip.mp4")
    )
    assert shown.exit_code == 0
    for words in (
        "48 x 32 pixels",
        "12 at 8 fps, 1.500 s",
        "h264 in mp4, yuv420p",
        "bt709",
        "aac, 1 channel",
        "a red circle falls",
    ):
        assert words in shown.stdout


def test_a_video_is_described_for_programs(run, tmp_path):
    path = encode(tmp_path / "clip.mkv", numbered(4), stamps=[0, 50, 300, 330], pixel_format="yuv420p10le")
    facts = json.loads(run(path, "--json").stdout)
    assert facts["num_frames"] == 4
    assert facts["constant_rate"] is False
    assert facts["pixel_format"] == "yuv420p10le"
    assert facts["audio"] is None
    assert facts["recipe"] is None


@pytest.mark.parametrize("name", ["frames", "clip.gif", "clip.webp", "clip.webm"])
def test_other_formats_are_described_too(run, tmp_path, name):
    facts = json.loads(run(video(6).write(tmp_path / name), "--json").stdout)
    assert (facts["num_frames"], facts["fps"], facts["width"], facts["height"]) == (6, 8.0, 48, 32)


def test_a_model_folder_is_described_by_its_parts(run, tmp_path):
    from flipbook import save_pretrained
    from tiny import tiny_system

    save_pretrained(tiny_system(), tmp_path / "model")
    shown = run(tmp_path / "model")
    assert shown.exit_code == 0
    assert "parameters" in shown.stdout
    assert json.loads(run(tmp_path / "model", "--json").stdout)["parameters"] > 0


def test_what_cannot_be_described_is_an_error_on_standard_error(run, tmp_path):
    shown = run(tmp_path / "gone.mp4")
    assert shown.exit_code == 1
    assert "no such file" in shown.stderr
    assert shown.stdout == ""


def test_a_public_pipeline_is_described_by_its_parts(run, tmp_path):
    for part, name in (("unet", "diffusion_pytorch_model"), ("unet", "diffusion_pytorch_model.fp16"), ("text_encoder", "model")):
        (tmp_path / part).mkdir(exist_ok=True)
        save_file({"weight": np.zeros((3, 4), np.float32), "bias": np.zeros(3, np.float32)}, tmp_path / part / f"{name}.safetensors")
    (tmp_path / "scheduler").mkdir()
    index = {"_class_name": "TextToVideoSDPipeline", "_diffusers_version": "0", "unet": ["diffusers", "UNet3DConditionModel"],
             "text_encoder": ["transformers", "CLIPTextModel"], "scheduler": ["diffusers", "DDIMScheduler"]}  # fmt: skip
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    facts = json.loads(run(tmp_path, "--json").stdout)
    assert facts["is_read"]
    assert facts["parameters"] == 30
    assert facts["parts"]["unet"]["parameters"] == 15                        # the fp16 files are the same weights once more
    shown = run(tmp_path).stdout
    assert "UNet3DConditionModel, 15 parameters, F32" in shown
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))
    assert "no: FluxPipeline is not read here" in run(tmp_path).stdout
