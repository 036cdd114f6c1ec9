"""Metrics of single clips, pairs and captions over a whole set: one value a clip, their mean, its interval, its fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from flipbook.encoders.optical_flow import NAME as SEARCH
from flipbook.encoders.optical_flow import optical_flow_of_clip
from flipbook.metrics import consistency, vbench
from flipbook.metrics.catalogue import METRICS, metric_named
from flipbook.metrics.clips import ClipSource, clip_source
from flipbook.metrics.distance import Clips, set_distance
from flipbook.metrics.fidelity import psnr_per_frame, ssim_per_frame
from flipbook.metrics.intervals import bootstrap
from flipbook.metrics.measurement import Fingerprint, Measurement
from flipbook.metrics.motion import dynamic_degree, motion_per_second, sharpness, warping_error
from flipbook.nn.warp import is_consistent
from flipbook.shapes import pixels_to_tensor
from flipbook.video import Video

BEST_PSNR = 99.0               # dB: what equal frames are given, so that means stay finite
FREEZES = "a frozen clip scores best: read it beside `motion`"


@dataclass(frozen=True)
class Look:
    """What a metric is told of one clip: itself, its rate, its reference and caption where there are any."""

    clip: Tensor                                                                 # (3, T, H, W) in [-1, 1]
    fps: float
    reference: Tensor | None = None
    caption: str = ""


def measure(
    name: str,
    clips: Clips,
    reference: Clips | None = None,
    *,
    captions: Sequence[str] | None = None,
    weights: str | Path | None = None,
    heads: str | Path | None = None,
    fps: float = 8.0,
    seed: int = 0,
    draws: int = 200,
    **options: object,
) -> Measurement:
    """Any metric of `flipbook.metrics.catalogue` over a set of clips.

    reference: the real clips of a set distance, or the clip that each should be, in the same order.
    captions:  one a clip, for metrics that compare with words.   weights, heads: files or folders that the metric needs.
    fps:       frames per second of clips that carry none (arrays); files keep their own.
    options:   of `flipbook.metrics.distance.set_distance`, for set distances.

    Raises ValueError for an unknown metric, a missing reference, caption or file, and DimensionRefused for what cannot be computed.
    """
    metric = metric_named(name)
    if metric.kind == "sets":
        return set_distance(reference, clips, name, weights=weights, seed=seed, draws=draws, **options)  # type: ignore[arg-type]
    if options:
        raise ValueError(f"{name} knows no {', '.join(options)}: only distances between sets of clips do.")
    source = clip_source(clips)
    sources = clip_source(reference) if reference is not None else None
    _check(name, metric.kind, len(source), sources, captions)
    judge, fields, remarks = _judge(name, weights, heads, captions)
    values, frames, sizes = [], set(), set()
    for i in range(len(source)):
        clip, rate = _read(source, clips, i, fps)
        fixed = _read(sources, reference, i, fps)[0] if sources is not None else None
        values.append(judge(Look(clip, rate, fixed, captions[i] if captions else "")))
        frames.add(clip.shape[1])
        sizes.add(tuple(clip.shape[2:]))
    rows = np.array(values, dtype=np.float64)
    low, high = bootstrap(lambda x: float(np.mean(x)), (rows,), draws=draws, seed=seed)
    fields |= {"clips": len(rows), "frames": _span(frames), "size": _span(sizes), "range": "[-1, 1] from 8 bits", "estimator": "mean"}
    fields |= {"against": _against(sources, captions)}
    return Measurement(
        value=float(rows.mean()), low=low, high=high, fingerprint=Fingerprint(name, fields), higher_is_better=metric.higher_is_better,
        remarks=remarks, details={"each": [round(float(value), 6) for value in rows]},
    )  # fmt: skip


def _judge(
    name: str, weights: str | Path | None, heads: str | Path | None, captions: Sequence[str] | None
) -> tuple[Callable[[Look], float], dict, tuple[str, ...]]:
    """The metric as a function of one clip, what of it enters the fingerprint, and what a reader must know."""
    if name in WITHOUT_NETWORK:
        return (*WITHOUT_NETWORK[name],)
    if name in ("warping-error", "motion", "dynamic-degree"):
        return _FLOW[name], {"optical_flow": SEARCH}, ("blur lowers it: read it beside `sharpness`",) if name == "warping-error" else ()
    if weights is None:
        raise ValueError(f"{name} needs {METRICS[name].needs}, which flipbook may not ship. Give the path with --weights.")
    if name == "lpips":
        from flipbook.metrics.extractors import network_hash
        from flipbook.metrics.lpips import LPIPS, lpips_per_frame

        if heads is None:
            raise ValueError("lpips needs its five heads beside the backbone. Give their file with --heads.")
        net = LPIPS.from_files("alex", weights, heads)
        return lambda look: float(lpips_per_frame(net, *_pair(look)).mean()), {"extractor": network_hash(net), "backbone": "alex"}, ()
    from flipbook.metrics.clip import load_clip

    eye = load_clip(weights)
    scores: Mapping[str, Callable[[Look], float]] = {
        "clip-consistency": lambda look: consistency.consecutive(eye.see(look.clip)),
        "clip-consistency-all-pairs": lambda look: consistency.all_pairs(eye.see(look.clip)),
        "background-consistency": lambda look: consistency.first_and_previous(eye.see(look.clip)),
        "clipsim": lambda look: consistency.text_alignment(eye.see(look.clip), eye.read(look.caption)[0]),
    }
    size = eye.model.config.vision_config.image_size
    fields = {"extractor": eye.sha256, "input_size": size, "input_rule": "short-side-bicubic-8-bit-crop", "scale": "cosine"}
    if name != "clipsim":
        return scores[name], fields, (FREEZES,)
    cut = sum(eye.read(caption)[1] for caption in captions or ())
    return scores[name], fields, (f"{cut} caption{'s were' if cut > 1 else ' was'} cut to what CLIP can read",) if cut else ()


def _psnr(look: Look) -> float:
    return float(psnr_per_frame(*_pair(look)).clamp(max=BEST_PSNR).mean())


def _warping(look: Look) -> float:
    there, back = optical_flow_of_clip(_pair(look)[0][0])
    return warping_error(look.clip, there, is_consistent(there, back))


def _motion(look: Look) -> float:
    return motion_per_second(optical_flow_of_clip(look.clip)[0], look.fps)


def _dynamic(look: Look) -> float:
    return float(dynamic_degree(optical_flow_of_clip(look.clip)[0]))


_FLOW: dict[str, Callable[[Look], float]] = {"warping-error": _warping, "motion": _motion, "dynamic-degree": _dynamic}
WITHOUT_NETWORK: dict[str, tuple[Callable[[Look], float], dict, tuple[str, ...]]] = {
    "psnr": (_psnr, {"mean_over": "frames", "equal_frames": BEST_PSNR}, ()),
    "ssim": (lambda look: float(ssim_per_frame(*_pair(look)).mean()), {"window": "gaussian-11-1.5", "border": "cut"}, ()),
    "sharpness": (lambda look: sharpness(look.clip), {}, ("noise raises it",)),
    "flickering": (lambda look: vbench.temporal_flickering(look.clip), {"label": "vbench-like"}, (FREEZES, "motion counts as flicker")),
    "smoothness": (lambda look: vbench.motion_smoothness(look.clip), {"label": "vbench-like", "interpolator": "blend"}, (FREEZES,)),
}


def _pair(look: Look) -> tuple[Tensor, Tensor]:
    """Reference and clip as batches of one."""
    assert look.reference is not None
    if look.reference.shape != look.clip.shape:
        raise ValueError(
            f"a clip of shape {tuple(look.clip.shape)} and its reference of shape {tuple(look.reference.shape)}: cut and size them alike first."
        )
    return look.reference[None], look.clip[None]


def _check(name: str, kind: str, count: int, sources: ClipSource | None, captions: Sequence[str] | None) -> None:
    if kind == "pairs" and (sources is None or len(sources) != count):
        raise ValueError(f"{name} compares each clip with its reference: {count} clips want {count} references, in the same order.")
    if kind == "texts" and (captions is None or len(captions) != count):
        raise ValueError(f"{name} compares each clip with its caption: {count} clips want {count} captions, one a line of --captions.")
    if kind == "clips" and sources is not None:
        raise ValueError(f"{name} looks at each clip by itself. Leave the reference out.")


def _read(source: ClipSource, given: Clips | None, index: int, fps: float) -> tuple[Tensor, float]:
    if source.paths:
        video = Video.read(source.paths[index], audio=False)
        return pixels_to_tensor(video.frames), video.fps
    one = given[index] if isinstance(given, Sequence) and not isinstance(given, str) else None
    return pixels_to_tensor(np.array(source.frames(index))), one.fps if isinstance(one, Video) else fps


def _against(sources: ClipSource | None, captions: Sequence[str] | None) -> str | None:
    """Hash of what clips are compared with."""
    import hashlib

    if sources is None and captions is None:
        return None
    digest = hashlib.sha256(repr(list(captions)).encode() if captions is not None else b"")
    for i in range(len(sources) if sources is not None else 0):
        frames = sources.frames(i)                                               # type: ignore[union-attr]
        digest.update(repr(frames.shape).encode() + np.ascontiguousarray(frames).tobytes())
    return digest.hexdigest()


def _span(values: set) -> object:
    """The one value, or how many there are."""
    if len(values) != 1:
        return f"{len(values)} kinds"
    value = next(iter(values))
    return "x".join(map(str, value)) if isinstance(value, tuple) else value
