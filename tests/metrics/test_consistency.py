"""Consistency and text scores, with CLIP's own public code on random weights, and VBench's formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flipbook.metrics import consistency, vbench
from flipbook.metrics.catalogue import METRICS, metric_named
from flipbook.metrics.clip import load_clip, prepare
from flipbook.metrics.measure import measure


def drifting(frames=10, step=0.2):
    """Embeddings that turn by a fixed angle from frame to frame."""
    angle = torch.arange(frames) * step
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_consistency_of_a_steady_drift_is_the_cosine_of_its_step():
    assert consistency.consecutive(drifting()) == pytest.approx(math.cos(0.2), abs=1e-6)


def test_all_pairs_see_a_drift_that_consecutive_frames_do_not():
    assert consistency.all_pairs(drifting()) < consistency.consecutive(drifting()) - 0.2
    pairs = [math.cos(0.2 * (i - j)) for i in range(10) for j in range(10) if i != j]
    assert consistency.all_pairs(drifting()) == pytest.approx(np.mean(pairs), abs=1e-6)


def test_vbench_averages_the_previous_and_the_first_frame_and_counts_no_cosine_below_zero():
    e = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    assert consistency.first_and_previous(e) == 0.0
    e = drifting(3)
    expected = np.mean([(math.cos(0.2) + math.cos(0.2)) / 2, (math.cos(0.2) + math.cos(0.4)) / 2])
    assert consistency.first_and_previous(e) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("score", [consistency.consecutive, consistency.all_pairs, consistency.first_and_previous])
def test_a_frozen_clip_is_perfectly_consistent_which_is_why_motion_stands_beside_it(score):
    assert score(torch.ones(5, 3)) == pytest.approx(1.0)
    assert score(drifting() * 7) == pytest.approx(score(drifting()), abs=1e-6)
    with pytest.raises(ValueError, match="2 frames or more"):
        score(torch.ones(1, 3))


def test_frame_accuracy_is_the_share_of_frames_nearer_to_the_target():
    source, target = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0])
    assert consistency.frame_accuracy(drifting(11, math.pi / 22), source, target) == pytest.approx(5 / 11)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny CLIP with random weights in the public layout, with a tokenizer of a few words."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("clip")
    words = {w: i for i, w in enumerate(["<pad>", "<end>", "<start>", "a", "red", "circle", "blue", "square"])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<pad>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.post_processor = tokenizers.processors.TemplateProcessing(single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 1)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<end>", bos_token="<start>").save_pretrained(folder)
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=small | {"vocab_size": 8, "max_position_embeddings": 12, "eos_token_id": 1, "bos_token_id": 2, "pad_token_id": 0},
        vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=16,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_frames_are_prepared_as_clips_own_processor_does():
    processors = pytest.importorskip("transformers.models.clip.image_processing_pil_clip", reason="needs the PIL processor")
    frames = np.random.default_rng(0).integers(0, 256, (2, 45, 60, 3)).astype(np.uint8)
    processor = processors.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    theirs = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(prepare(frames, 32), theirs, atol=1e-4, rtol=1e-4)


def test_clipsim_is_the_mean_cosine_of_clips_own_embeddings(clip_folder):
    transformers = pytest.importorskip("transformers")
    video = np.random.default_rng(1).integers(0, 256, (3, 40, 48, 3)).astype(np.uint8)
    m = measure("clipsim", [video], captions=["a red circle"], weights=clip_folder, draws=0)
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    ids = torch.tensor([[2, 3, 4, 5, 1]])
    with torch.inference_mode():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=prepare(video, 32))
        expected = float(out.logits_per_image.mean() / model.logit_scale.exp())
    assert m.value == pytest.approx(expected, abs=1e-4)
    assert abs(expected) > 1e-3
    assert m.fingerprint.fields["scale"] == "cosine"


def test_a_caption_beyond_the_towers_length_is_said_to_be_cut(clip_folder):
    eye = load_clip(clip_folder)
    long = " ".join(["red"] * 20)
    assert eye.read(long)[1]
    assert not eye.read("a red circle")[1]
    m = measure("clipsim", [np.zeros((2, 32, 32, 3), np.uint8)], captions=[long], weights=clip_folder, draws=0)
    assert any("1 caption was cut" in remark for remark in m.remarks)


def test_consistency_of_a_frozen_clip_is_one_with_any_clip(clip_folder):
    frozen = np.broadcast_to(np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3)), (4, 32, 32, 3)).astype(np.uint8)
    m = measure("clip-consistency", [frozen], weights=clip_folder, draws=0)
    assert m.value == pytest.approx(1.0, abs=1e-5)
    assert any("motion" in remark for remark in m.remarks)


def test_another_clip_is_another_fingerprint(clip_folder, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = transformers.CLIPModel.from_pretrained(clip_folder)
    with torch.no_grad():
        model.visual_projection.weight.mul_(1.01)
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(clip_folder).save_pretrained(tmp_path)
    assert load_clip(tmp_path).sha256 != load_clip(clip_folder).sha256


def test_flicker_and_smoothness_are_vbenchs_formulas_on_bytes():
    frames = np.random.default_rng(3).integers(0, 256, (5, 8, 8, 3))
    x = torch.from_numpy(frames).movedim(-1, 0).float() / 127.5 - 1
    change = np.mean([np.abs(b - a).mean() for a, b in zip(frames[:-1].astype(float), frames[1:].astype(float), strict=True)])
    assert vbench.temporal_flickering(x) == pytest.approx((255 - change) / 255, abs=1e-6)
    error = np.mean([np.abs((frames[i - 1] + frames[i + 1]) / 2 - frames[i]).mean() for i in (1, 3)])
    assert vbench.motion_smoothness(x) == pytest.approx((255 - error) / 255, abs=1e-6)


@pytest.mark.parametrize("name", [name for name, d in vbench.DIMENSIONS.items() if d.computed_by is None])
def test_a_dimension_that_needs_unobtainable_weights_is_refused_by_name(name):
    with pytest.raises(vbench.DimensionRefused, match=f"{name}.*needs"):
        metric_named(name.replace(" ", "_"))


def test_all_sixteen_dimensions_are_listed_and_the_computed_ones_exist():
    import importlib

    groups = [d.group for d in vbench.DIMENSIONS.values()]
    assert (len(groups), groups.count("quality")) == (16, 7)
    for dimension in vbench.DIMENSIONS.values():
        if dimension.computed_by:
            module, _, function = dimension.computed_by.rpartition(".")
            assert callable(getattr(importlib.import_module(module), function))


def test_files_for_vbench_count_the_videos_of_each_prompt(tmp_path):
    videos = [tmp_path / f"{i}.mp4" for i in range(3)]
    for i, video in enumerate(videos):
        video.write_bytes(bytes([i]))
    paths = vbench.export_for_vbench(videos, ["a dog", "a cat", "a dog"], tmp_path / "out")
    assert [p.name for p in paths] == ["a dog-0.mp4", "a cat-0.mp4", "a dog-1.mp4"]
    assert [p.read_bytes() for p in paths] == [b"\0", b"\1", b"\2"]
    with pytest.raises(ValueError, match="cannot be the name"):
        vbench.export_for_vbench(videos[:1], ["a dog / a cat"], tmp_path / "out")


def test_references_and_captions_are_asked_for_by_the_metrics_that_need_them():
    x = [np.zeros((3, 16, 16, 3), np.uint8)]
    with pytest.raises(ValueError, match="1 clips want 1 references"):
        measure("psnr", x)
    with pytest.raises(ValueError, match="want 1 captions"):
        measure("clipsim", x)
    with pytest.raises(ValueError, match="Leave the reference out"):
        measure("sharpness", x, x)
    with pytest.raises(ValueError, match="--weights"):
        measure("clip-consistency", x)
    with pytest.raises(ValueError, match="Did you mean 'psnr'"):
        measure("pnsr", x)
    assert all(metric.says for metric in METRICS.values())
