"""Stages `clip` and `aesthetic`: what CLIP (arXiv:2103.00020) sees in a clip, and what a head on it makes of that."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row, pack_vector, unpack_vector
from flipbook.data.curation.models import load, need_weights, pictures, tensors
from flipbook.data.curation.stage import EachClip


class Clip(EachClip):
    """Embed some frames and the caption with CLIP: `clip_sim` is their mean cosine, `clip_vector` the frames' mean.

    A cosine, not a softmax over one caption, which would be 1 for any. model: folder or hub id.   frames: how many.
    embedding: use the vector for `dedup` too.
    """

    name: ClassVar[str] = "clip"
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("frames", "caption")
    adds: ClassVar[tuple[str, ...]] = ("clip_sim", "clip_vectors")

    model: str = "openai/clip-vit-large-patch14"
    frames: int = Field(3, ge=1)
    embedding: bool = False

    def ready(self) -> None:
        need_weights(self.name, self.model)

    def run(self, row: Row, look: Look) -> Row:
        model, processor = load(self.model, "CLIPModel")
        shown = pictures(look.few(min(self.frames, row["frames"])))
        images = unit(tensors(model.get_image_features(**processor(images=shown, return_tensors="pt"))))   # (n, D)
        columns: Row = {"clip_sim": None, "clip_vectors": [pack_vector(image.numpy()) for image in images]}
        if row["caption"]:
            longest = model.config.text_config.max_position_embeddings   # not every folder's tokenizer says so
            words = processor(text=[row["caption"]], return_tensors="pt", padding=True, truncation=True, max_length=longest)
            text = unit(tensors(model.get_text_features(**words)))                                         # (1, D)
            columns["clip_sim"] = float((images @ text.T).mean())
        if self.embedding:
            mirrored = unit(tensors(model.get_image_features(
                **processor(images=[picture.transpose(0) for picture in shown], return_tensors="pt"))))
            columns |= {
                "embedding": pack_vector(unit(images.mean(0, keepdim=True))[0].numpy()), "embedding_by": self.model,
                "embedding_mirrored": pack_vector(unit(mirrored.mean(0, keepdim=True))[0].numpy()),
            }  # fmt: skip
        return columns


class Aesthetic(EachClip):
    """Score frames from 1 to 10 by a head that LAION trained on ratings, over the unit vectors of CLIP ViT-L/14.

    head: a safetensors file in LAION's layout: either one linear layer (`weight`, `bias`), or the five-layer head of
    improved-aesthetic-predictor (`layers.0.weight` ...).   least: the least of the frames counts, not their mean.
    """

    name: ClassVar[str] = "aesthetic"
    needs: ClassVar[tuple[str, ...]] = ("clip_vectors",)
    adds: ClassVar[tuple[str, ...]] = ("aesthetic",)

    head: str = "sac+logos+ava1-l14-linearMSE.safetensors"
    least: bool = False

    def ready(self) -> None:
        if not Path(self.head).is_file():
            raise ValueError(
                f"stage aesthetic needs the head {self.head}, and there is no such file. Download LAION's aesthetic "
                "predictor, convert it to safetensors, and say --set aesthetic.head=FILE, or leave the stage out with "
                "--without aesthetic."
            )

    def run(self, row: Row, look: Look) -> Row:
        scores = score_vectors(read_head(Path(self.head)), np.stack([unpack_vector(v) for v in row["clip_vectors"]]))
        return {"aesthetic": float(scores.min() if self.least else scores.mean())}


def read_head(path: Path) -> nn.Sequential:
    """The head as linear layers in a row; dropout is off, and there is no activation. Raises ValueError for others."""
    from safetensors.torch import load_file

    state = load_file(path)
    names = sorted({key.rpartition(".")[0] for key in state}, key=lambda name: int(name.rpartition(".")[2] or 0))
    layers: list[nn.Linear] = []
    for name in names:
        prefix = f"{name}." if name else ""
        weight, bias = state.get(f"{prefix}weight"), state.get(f"{prefix}bias")
        if weight is None or bias is None or weight.ndim != 2 or (layers and layers[-1].out_features != weight.shape[1]):
            raise ValueError(f"{path}: {name or 'its tensors'} are no linear layers in a row. Give LAION's aesthetic head.")
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        layers.append(layer)
    if not layers or layers[-1].out_features != 1:
        raise ValueError(f"{path}: an aesthetic head ends in one number. Give LAION's aesthetic head.")
    return nn.Sequential(*layers).eval()


@torch.no_grad()
def score_vectors(head: nn.Sequential, vectors: np.ndarray) -> np.ndarray:
    """Scores (N,) of CLIP vectors (N, D), made unit vectors first, as the head was trained."""
    first = head[0]
    assert isinstance(first, nn.Linear)
    if vectors.shape[1] != first.in_features:
        raise ValueError(
            f"the aesthetic head reads vectors of {first.in_features}, and CLIP gives {vectors.shape[1]}. LAION's heads "
            "belong to ViT-L/14 (768): try --set clip.model=openai/clip-vit-large-patch14"
        )
    return head(unit(torch.from_numpy(vectors)))[:, 0].numpy()


def unit(vectors: Tensor) -> Tensor:
    """Rows (N, D) of length 1."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)
