"""Every metric by name: what it is a number of, what it needs, and which kinds of damage it claims to see.

`sees` is a claim that the tests hold: over five strengths of that damage the metric gets strictly worse (where neither direction is better, it
strictly falls or rises). What is not listed it may miss or even reward, as consistency rewards a frozen clip. Of metrics whose weights the user
brings it is a claim and no more: `is_tested` is False.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flipbook.metrics.protocols import PROTOCOLS

Kind = Literal["sets", "pairs", "clips", "texts"]
"""sets: clips against clips.   pairs: each clip against its reference.   clips: each by itself.   texts: each against its caption."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """kind: see `Kind`.   says: one line.   needs: what the user brings, "" for nothing.   higher_is_better: None for neither.

    sees: kinds of damage (flipbook.metrics.corrupt) over which it gets strictly worse.   rewards: damage it takes for an improvement.
    """

    kind: Kind
    says: str
    needs: str = ""
    higher_is_better: bool | None = False
    sees: frozenset[str] = frozenset()
    rewards: frozenset[str] = frozenset()

    @property
    def is_tested(self) -> bool:
        """Whether tests hold what `sees` and `rewards` claim; they cannot where the user brings the weights."""
        return not self.needs.startswith("weights")


def _all(*names: str) -> frozenset[str]:
    return frozenset(names)


FULL = _all("blur", "noise", "freeze", "shuffle", "colour")
_OWN = {"world-features": FULL | {"blocks", "flicker"}, "world-features-kernel": FULL | {"blocks", "flicker"}}
_SETS = {
    name: Metric(
        kind="sets", says=protocol.source, needs="" if protocol.extractor == "world-features" else f"weights: {protocol.extractor}",
        higher_is_better=protocol.estimator == "is", sees=_OWN.get(name, frozenset()),
    )
    for name, protocol in PROTOCOLS.items()
}  # fmt: skip

METRICS: dict[str, Metric] = {
    **_SETS,
    "psnr": Metric(kind="pairs", says="mean of the frames' peak signal-to-noise ratio, dB", higher_is_better=True, sees=FULL),
    "ssim": Metric(kind="pairs", says="structural similarity, 11 x 11 Gaussian window", higher_is_better=True, sees=FULL),
    "lpips": Metric(kind="pairs", says="learned perceptual distance, arXiv:1801.03924", needs="weights: backbone and --heads", sees=FULL),
    "warping-error": Metric(
        kind="pairs", says="change along the reference's optical flow, arXiv:1808.00449", needs="OpenCV",
        sees=_all("noise", "flicker", "freeze", "shuffle"), rewards=_all("blur"),
    ),
    "sharpness": Metric(
        kind="clips", says="mean squared Laplacian of the brightness", higher_is_better=True, sees=_all("blur"), rewards=_all("noise")
    ),
    "motion": Metric(
        kind="clips", says="optical flow in short sides per second", needs="OpenCV", higher_is_better=None,
        sees=_all("freeze", "shuffle"),
    ),
    "dynamic-degree": Metric(
        kind="clips", says="vbench-like: share of clips that move", needs="OpenCV", higher_is_better=None
    ),
    "flickering": Metric(
        kind="clips", says="vbench-like: 1 minus the change from frame to frame", higher_is_better=True,
        sees=_all("noise", "shuffle", "flicker"), rewards=_all("freeze", "blur"),
    ),
    "smoothness": Metric(
        kind="clips", says="vbench-like: frames made again by blending their neighbours", higher_is_better=True,
        sees=_all("noise", "shuffle", "flicker"), rewards=_all("freeze", "blur"),
    ),
    "clip-consistency": Metric(
        kind="clips", says="cosine of consecutive frames", needs="weights: a CLIP folder", higher_is_better=True,
        rewards=_all("freeze"),
    ),
    "clip-consistency-all-pairs": Metric(
        kind="clips", says="cosine of all pairs of frames", needs="weights: a CLIP folder", higher_is_better=True, rewards=_all("freeze"),
    ),
    "background-consistency": Metric(
        kind="clips", says="vbench-like: cosine with previous and first frame", needs="weights: a CLIP folder", higher_is_better=True,
        rewards=_all("freeze"),
    ),
    "clipsim": Metric(
        kind="texts", says="cosine of frames and caption, scale 0 to 1, arXiv:2104.14806", needs="weights: a CLIP folder",
        higher_is_better=True,
    ),
}  # fmt: skip


def metric_named(name: str) -> Metric:
    """The metric of a name. Raises ValueError for others, DimensionRefused for a VBench dimension that cannot be computed."""
    from flipbook.hints import nearest
    from flipbook.metrics.vbench import DIMENSIONS, require

    if name in METRICS:
        return METRICS[name]
    plain = name.replace("-", " ").replace("_", " ")
    if plain in DIMENSIONS:
        dimension = require(plain)
        raise ValueError(f"VBench's {plain!r} is computed by {dimension.computed_by}, on one clip at a time. See docs/metrics.md.")
    raise ValueError(f"metric {name!r} is not known. {nearest(name, METRICS)}")
