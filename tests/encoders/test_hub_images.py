"""CLIP's image tower as Stable Video Diffusion reads it, on a tower with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("diffusers")

from flipbook.encoders.hub import ClipImageEncoder, resize_antialiased

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = tmp_path_factory.mktemp("svd")
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=224, patch_size=32, projection_dim=16
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor/preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return folder


def pixels(height, width):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(300, 701), (224, 448), (160, 90)])
def test_rows_are_those_of_the_reference_pipeline(folder, size):
    """Also where the picture is smaller than the tower's, and where one side is."""
    from diffusers import StableVideoDiffusionPipeline
    from diffusers.video_processor import VideoProcessor
    from PIL import Image
    from transformers import CLIPImageProcessor

    encoder = ClipImageEncoder.from_pretrained(folder, subfolder="image_encoder")
    image = pixels(*size)
    pipeline = type("Pipeline", (), {})()
    pipeline.image_encoder, pipeline.video_processor = encoder.model, VideoProcessor()
    pipeline.feature_extractor = CLIPImageProcessor(image_mean=MEAN, image_std=STD)
    with torch.no_grad():
        expected = StableVideoDiffusionPipeline._encode_image(pipeline, [Image.fromarray(image)], "cpu", 1, False)
        rows = encoder.encode(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1.0)
    assert rows.shape == (1, 1, 16)
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-4)


def test_shrinking_blurs_first_so_that_stripes_do_not_alias():
    stripes = torch.ones(1, 1, 96, 96)
    stripes[..., ::2] = -1.0
    assert resize_antialiased(stripes, (24, 24)).abs().max() < 0.05
    plain = torch.nn.functional.interpolate(stripes, size=(24, 24), mode="bicubic", align_corners=True)
    assert plain.abs().max() > 0.5
    flat = torch.full((1, 3, 50, 70), 0.3)
    torch.testing.assert_close(resize_antialiased(flat, (32, 32)), torch.full((1, 3, 32, 32), 0.3))


def test_without_a_feature_extractor_the_numbers_are_those_of_clip(folder, tmp_path):
    from transformers import CLIPVisionModelWithProjection

    CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").save_pretrained(tmp_path)
    assert ClipImageEncoder.from_pretrained(tmp_path).mean.flatten().tolist() == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    assert ClipImageEncoder.from_pretrained(folder, subfolder="image_encoder").mean.flatten().tolist() == pytest.approx(MEAN)


def test_what_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="no CLIPVisionModelWithProjection in safetensors"):
        ClipImageEncoder.from_pretrained(tmp_path)
