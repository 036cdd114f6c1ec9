"""LVDM, Latent Video Diffusion Models: long clips by a hierarchy of prediction and interpolation that forgives its own errors.

Known frames stand in the noisy clip itself, at a noise level of their own that the network is told frame by frame: what it was
taught on is as imperfect as what it will see of itself (conditional latent perturbation). With `clips` latents pack four frames by the
paper's 3D autoencoder, and a clip goes on from its last latent frame; without, frames are packed one by one, and frames between others are made too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

from flipbook.autoencoders.clip import ClipAutoencoder, ClipAutoencoderConfig
from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import LVDM as TABLE
from flipbook.long.cascade import Cascade, CascadeStage
from flipbook.long.known import BY_FRAMES, MARK
from flipbook.long.stage import levels_with_given
from flipbook.process.process import Process
from flipbook.process.spacing import leading
from flipbook.process.vp import VP
from flipbook.systems.base import Card, Group, Stage, System
from flipbook.systems.demo import Demo, Lesson, between, demo_unet, first_clip

Kind = Literal["prediction", "interpolation"]

CARD = Card(
    name="lvdm",
    title="Latent Video Diffusion Models for High-Fidelity Long Video Generation",
    arxiv="2211.13221",
    year=2022,
    authors="Yingqing He, Tianyu Yang, Yong Zhang, Ying Shan, Qifeng Chen",
    reproduces=(
        "Per-frame timesteps with an embedding of their own for known frames, which stand noised in the clip beside a mask.",
        "The 3D autoencoder, 4 frames of 8 x 8 pixels to a cell (`clips`), taught against a discriminator of patches of clips in the end.",
        "Temporal attention with distance tables for keys and values, L1 on eps, the paper's schedule.",
        "Sparse frames predicted chunk by chunk, then the frames between each pair; guidance towards or away from the mask-free answer.",
    ),
    leaves_out=(
        "Interpolation between latents that pack four frames: the 3D autoencoder serves prediction, the whole hierarchy has frames packed one by one.",
        "The perceptual term of the 3D autoencoder's loss.",
        "Guidance without the mask keeps the known frames' own time embedding.",
    ),
    citation="@article{he2022lvdm, title={Latent Video Diffusion Models for High-Fidelity Long Video Generation}, author={He, Yingqing and Yang, "
    "Tianyu and Zhang, Yong and Shan, Ying and Chen, Qifeng}, journal={arXiv:2211.13221}, year={2022}}",
)

_ALL: tuple[Group, ...] = ("spatial", "temporal", "conditioning")
PERTURBED = (0.0, 0.25)
"""Levels of known frames in training: the first 250 of 1000."""

STAGES = (
    Stage(
        name="autoencoder", trains=(), data="clips, for `clips`; the latents' price is nil, as in the paper", objective="autoencoding",
        options={"kl": 0.0, "adversary": {"weight": 0.5, "start": 50_000}}, parts=("autoencoder",),
    ),
    Stage(
        name="prediction", trains=_ALL, data="sparse frames of clips; half of the time the first one is known", objective="conditioned",
        options={"loss": "l1", "drop_text": 1.0, "known": {"take": "first", "counts": (1,), "levels": PERTURBED, "share": 0.5}},
    ),
    Stage(
        name="interpolation", trains=_ALL, data="dense frames of clips; nine times of ten both ends are known", objective="conditioned",
        options={"loss": "l1", "drop_text": 1.0, "known": {"take": "ends", "levels": PERTURBED, "share": 0.9}},
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LVDMConfig:
    """kind: which of the models; they differ in their weights alone.   level: noise of known frames while sampling, 0.1 in the code.

    clips: latents pack frames together by `clip_autoencoder`; False: each frame by itself, by `autoencoder`.
    """

    kind: Kind = "prediction"
    denoiser: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            widths=(256, 512, 768, 1024), depths=(3, 3, 3, 3), transformers=(0, 1, 1, 1), heads=(8, 8, 8, 8), text_dim=None, channel_door=1,
            given_clock=True, time_scale_shift=True, inserts=TABLE,
        )
    )  # fmt: skip
    autoencoder: KLAutoencoderConfig = field(default_factory=KLAutoencoderConfig)
    clip_autoencoder: ClipAutoencoderConfig = field(default_factory=ClipAutoencoderConfig)
    clips: bool = False
    level: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is no model of LVDM. Try one of {', '.join(get_args(Kind))}.")


TINY = LVDMConfig(
    denoiser=UNetConfig(
        widths=(16, 32), depths=(1, 1), transformers=(1, 1), heads=(2, 2), text_dim=None, channel_door=1, groups=8, given_clock=True,
        time_scale_shift=True, inserts=TABLE,
    ),
    autoencoder=KLAutoencoderConfig(dims=(8, 16), blocks=1, groups=4), clip_autoencoder=ClipAutoencoderConfig(pack=(4, 4, 4), dim=8, groups=4),
)  # fmt: skip

_DEMO = LVDMConfig(denoiser=demo_unet(TINY.denoiser))
DEMO = Demo(
    networks={"prediction": _DEMO, "interpolation": replace(_DEMO, kind="interpolation")},
    lessons=(
        Lesson(network="prediction", stage="prediction", frames=4, stride=4, batch=32, share=0.7),
        Lesson(network="interpolation", stage="interpolation", start="prediction", frames=5, stride=1, batch=24, share=0.3),
    ),
    cascade=Cascade("lvdm", (
        first_clip("prediction", num_frames=7, fps=2.0, window=4, overlap=1, level=0.1, prompt=False, guidance_scale=1.0),
        between("interpolation", num_frames=25, fps=8.0, gap=4, level=0.1, prompt=False, guidance_scale=1.0),
    )),
    asks="nothing",
)  # fmt: skip
"""Two chunks of sparse frames, then the three frames in each of their gaps: half as long again as the clips that it was taught on."""

DEFAULTS: dict[str, Any] = {
    "num_frames": 4, "fps": 2.0, "height": 256, "width": 256, "sampler": "ddim", "num_inference_steps": 50, "guidance_scale": 0.9,
}  # fmt: skip


def compose(*, name: str = "lvdm", defaults: dict[str, Any] | None = None, level: float = 0.1, **parts: Any) -> System:
    """A model of parts that are there. level: noise of known frames while sampling. It reads no text."""
    return System(
        **{"text_encoder": None, **parts}, name=name, method=CARD.name, process=Process(VP(beta_start=0.0015, beta_end=0.0155), predicts="eps"),
        defaults=DEFAULTS | (defaults or {}), conditions=(BY_FRAMES, MARK), levels=levels_with_given(level, partial(leading, offset=1)),
        index_fps=None, unit_noise=True,
    )  # fmt: skip


def build(config: LVDMConfig | None = None) -> System:
    """One of the models with fresh weights."""
    config = config or LVDMConfig()
    autoencoder = ClipAutoencoder(config.clip_autoencoder) if config.clips else KLAutoencoder(config.autoencoder)
    defaults = {"num_frames": 4 * config.clip_autoencoder.pack[0]} if config.clips else None
    return compose(
        name=f"{CARD.name}-{config.kind}", denoiser=UNet(config.denoiser), autoencoder=autoencoder, level=config.level, defaults=defaults,
    )  # fmt: skip


def cascade(
    models: dict[str, str] | None = None, *, window: int = 4, passes: int = 4, gap: int = 4, height: int = 256, width: int = 256, level: float = 0.1,
    pack: int = 1,
) -> Cascade:  # fmt: skip
    """Sparse frames, chunk after chunk that each know the last frame before them, then `gap` - 1 frames between each pair.

    pack: frames in each of the `window` latent frames of a chunk. Above 1 a chunk knows the last of them before it, and nothing is made between.
    """
    models = models or {kind: f"lvdm-{kind}" for kind in get_args(Kind)}
    sparse = window + (passes - 1) * (window - 1)
    shape: dict[str, Any] = {"height": height, "width": width, "level": level, "prompt": False}
    first = CascadeStage(
        name="sparse", makes="clip", model=models["prediction"], num_frames=pack * sparse, fps=2.0 * pack, window=pack * window, overlap=pack, **shape,
    )  # fmt: skip
    dense = CascadeStage(
        name="dense", makes="between", model=models["interpolation"], num_frames=gap * (sparse - 1) + 1, fps=2.0 * gap, gap=gap, **shape,
    )  # fmt: skip
    return Cascade("lvdm", (first, dense) if pack == 1 else (first,))
