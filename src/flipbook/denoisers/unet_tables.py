"""Published video U-Nets as tables of inserts on the image U-Net: what sits where, how it is born, what stills do.

`TABLES` has them by name. Heads that a row leaves open are those of the image network at its level. Where a paper is silent
(marked so), the row holds our choice.
"""

from __future__ import annotations

from flipbook.nn.clip import Scope
from flipbook.nn.inserts import (
    FrameAdaptor,
    FrameAwareBlock,
    Insert,
    InsertTable,
    TemporalAttention,
    TemporalConv,
    TemporalTransformer,
)
from flipbook.nn.inserts.temporal_attention import AttentionOverTime

_RELATIVE = TemporalAttention(heads=8, positions=("bucket", "rope"), rope_dim=32)

VDM = InsertTable((
    Insert(name="temporal_attention_in", at="after_conv_in", kind=_RELATIVE, bypass="alone"),
    Insert(name="temporal_attention", at="after_spatial_attention", kind=_RELATIVE, bypass="alone"),
))
"""Video Diffusion Models, arXiv:2204.03458: factorised attention; appended stills read themselves alone. Layout of lucidrains' code."""

MAKE_A_VIDEO = InsertTable((
    Insert(name="temporal_conv", at="after_conv", kind=TemporalConv(layout="dirac")),
    Insert(name="temporal_attention", at="after_spatial_attention", kind=TemporalAttention()),
))
"""Make-A-Video, arXiv:2209.14792: pseudo-3D convolution and attention; images skip both."""

IMAGEN_VIDEO = InsertTable((
    Insert(name="temporal_attention", at="after_spatial_attention", kind=TemporalAttention(positions=("bucket",)), bypass="alone"),
))
"""Imagen Video's base, arXiv:2210.02303; its positions are our choice."""

IMAGEN_VIDEO_SR = InsertTable((
    Insert(name="temporal_conv", at="after_pair", kind=TemporalConv(layout="k3x2"), bypass="alone"),
))
"""Imagen Video's super-resolution stages: temporal convolution alone; its layout is our choice."""

VIDEO_LDM = InsertTable((
    Insert(name="temporal_conv", at="after_resnet", kind=TemporalConv(layout="k3x2"), mix="clamp"),
    Insert(name="temporal_attention", at="after_spatial_attention", kind=TemporalAttention(positions=("sinusoidal",)), mix="clamp"),
))
"""VideoLDM, Align Your Latents, arXiv:2304.08818: mixers that start at the image model."""

MAGIC_VIDEO = InsertTable((
    Insert(name="frame_adaptor", at="after_conv", kind=FrameAdaptor(num_frames=16)),
    Insert(name="temporal_attention", at="after_spatial_attention", kind=TemporalAttention(mask="causal")),
))
"""MagicVideo, arXiv:2211.11018: an affine per frame, attention to earlier frames, no temporal convolution."""

LVDM = InsertTable((
    Insert(name="temporal_attention", at="after_spatial_attention", kind=TemporalAttention(positions=("shaw",), max_frames=4)),
))
"""LVDM, arXiv:2211.13221: distance tables as long as the latent clip."""

LVDM_TEXT = InsertTable((
    Insert(name="temporal_attention_1", at="after_self_attention", kind=TemporalAttention(positions=("shaw",), max_frames=16), start="zero_qkv"),
    Insert(name="temporal_attention_2", at="before_mlp", kind=TemporalAttention(positions=("shaw",), max_frames=16), start="zero_qkv"),
))
"""LVDM's text model: two temporal attentions per block, all of them zero at birth but for the distance tables."""

def modelscope(
    *, head_dim: int | None = 64, norm: Scope = "clip", dropout: float = 0.1, conv: bool = True, reach: int | None = None
) -> InsertTable:
    """ModelScopeT2V's inserts, arXiv:2308.06571: no positions, norms over whole clips, image batches skip (times 0).

    head_dim: of the transformer behind the first convolution, which has 8 heads. norm="frame" where clips are causal.
    conv, reach: without temporal convolutions, and with tables for distances up to `reach` frames (VideoCrafter 1).
    """
    order = {} if reach is None else {"positions": ("shaw",), "max_frames": reach}
    first = TemporalTransformer(attention=AttentionOverTime(heads=8, head_dim=head_dim, **order), norm=norm)  # type: ignore[arg-type]
    rows = (
        Insert(name="temporal_in", at="after_conv_in", kind=first),
        Insert(name="temporal_conv", at="after_resnet", kind=TemporalConv(layout="k3x4", norm=norm, dropout=dropout)),
        Insert(
            name="temporal_transformer", at="after_spatial_attention",
            kind=TemporalTransformer(attention=AttentionOverTime(**order), norm=norm),  # type: ignore[arg-type]
        ),
    )  # fmt: skip
    return InsertTable(tuple(row for row in rows if conv or row.name != "temporal_conv"))


MODELSCOPE = modelscope()
"""ModelScopeT2V and Zeroscope."""

VIDEOCRAFTER = MODELSCOPE
"""VideoCrafter 1's image-to-video network and 2, arXiv:2310.19512 and 2401.09047: ModelScope's layers on Stable Diffusion 2.1."""

VIDEOCRAFTER_1 = modelscope(conv=False, reach=16)
"""VideoCrafter 1's text-to-video networks: no temporal convolution, tables of distances tell the order of frames."""

SHOW_1 = MODELSCOPE
"""Show-1, arXiv:2309.15818: ModelScope's layers, in its pixel stages on DeepFloyd IF's network."""

LAVIE = InsertTable((
    Insert(name="temporal_attention", at="before_mlp", kind=TemporalAttention(positions=("bucket", "rope"), rope_dim=32)),
))
"""LaVie, arXiv:2309.15103: temporal attention alone, before each MLP; appended stills skip it."""

LAVIE_INTERPOLATION = InsertTable((Insert(name="temporal_attention", at="after_mlp", kind=TemporalAttention()),))
"""LaVie's interpolation network, as its authors' code has it: behind each MLP, without positions. Its sparse-causal attention tells the order."""

LAVIE_VSR = InsertTable((
    Insert(name="temporal_conv", at="after_level", kind=TemporalConv(layout="k5x2", norm="clip", eps=1e-6)),
    Insert(name="temporal_resnet", at="before_transformer", kind=TemporalConv(layout="k3x2", norm="clip", eps=1e-6, timed=False)),
    LAVIE.rows[0],
))
"""LaVie's upscaler: a module behind each level of a frozen image upscaler and behind its middle, a residual block over time before each of its
transformers, and the base's attention in each of their blocks."""

SVD = InsertTable((
    Insert(name="temporal_conv", at="after_resnet", kind=TemporalConv(layout="k3x2", norm="clip"), mix="sigmoid"),
    Insert(name="temporal_block", at="after_mlp", kind=FrameAwareBlock(), mix="sigmoid"),
))
"""Stable Video Diffusion, arXiv:2311.15127: mixers, and a block that knows each frame's place."""


def animatediff(*, max_frames: int = 32, middle: bool = True, heads: int | None = 8, norm: Scope = "frame", depth: int = 1) -> InsertTable:
    """AnimateDiff's motion module, arXiv:2307.04725: after every pair of a residual block and an attention.

    max_frames: length of the position table, 24 in v1. middle: v2 has one in the middle block too.
    norm: "frame" as its authors ran it, "clip" as diffusers does.
    """
    attention = AttentionOverTime(heads=heads, positions=("sinusoidal",), max_frames=max_frames)
    kind = TemporalTransformer(attention=attention, depth=depth, norm=norm)
    return InsertTable((Insert(name="motion", at="after_pair", kind=kind, stages=("down", "mid", "up") if middle else ("down", "up")),))


ANIMATEDIFF_V1 = animatediff(max_frames=24, middle=False)
ANIMATEDIFF_V2 = animatediff()
ANIMATEDIFF_V3 = animatediff(middle=False)

TABLES: dict[str, InsertTable] = {
    "vdm": VDM, "make-a-video": MAKE_A_VIDEO, "imagen-video": IMAGEN_VIDEO, "imagen-video-sr": IMAGEN_VIDEO_SR, "video-ldm": VIDEO_LDM,
    "magic-video": MAGIC_VIDEO, "lvdm": LVDM, "lvdm-text": LVDM_TEXT, "videocrafter": VIDEOCRAFTER, "videocrafter-1": VIDEOCRAFTER_1, "modelscope": MODELSCOPE,
    "show-1": SHOW_1, "lavie": LAVIE, "lavie-interpolation": LAVIE_INTERPOLATION, "lavie-vsr": LAVIE_VSR, "svd": SVD,
    "animatediff-v1": ANIMATEDIFF_V1, "animatediff-v2": ANIMATEDIFF_V2, "animatediff-v3": ANIMATEDIFF_V3,
}  # fmt: skip
"""The published tables by name."""
