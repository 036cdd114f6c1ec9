"""What a comparison scores, by name: what is read from each clip, and what from each training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flipbook.hints import nearest
from flipbook.video import Video

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Score:
    """says: one line.   unit: behind the number.   higher_is_better: None where neither is.
    per:     "clip": one value for each clip; "run": one for each arm and repeat.
    read:    (record of a clip, or result of a run) -> value; None where it was not asked for.
    measure: a clip to the number that `read` then finds as record["measured"][name].
    compare: how an arm stands to the first one, as a difference or as a ratio.
    share:   the values are right or wrong, and the mean is a share.   needs_training: there is none without.
    """

    says: str
    read: Callable[[Record], Any]
    unit: str = ""
    higher_is_better: bool | None = True
    per: Literal["clip", "run"] = "clip"
    measure: Callable[[Video], float] | None = None
    compare: Literal["difference", "ratio"] = "difference"
    share: bool = False
    needs_training: bool = False


def score_named(name: str) -> Score:
    """The score of a name. Raises ValueError naming the nearest."""
    if name not in SCORES:
        raise ValueError(f"score {name!r} is not known. {nearest(name, SCORES)}")
    return SCORES[name]


def measurer(names: Sequence[str]) -> Callable[[Video], dict[str, float]]:
    """What takes the numbers of all named scores from a clip."""
    wanted = {name: measure for name in names if (measure := score_named(name).measure) is not None}
    return lambda video: {name: round(float(measure(video)), 6) for name, measure in wanted.items()}


def _judged(name: str, says: str) -> Score:
    return Score(says=says, read=lambda record: record["attributes"].get(name), share=True)


def _measured(name: str, says: str, measure: Callable[[Video], float], *, unit: str = "", higher_is_better: bool | None = True) -> Score:
    return Score(says=says, read=lambda record: record["measured"][name], measure=measure, unit=unit, higher_is_better=higher_is_better)


def _probe(name: str) -> Callable[[Video], float]:
    def measure(video: Video) -> float:
        from flipbook.metrics.probes import probe_video

        return probe_video(video, [name], shot_starts=[])[0].value

    return measure


def _closed_form(name: str) -> Callable[[Video], float]:
    def measure(video: Video) -> float:
        from flipbook.metrics.measure import WITHOUT_NETWORK, Look
        from flipbook.shapes import pixels_to_tensor

        return WITHOUT_NETWORK[name][0](Look(pixels_to_tensor(video.frames), video.fps))

    return measure


def _identity(video: Video) -> float:
    from flipbook.metrics.truth.identity import kept_share

    return kept_share(video)


def _jitter(video: Video) -> float:
    from flipbook.metrics.truth.identity import jitter

    return jitter(video)


def _lawful(video: Video) -> float:
    from flipbook.metrics.truth import read_clip

    things = read_clip(video).objects
    return float(bool(things) and things[0].motion is not None)


def _trained(key: str, says: str, **more: Any) -> Score:
    return Score(says=says, read=lambda result: result["training"].get(key), per="run", needs_training=True, **{"higher_is_better": False, **more})


SCORES: dict[str, Score] = {
    "all": Score(says="clips in which everything asked for is right", read=lambda record: record["right"], share=True),
    "objects": _judged("objects", "clips with as many objects as asked for, each there in nearly all frames"),
    "colour": _judged("colour", "clips with the right colours"),
    "shape": _judged("shape", "clips with the right shapes"),
    "size": _judged("size", "clips with the right sizes, where asked for"),
    "motion": _judged("motion", "clips in which what moves moves as the words say"),
    "background": _judged("background", "clips with the right background"),
    "order": _judged("order", "clips of two objects of which neither wears what is the other's"),
    "lawful": Score(
        says="clips whose clearest object moves by any law of the world, asked for or not", share=True, measure=_lawful,
        read=lambda record: bool(record["measured"]["lawful"]),
    ),
    "identity": _measured("identity", "share of objects that the next frame has again: near, of that colour and size", _identity),
    "jitter": _measured(
        "jitter", "how far the largest thing is from half-way between its places before and after", _jitter, unit="short sides",
        higher_is_better=False,
    ),
    "flicker": _measured("flicker", "turning back of the mean brightness", _probe("flicker"), unit="grey levels", higher_is_better=False),
    "local flicker": _measured(
        "local flicker", "turning back of the brightness of parts", _probe("local flicker"), unit="grey levels", higher_is_better=False
    ),
    "flickering": _measured("flickering", "1 minus the change from frame to frame, as VBench; motion counts as flicker", _closed_form("flickering")),
    "smoothness": _measured("smoothness", "frames made again by blending their neighbours, as VBench", _closed_form("smoothness")),
    "sharpness": _measured("sharpness", "mean squared Laplacian of the brightness; noise raises it", _closed_form("sharpness")),
    "validation": _trained("validation", "validation loss, by each arm's own objective"),
    "seconds": Score(
        says="seconds per update, or per clip where nothing is trained", unit="s", higher_is_better=False, per="run", compare="ratio",
        read=lambda result: result["seconds"],
    ),
    "parameters": _trained("parameters", "weights that are trained, in thousands", compare="ratio", unit="k", higher_is_better=None),
}  # fmt: skip
"""Every score by name; add one here."""
