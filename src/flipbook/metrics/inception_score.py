"""The inception score, exp(E KL(p(y|x) || p(y))), of class logits (arXiv:1606.03498; for video arXiv:1611.06624).

For video it is defined with one network alone, C3D fine-tuned on UCF-101, and says something only about UCF-101.
"""

from __future__ import annotations

import numpy as np

from flipbook.metrics.moments import check_features


def inception_score(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation over consecutive splits of logits (N, classes); between 1 and the number of classes.

    Raises ValueError if a split would be empty.
    """
    x = check_features(logits)
    if not 1 <= splits <= len(x):
        raise ValueError(f"splits={splits} of {len(x)} clips. Try 1 to {len(x)}; published scores use 10.")
    log_p = x - x.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    scores = [_score(log_p[i * len(x) // splits : (i + 1) * len(x) // splits]) for i in range(splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p: np.ndarray) -> float:
    p = np.exp(log_p)
    return float(np.exp((p * (log_p - np.log(p.mean(0)))).sum(1).mean()))
