"""How published set distances are measured, as data: what is read, how it is cut and scaled, which network, which estimator.

The names of FVD's variants are the names of the code that defines them. None of their numbers compares with another's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flipbook.metrics.moments import Divisor

Window = Literal["whole", "first", "random"]
"""Which frames of a file: all of them, the first ones, or a window at a random place; one window per file in any case."""


@dataclass(frozen=True, kw_only=True)
class SetProtocol:
    """name:   what the number is called.   extractor: which network (see `flipbook.metrics.extractors.build_extractor`).
    estimator: frechet, kvd, jedi or is; `divisor` belongs to the covariance of frechet.
    num_frames, stride: length and spacing of the window; None takes what the files hold.
    real_window, fake_window: where the window lies.   drop_short: leave out files that are too short; otherwise they are an error.
    size, size_rule: what clips are brought to first, as a data loader does; None: as they are.
    input_size, input_rule: what the network then gets.   min_frames: below this the network cannot look at a clip.
    num_real, num_fake: how many clips; None: all.   repeat_fakes: draw fakes again until there are enough (a published habit).
    multiple_of: the number of clips on each side has to be a multiple of it.
    uses_clips: "videos", or "frames" where each clip gives one frame.   source: where this is defined.
    """

    name: str
    extractor: str
    estimator: Literal["frechet", "kvd", "jedi", "is"] = "frechet"
    divisor: Divisor | None = "n-1"
    num_frames: int | None = 16
    stride: int = 1
    real_window: Window = "whole"
    fake_window: Window = "whole"
    drop_short: bool = False
    size: int | None = None
    size_rule: str | None = None
    input_size: int | None = 224
    input_rule: str | None = "squash-bilinear"
    min_frames: int = 1
    num_real: int | None = None
    num_fake: int | None = None
    repeat_fakes: bool = False
    multiple_of: int = 1
    uses_clips: Literal["videos", "frames"] = "videos"
    source: str = ""


def _stylegan_v(name: str, num_frames: int, stride: int = 1) -> SetProtocol:
    return SetProtocol(
        name=name, extractor="i3d-torchscript", divisor="n", num_frames=num_frames, stride=stride, min_frames=9,
        real_window="random", fake_window="first", drop_short=True, num_real=2048, num_fake=2048,
        source="arXiv:2112.14683, universome/stylegan-v: src/metrics/frechet_video_distance.py",
    )  # fmt: skip


_CD_FVD = {
    "real_window": "random", "fake_window": "random", "drop_short": True, "divisor": "n", "num_fake": 2048, "repeat_fakes": True,
    "size": 256, "size_rule": "short-side-crop-antialiased", "source": "arXiv:2404.12391, package cd-fvd 0.1.1",
}  # fmt: skip
_COMMON = {
    "num_frames": None, "input_rule": "short-side-crop", "min_frames": 10,
    "source": "JunyaoHu/common_metrics_on_video_quality: calculate_fvd.py",
}  # fmt: skip

PROTOCOLS: dict[str, SetProtocol] = {
    protocol.name: protocol
    for protocol in (
        SetProtocol(
            name="fvd", extractor="i3d", min_frames=9, input_rule="squash-bilinear-tf1", multiple_of=16,
            source="arXiv:1812.01717, google-research/google-research: frechet_video_distance",
        ),
        _stylegan_v("fvd-stylegan-v-16f", 16),
        _stylegan_v("fvd-stylegan-v-128f", 128),
        _stylegan_v("fvd-stylegan-v-128f-every-8th", 16, stride=8),
        SetProtocol(name="fvd-cd-fvd", extractor="i3d", min_frames=9, **_CD_FVD),                     # type: ignore[arg-type]
        SetProtocol(name="cd-fvd", extractor="torchscript", **_CD_FVD),                              # type: ignore[arg-type]
        SetProtocol(name="fvd-common-metrics-videogpt", extractor="i3d", **_COMMON),                 # type: ignore[arg-type]
        SetProtocol(name="fvd-common-metrics-styleganv", extractor="i3d-torchscript-plain", **_COMMON),  # type: ignore[arg-type]
        SetProtocol(
            name="kvd", extractor="i3d", estimator="kvd", divisor=None, min_frames=9,
            source="arXiv:1812.01717, kernel of arXiv:1801.01401",
        ),
        SetProtocol(
            name="jedi", extractor="torchscript", estimator="jedi", divisor=None, num_real=5000, num_fake=5000,
            source="arXiv:2410.05203, package videojedi",
        ),
        SetProtocol(
            name="is-c3d-ucf101", extractor="torchscript", estimator="is", divisor=None, input_rule=None, input_size=None,
            num_fake=2048, fake_window="first", source="arXiv:1611.06624; 2,048 clips as in arXiv:2112.14683",
        ),
        SetProtocol(
            name="fid-per-frame", extractor="inception", num_frames=1, real_window="random", fake_window="random",
            input_size=299, input_rule="squash-bilinear-tf1", uses_clips="frames",
            source="arXiv:1706.08500; one frame of each clip, since frames of one clip are no independent samples",
        ),
        SetProtocol(
            name="world-features", extractor="world-features", real_window="first", fake_window="first", input_size=64,
            input_rule="squash-bilinear-antialiased", source="flipbook's own network and clips; not FVD",
        ),
        SetProtocol(
            name="world-features-kernel", extractor="world-features", estimator="kvd", divisor=None, real_window="first",
            fake_window="first", input_size=64, input_rule="squash-bilinear-antialiased",
            source="flipbook's own network and clips; not KVD",
        ),
    )
}  # fmt: skip


def protocol_named(name: str) -> SetProtocol:
    """The protocol of a name. Raises ValueError; plain "fvd" is the original one, and no other answers to it."""
    if name not in PROTOCOLS:
        from flipbook.hints import nearest

        raise ValueError(f"protocol {name!r} is not known. {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_fields(protocol: SetProtocol) -> dict[str, Any]:
    """What of a protocol enters a fingerprint: everything but its name and source, and what the hash of the clips already tells."""
    from dataclasses import asdict

    fields = asdict(protocol)
    fields["extractor_kind"] = fields.pop("extractor")                          # "extractor" is the hash of its weights
    return {name: value for name, value in fields.items() if name not in ("name", "source", "repeat_fakes", "drop_short")}
