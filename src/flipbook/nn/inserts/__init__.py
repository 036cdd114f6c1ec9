"""Inserts: what makes a video network of an image network, as data.

A published video U-Net is the image U-Net and a table of inserts. Each insert says where it sits, what it is, how it is born and
what a frame that is an image by itself does when it comes by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from flipbook.nn.clip import Clip
from flipbook.nn.inserts.alpha_mixer import AlphaMixer, Form
from flipbook.nn.inserts.frame_adaptor import FrameAdaptor
from flipbook.nn.inserts.host import Host
from flipbook.nn.inserts.temporal_attention import AttentionOverTime, TemporalAttention
from flipbook.nn.inserts.temporal_block import FrameAwareBlock
from flipbook.nn.inserts.temporal_conv import TemporalConv
from flipbook.nn.inserts.temporal_transformer import TemporalTransformer

Position = Literal[
    "after_conv_in",            # once, behind the first convolution
    "after_conv",               # behind each 3 x 3 convolution of each residual block, before its next norm
    "after_resnet",             # behind each residual block
    "before_transformer",       # behind each residual block that a transformer follows, before that
    "after_self_attention",     # inside each transformer block, behind attention within the frame
    "before_mlp",               # inside each transformer block, behind attention to the tokens
    "after_mlp",                # inside each transformer block, at its end
    "after_spatial_attention",  # behind each image transformer and its own sum
    "after_pair",               # behind each residual block with its transformer; without one, behind the block; in the middle: once
    "after_level",              # behind each level and its change of size, and behind the middle; what a level leaves for the way up is taken before
]
Stage = Literal["in", "down", "mid", "up"]
Kind = TemporalConv | TemporalAttention | TemporalTransformer | FrameAwareBlock | FrameAdaptor

_KINDS: dict[str, Any] = {
    "temporal_conv": TemporalConv,
    "temporal_attention": TemporalAttention,
    "temporal_transformer": TemporalTransformer,
    "frame_aware_block": FrameAwareBlock,
    "frame_adaptor": FrameAdaptor,
}


@dataclass(frozen=True, kw_only=True)
class Insert:
    """One row of a table of inserts.

    name:   what its weights are called: `....inserts.<name>....`.
    at:     the insertion point, one of `Position`.
    kind:   what it is: `TemporalConv`, `TemporalAttention`, `TemporalTransformer`, `FrameAwareBlock` or `FrameAdaptor`.
    stages: where in the network: any of "in" (behind the first convolution), "down", "mid", "up".
    levels: on which levels, 0 the finest; None: all. The middle belongs to the last.
    mix:    None: the insert's own sum stands. "clamp", "sigmoid": an alpha mixer weighs its input against its output.
    start:  "identity": the network answers as the image network until it is trained. "plain": torch's own random values.
            "zero_qkv": identity, with queries, keys and values at zero too (LVDM's text model; only distance tables let it learn).
    bypass: what happens to frames that are images by themselves. "skip": they leave as they came. "alone": they pass the layer
            as clips of one frame. Either way no other frame touches them.
    """

    name: str
    at: Position
    kind: Kind
    stages: tuple[Stage, ...] = ("in", "down", "mid", "up")
    levels: tuple[int, ...] | None = None
    mix: Form | None = None
    start: Literal["identity", "plain", "zero_qkv"] = "identity"
    bypass: Literal["skip", "alone"] = "skip"

    def __post_init__(self) -> None:
        if self.at not in get_args(Position):
            raise ValueError(f"insertion point {self.at!r} is unknown. Try one of {', '.join(get_args(Position))}.")
        if not self.name.isidentifier():
            raise ValueError(f"insert name {self.name!r} becomes part of weight names. Try letters, digits and underscores.")


@dataclass(frozen=True)
class InsertTable:
    """All inserts of a network, in the order in which they run where several share a place."""

    rows: tuple[Insert, ...] = ()

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"two inserts share a name in {names}. Give each row its own.")


def insert_table(value: Any) -> InsertTable:
    """A table as it stands in a JSON config, as rows, or as it is."""
    if isinstance(value, InsertTable):
        return value
    rows = value["rows"] if isinstance(value, dict) else value
    return InsertTable(tuple(row if isinstance(row, Insert) else _insert(row) for row in rows))


def _insert(row: dict[str, Any]) -> Insert:
    kind = dict(row["kind"])
    if kind.get("kind") not in _KINDS:
        raise ValueError(f"kind {kind.get('kind')!r} of an insert is unknown. Try one of {', '.join(_KINDS)}.")
    if isinstance(kind.get("attention"), dict):
        kind["attention"] = AttentionOverTime(**_tuples(kind["attention"]))
    return Insert(**_tuples({**row, "kind": _KINDS[kind["kind"]](**_tuples(kind))}))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


class PluggedInsert(nn.Module):
    """An insert in its place: the branch, its mixer, its bypass."""

    def __init__(self, row: Insert, host: Host):
        super().__init__()
        self.row = row
        branch: Any = row.kind.build(host)
        self.branch = branch
        self.mixer = AlphaMixer(row.mix) if row.mix else None
        if row.start != "plain" and row.mix != "clamp":                     # a mixer at 1 is the identity for any branch
            branch.start_as_identity()
        if row.start == "zero_qkv":
            for name, layer in branch.named_modules():
                if name.rpartition(".")[2] in ("q", "k", "v"):
                    nn.init.zeros_(layer.weight)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:                     # (B, T, H, W, C), same back
        y = self.branch(x, clip)
        if self.mixer is not None:
            y = self.mixer(x, y)
        if clip.still is not None and self.row.bypass == "skip":
            y = torch.where(clip.still[:, :, None, None, None], x, y)
        return y


class Sockets(nn.ModuleDict):
    """The inserts of one host (a residual block, a transformer block, a layer, a level, the network), by name."""

    def __init__(self, rows: Iterable[Insert], host: Host):
        super().__init__({row.name: PluggedInsert(row, host) for row in rows})

    def plug(self, at: Position, x: Tensor, clip: Clip) -> Tensor:
        """Run what sits at an insertion point, in the table's order."""
        insert: Any
        for insert in self.values():
            if insert.row.at == at:
                x = insert(x, clip)
        return x
