"""Stages `detect`, `segment` and `pose`: what is in the picture, by public networks, in numbers that rules can use."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row
from flipbook.data.curation.models import load, need_weights, pictures
from flipbook.data.curation.stage import EachClip


class Detect(EachClip):
    """Find objects in some frames: how many there are, what they are, how much of the picture they fill.

    model: any detector that transformers knows (DETR, RT-DETR, ...), folder or hub id.   threshold: of its confidence.
    """

    name: ClassVar[str] = "detect"
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("objects_mean", "objects_area", "objects_score", "object_labels")

    model: str = "facebook/detr-resnet-50"
    threshold: float = Field(0.7, ge=0, le=1)
    frames: int = Field(3, ge=1)

    def ready(self) -> None:
        need_weights(self.name, self.model)

    def run(self, row: Row, look: Look) -> Row:
        frames = look.few(min(self.frames, row["frames"]), 512)
        found = detections(frames, self.model, self.threshold)
        labels = sorted({label for one in found for label in one["labels"]})
        scores = [score for one in found for score in one["scores"]]
        return {
            "objects_mean": float(np.mean([len(one["boxes"]) for one in found])),
            "objects_area": float(np.mean([area_of(one["boxes"], frames.shape[1:3]) for one in found])),
            "objects_score": float(np.mean(scores)) if scores else 0.0,
            "object_labels": labels,
        }


class Segment(EachClip):
    """Segment some frames: how many segments, and the share of the picture that the largest one fills.

    model: any semantic segmenter that transformers knows (SegFormer, ...), folder or hub id.   smallest: share of the
    picture below which a segment does not count.
    """

    name: ClassVar[str] = "segment"
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("segments_mean", "segment_largest", "segment_labels")

    model: str = "nvidia/segformer-b0-finetuned-ade-512-512"
    frames: int = Field(3, ge=1)
    smallest: float = Field(0.01, ge=0, le=1)

    def ready(self) -> None:
        need_weights(self.name, self.model)

    @torch.no_grad()
    def run(self, row: Row, look: Look) -> Row:
        model, processor = load(self.model, "AutoModelForSemanticSegmentation", "AutoImageProcessor")
        shown = pictures(look.few(min(self.frames, row["frames"]), 512))
        maps = model(**processor(images=shown, return_tensors="pt")).logits.argmax(1)       # (n, h, w)
        labels, counts, largest = set(), [], []
        for picture in maps:
            classes, pixels = picture.unique(return_counts=True)
            shares = pixels / picture.numel()
            seen = classes[shares >= self.smallest]
            labels |= {model.config.id2label.get(int(c), str(int(c))) for c in seen}
            counts.append(len(seen))
            largest.append(float(shares.max()))
        means = {"segments_mean": float(np.mean(counts)), "segment_largest": float(np.mean(largest))}
        return {**means, "segment_labels": sorted(labels)}


class Pose(EachClip):
    """Look for people and their joints: how many people, and the share of joints that are seen with confidence.

    model: ViTPose (arXiv:2204.12484) in transformers' layout.   detector: finds the people that it looks at.
    person: the detector's word for them.   joint: confidence from which a joint counts as seen.
    """

    name: ClassVar[str] = "pose"
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("people_mean", "pose_score")

    model: str = "usyd-community/vitpose-base-simple"
    detector: str = "PekingU/rtdetr_r50vd_coco_o365"
    person: str = "person"
    threshold: float = Field(0.5, ge=0, le=1)
    joint: float = Field(0.3, ge=0, le=1)
    frames: int = Field(3, ge=1)

    def ready(self) -> None:
        need_weights(self.name, self.model)
        need_weights(self.name, self.detector)

    @torch.no_grad()
    def run(self, row: Row, look: Look) -> Row:
        frames = look.few(min(self.frames, row["frames"]), 512)
        model, processor = load(self.model, "VitPoseForPoseEstimation", "AutoImageProcessor")
        people, seen = [], []
        for frame, found in zip(frames, detections(frames, self.detector, self.threshold), strict=True):
            boxes = [box for box, label in zip(found["boxes"], found["labels"], strict=True) if label == self.person]
            people.append(len(boxes))
            if not boxes:
                continue
            corners = np.array(boxes)
            placed = [np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)]  # x, y, width, height
            inputs = processor(images=pictures(frame[None]), boxes=placed, return_tensors="pt")
            poses = processor.post_process_pose_estimation(model(**inputs), boxes=placed)[0]
            seen += [float((pose["scores"] >= self.joint).float().mean()) for pose in poses]
        return {"people_mean": float(np.mean(people)), "pose_score": float(np.mean(seen)) if seen else 0.0}


@torch.no_grad()
def detections(frames: np.ndarray, source: str, threshold: float) -> list[dict[str, Any]]:
    """Per frame of uint8 (T, H, W, 3): "boxes" [x0, y0, x1, y1] in pixels, "labels" as words, "scores"."""
    model, processor = load(source, "AutoModelForObjectDetection", "AutoImageProcessor")
    output = model(**processor(images=pictures(frames), return_tensors="pt"))
    sizes = torch.tensor([frame.shape[:2] for frame in frames])
    found = processor.post_process_object_detection(output, threshold=threshold, target_sizes=sizes)
    return [
        {
            "boxes": one["boxes"].tolist(), "scores": one["scores"].tolist(),
            "labels": [model.config.id2label.get(int(label), str(int(label))) for label in one["labels"]],
        }
        for one in found
    ]  # fmt: skip


def area_of(boxes: list[list[float]], size: tuple[int, ...]) -> float:
    """Share of a picture (height, width) that boxes cover, overlaps counted once."""
    from flipbook.data.curation.overlay import covered

    height, width = size
    inside = np.clip(np.array(boxes).reshape(-1, 4) / [width, height, width, height], 0, 1)
    return covered(inside.tolist())
