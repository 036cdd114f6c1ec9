"""Stages that hold a public network, on tiny random ones in the public layout: what they say is what transformers says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="curation needs the extra `data`")
pytest.importorskip("transformers", reason="these stages need the extra `hub`")

from model_folders import THINGS, write_blip, write_clip_model, write_detr, write_segformer, write_vitpose

from flipbook.data.curation.caption import Caption
from flipbook.data.curation.clip import Aesthetic, Clip
from flipbook.data.curation.content import Detect, Pose, Segment
from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import unpack_vector
from flipbook.data.curation.models import pictures
from flipbook.data.world import draw
from flipbook.video import Video


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> dict:
    """The row of a file whose pictures move."""
    path = Video(draw("shapes", 5, height=96, width=128).frames, 8.0).write(tmp_path_factory.mktemp("film") / "a.mp4")
    return {"path": str(path), "start_frame": 0, "frames": 16, "fps": 8.0, "height": 96, "width": 128, "caption": "a red square"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def clip_folder(folders) -> str:
    return str(write_clip_model(folders / "clip"))


@pytest.fixture(scope="module")
def detr_folder(folders) -> str:
    return str(write_detr(folders / "detr"))


def direct_clip(folder: str, shown: list, words: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of pictures (n, D) and words (1, D) from the whole model's forward pass."""
    from transformers import CLIPModel, CLIPProcessor

    inputs = CLIPProcessor.from_pretrained(folder)(images=shown, text=[words], return_tensors="pt")
    with torch.no_grad():
        found = CLIPModel.from_pretrained(folder).eval()(**inputs)
    return found.image_embeds, found.text_embeds


def test_the_clip_score_is_the_cosine_of_the_models_own_vectors(clip, clip_folder):
    look = Look(clip)
    shown = pictures(look.few(3))
    images, text = direct_clip(clip_folder, shown, clip["caption"])
    columns = Clip(model=clip_folder, embedding=True).run(clip, look)
    assert columns["clip_sim"] == pytest.approx(float((images @ text.T).mean()), abs=1e-5)
    assert np.stack([unpack_vector(v) for v in columns["clip_vectors"]]) == pytest.approx(images.numpy(), abs=1e-3)
    mean = images.mean(0) / images.mean(0).norm()
    assert unpack_vector(columns["embedding"]) == pytest.approx(mean.numpy(), abs=1e-3)
    flipped, _ = direct_clip(clip_folder, [picture.transpose(0) for picture in shown], "a")
    mean = flipped.mean(0) / flipped.mean(0).norm()
    assert unpack_vector(columns["embedding_mirrored"]) == pytest.approx(mean.numpy(), abs=1e-3)
    assert columns["embedding"] != columns["embedding_mirrored"]
    other = Clip(model=clip_folder).run({**clip, "caption": "blue"}, look)
    assert abs(other["clip_sim"] - columns["clip_sim"]) > 1e-4
    assert Clip(model=clip_folder).run({**clip, "caption": ""}, look)["clip_sim"] is None


def test_a_caption_longer_than_clip_reads_is_cut_and_not_refused(clip, clip_folder):
    assert np.isfinite(Clip(model=clip_folder).run({**clip, "caption": "red " * 200}, Look(clip))["clip_sim"])


def test_the_aesthetic_score_is_laions_head_over_clips_unit_vectors(clip, clip_folder, tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    public = torch.nn.Sequential(                              # improved-aesthetic-predictor, with its dropouts
        torch.nn.Linear(16, 32), torch.nn.Dropout(0.2), torch.nn.Linear(32, 12), torch.nn.Dropout(0.2), torch.nn.Linear(12, 8),
        torch.nn.Dropout(0.1), torch.nn.Linear(8, 4), torch.nn.Linear(4, 1),
    ).eval()  # fmt: skip
    save_file({f"layers.{key}": value for key, value in public.state_dict().items()}, tmp_path / "head.safetensors")
    save_file(dict(torch.nn.Linear(16, 1).state_dict()), tmp_path / "linear.safetensors")
    images, _ = direct_clip(clip_folder, pictures(Look(clip).few(3)), "a")
    with torch.no_grad():
        expected = public(images)[:, 0]
    row = {**clip, **Clip(model=clip_folder).run(clip, Look(clip))}
    for least, value in ((False, expected.mean()), (True, expected.min())):
        found = Aesthetic(head=str(tmp_path / "head.safetensors"), least=least).run(row, Look(clip))
        assert found["aesthetic"] == pytest.approx(float(value), abs=1e-3)
    assert np.isfinite(Aesthetic(head=str(tmp_path / "linear.safetensors")).run(row, Look(clip))["aesthetic"])


def test_a_head_for_other_vectors_is_refused_by_their_lengths(clip, clip_folder, tmp_path):
    from safetensors.torch import save_file

    save_file(dict(torch.nn.Linear(768, 1).state_dict()), tmp_path / "head.safetensors")
    row = Clip(model=clip_folder).run(clip, Look(clip))
    with pytest.raises(ValueError, match="768, and CLIP gives 16"):
        Aesthetic(head=str(tmp_path / "head.safetensors")).run(row, Look(clip))


def test_the_caption_is_what_blip_says_of_the_middle_frame(clip, folders):
    from transformers import BlipForConditionalGeneration, BlipProcessor

    folder = write_blip(folders / "blip")
    processor = BlipProcessor.from_pretrained(folder)
    (middle,) = Look(clip).few(1)
    inputs = processor(images=pictures(middle[None]), return_tensors="pt")
    ids = BlipForConditionalGeneration.from_pretrained(folder).eval().generate(**inputs, num_beams=2, max_new_tokens=5, do_sample=False)
    expected = processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
    stage = Caption(model=str(folder), num_beams=2, max_new_tokens=5)
    assert stage.run(clip, Look(clip)) == {}                   # it has words
    found = stage.run({**clip, "caption": ""}, Look(clip))
    assert expected
    assert found["caption"] == expected
    again = Caption(model=str(folder), num_beams=2, max_new_tokens=5, when="always").run(clip, Look(clip))
    assert (again["caption"], again["file_caption"], again["caption_by"]) == (expected, "a red square", str(folder))


def direct_detr(folder: str, frames: np.ndarray, threshold: float) -> list[list[tuple[str, float, np.ndarray]]]:
    """Per frame (word, score, [x0, y0, x1, y1] in pixels) from the raw output: classes but the last, boxes from their centres."""
    from transformers import DetrForObjectDetection, DetrImageProcessor

    height, width = frames.shape[1:3]
    inputs = DetrImageProcessor.from_pretrained(folder)(images=pictures(frames), return_tensors="pt")
    with torch.no_grad():
        output = DetrForObjectDetection.from_pretrained(folder).eval()(**inputs)
    scores, classes = output.logits.softmax(-1)[..., :-1].max(-1)                          # (n, queries)
    x, y, w, h = output.pred_boxes.unbind(-1)
    boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1).numpy() * [width, height, width, height]
    return [
        [(THINGS[int(c)], float(s), b) for c, s, b in zip(*one, strict=True) if s > threshold]
        for one in zip(classes, scores, boxes, strict=True)
    ]


def test_what_is_detected_is_what_the_raw_output_of_detr_says(clip, detr_folder):
    frames = Look(clip).few(3, 512)
    height, width = frames.shape[1:3]
    every = sorted(score for found in direct_detr(detr_folder, frames, 0.0) for _, score, _ in found)
    threshold = (every[len(every) // 2 - 1] + every[len(every) // 2]) / 2                  # half of them pass
    expected = direct_detr(detr_folder, frames, threshold)
    found = Detect(model=detr_folder, threshold=threshold).run(clip, Look(clip))
    assert 0 < found["objects_mean"] == pytest.approx(np.mean([len(one) for one in expected]))
    assert found["objects_score"] == pytest.approx(np.mean([score for one in expected for _, score, _ in one]), abs=1e-5)
    assert found["object_labels"] == sorted({word for one in expected for word, _, _ in one})
    shares = []
    for one in expected:
        down, across = np.mgrid[0:height, 0:width] + 0.5
        inside = [(a <= across) & (across < c) & (b <= down) & (down < d) for _, _, (a, b, c, d) in one]
        shares.append(np.any(inside, 0).mean() if inside else 0.0)
    assert found["objects_area"] == pytest.approx(np.mean(shares), abs=0.02)
    nothing = Detect(model=detr_folder, threshold=1.0).run(clip, Look(clip))
    assert nothing == {"objects_mean": 0.0, "objects_area": 0.0, "objects_score": 0.0, "object_labels": []}


def test_segments_are_counted_as_segformers_own_map_has_them(clip, folders):
    from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

    folder = write_segformer(folders / "segformer")
    inputs = SegformerImageProcessor.from_pretrained(folder)(images=pictures(Look(clip).few(3, 512)), return_tensors="pt")
    with torch.no_grad():
        maps = SegformerForSemanticSegmentation.from_pretrained(folder).eval()(**inputs).logits.argmax(1).numpy()
    shares = np.stack([(maps == c).mean((1, 2)) for c in range(3)], 1)                     # (n, classes)
    found = Segment(model=str(folder), smallest=0.01).run(clip, Look(clip))
    assert found["segments_mean"] == pytest.approx((shares >= 0.01).sum(1).mean())
    assert found["segment_largest"] == pytest.approx(shares.max(1).mean())
    assert found["segment_labels"] == sorted(THINGS[c] for c in range(3) if (shares[:, c] >= 0.01).any())
    assert Segment(model=str(folder), smallest=1.0).run(clip, Look(clip))["segments_mean"] == pytest.approx((shares >= 1).sum(1).mean())


def test_joints_count_as_vitpose_sees_them_in_the_boxes_of_people(clip, folders, detr_folder):
    from transformers import VitPoseForPoseEstimation, VitPoseImageProcessor

    folder = write_vitpose(folders / "vitpose")
    processor, model = VitPoseImageProcessor.from_pretrained(folder), VitPoseForPoseEstimation.from_pretrained(folder).eval()
    frames = Look(clip).few(3, 512)
    words = [word for one in direct_detr(detr_folder, frames, 0.0) for word, _, _ in one]
    person = max(set(words), key=words.count)
    counts, peaks = [], []
    for frame, found in zip(frames, direct_detr(detr_folder, frames, 0.0), strict=True):
        boxes = [[b[0], b[1], b[2] - b[0], b[3] - b[1]] for word, _, b in found if word == person]
        counts.append(len(boxes))
        if boxes:
            with torch.no_grad():
                output = model(**processor(images=pictures(frame[None]), boxes=[boxes], return_tensors="pt"))
            peaks += output.heatmaps.flatten(2).max(2).values.flatten().tolist()           # people x joints
    joint = float(np.median(peaks)) + 1e-4                     # about half of the joints are seen
    stage = Pose(model=str(folder), detector=detr_folder, person=person, threshold=0.0, joint=joint)
    found = stage.run(clip, Look(clip))
    assert 0 < found["people_mean"] == pytest.approx(np.mean(counts))
    assert 0 < found["pose_score"] == pytest.approx(np.mean([peak >= joint for peak in peaks]), abs=0.05)
    nobody = Pose(model=str(folder), detector=detr_folder, person="unicorn", threshold=0.0).run(clip, Look(clip))
    assert nobody == {"people_mean": 0.0, "pose_score": 0.0}


@pytest.mark.parametrize("make", [Clip, Caption, Detect, Segment, Pose])
def test_a_stage_without_weights_says_what_to_do(make, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    stage = make(model=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=f"--without {stage.name}"):
        stage.ready()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="safetensors"):
        make(model=str(tmp_path / "pickled")).ready()


def test_the_aesthetic_stage_without_a_head_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="--without aesthetic"):
        Aesthetic(head=str(tmp_path / "no.safetensors")).ready()
