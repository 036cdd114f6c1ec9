"""How alike the frames of a clip are to a network that looks at them one by one. A frozen clip is perfectly consistent.

embeddings: (T, D), one row a frame, of any encoder. Every score here is the higher the less happens, so it stands beside a motion score.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def consecutive(embeddings: Tensor) -> float:
    """Mean cosine of each frame and the next: "frame consistency" or "CLIP-Temp" of FateZero's code (arXiv:2303.09535)."""
    e = _unit(embeddings)
    return float((e[1:] * e[:-1]).sum(1).mean())


def all_pairs(embeddings: Tensor) -> float:
    """Mean cosine over all pairs of different frames, as others define it; on a clip that drifts not above `consecutive`."""
    e = _unit(embeddings)
    n = len(e)
    return float(((e @ e.T).sum() - n) / (n * (n - 1)))


def first_and_previous(embeddings: Tensor) -> float:
    """Mean over the frames from the second on of (cosine with the previous + cosine with the first) / 2, cosines not below 0.

    VBench's subject consistency with DINO ViT-B/16 and background consistency with CLIP ViT-B/32 (arXiv:2311.17982).
    """
    e = _unit(embeddings)
    previous, first = (e[1:] * e[:-1]).sum(1).clamp(min=0), (e[1:] @ e[0]).clamp(min=0)
    return float(((previous + first) / 2).mean())


def text_alignment(embeddings: Tensor, text: Tensor) -> float:
    """Mean cosine of the frames and one text embedding (D,): CLIPSIM (arXiv:2104.14806), on the scale of cosines, not times 100."""
    return float((_unit(embeddings, 1) @ F.normalize(text.double(), dim=0)).mean())


def frame_accuracy(embeddings: Tensor, source: Tensor, target: Tensor) -> float:
    """Share of frames nearer to the target prompt than to the source prompt (FateZero's code). An edit of nothing scores low."""
    e = _unit(embeddings, 1)
    return float((e @ F.normalize(target.double(), dim=0) > e @ F.normalize(source.double(), dim=0)).double().mean())


def _unit(embeddings: Tensor, at_least: int = 2) -> Tensor:
    if embeddings.ndim != 2 or len(embeddings) < at_least:
        raise ValueError(f"embeddings of shape {tuple(embeddings.shape)}: (T, D) with {at_least} frames or more are needed.")
    return F.normalize(embeddings.double(), dim=1)
