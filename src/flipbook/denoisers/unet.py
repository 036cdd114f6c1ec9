"""The image U-Net of the Stable Diffusion family (arXiv:2112.10752), and every video U-Net that is made of it.

An image network runs on each frame by itself; a table of inserts (`nn/inserts`) adds what touches other frames. Image weights
load unchanged, since an insert only ever adds names. `unet_tables.py` holds the published tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flipbook.denoisers.unet_blocks import ACTIVATIONS, Layer, Level, Resnet, Site, SpatialTransformer, TransformerBlock
from flipbook.nn.clip import Clip, GroupNorm, ImageConv, Scope, channels_first, channels_last, per_image
from flipbook.nn.doors import Doors
from flipbook.nn.embed import sinusoid, zero_
from flipbook.nn.features import Features
from flipbook.nn.inserts import InsertTable, insert_table
from flipbook.nn.inserts.micro_conditioning import VectorEmbedding, VectorPart, vector_part
from flipbook.nn.inserts.temporal_attention import FrameAttention
from flipbook.nn.run import Run, compile_each, run_plain
from flipbook.nn.transformer import TABLES, CrossAttention, KVFrames

Clock = Literal["levels", "edm"]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """A U-Net of the Stable Diffusion family. Tuples have one entry per level, finest first.

    in_channels, out_channels: of the noisy clip and of the answer (None: the same).
    channel_door:   channels that the `channels` door adds to the input.
    widths, depths: channels, and layers on the way down; the way up has one more.
    transformers:   transformer blocks behind each residual block, 0 for none; `mid_transformers` in the middle.
    heads, head_dim: attention heads per level, or channels per head; exactly one of the two.
    text_dim:       width of the `tokens` door; None for a network without one.
    text_alone:     levels whose transformers read the tokens twice and their frame not at all (Stable Diffusion's upscaler); (): none. The
                    middle has none of them.
    kv_frames:      which frames attention within a frame reads: "own", the "sparse_causal" two (the first and the one before,
                    arXiv:2212.11565), or the "first_frame" alone.
    picture_dim:    width of the `picture_tokens` door, which the image transformers read by keys and values of their own; None: no such door.
    vector:         what the columns of the `vector` door mean, in their order.
    given_clock:    frames marked as given get a time embedding of their own on top, silent at birth (LVDM, arXiv:2211.13221).
    groups, eps:    of the residual blocks' group norms; `down_eps` replaces eps on the way down, per level.
    norm:           what those norms span: "frame", or "clip" (AnimateDiff v1 as its authors ran it).
    time_scale_shift: time scales and shifts the second norm, instead of being added before it.
    clock:          what the time embedding is of: "levels", the number k of t = (k + 1) / num_levels; "edm", ln(sigma / alpha) / 4
                    of the path alpha = cos(pi t / 2), sigma = sin(pi t / 2).
    """

    in_channels: int = 4
    out_channels: int | None = None
    channel_door: int = 0
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    transformers: tuple[int, ...] = (1, 1, 1, 0)
    mid_transformers: int = 1
    heads: tuple[int, ...] | None = None
    head_dim: int | None = None
    text_dim: int | None = 768
    text_alone: tuple[bool, ...] = ()
    kv_frames: KVFrames = "own"
    picture_dim: int | None = None
    vector: tuple[VectorPart, ...] = ()
    given_clock: bool = False
    groups: int = 32
    eps: float = 1e-5
    down_eps: tuple[float, ...] | None = None
    norm: Scope = "frame"
    act: str = "silu"
    time_scale_shift: bool = False
    clock: Clock = "levels"
    num_levels: int = 1000
    inserts: InsertTable = field(default_factory=InsertTable)

    def __post_init__(self) -> None:
        for name in ("widths", "depths", "transformers", "heads", "text_alone", "down_eps"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        object.__setattr__(self, "vector", tuple(vector_part(part) for part in self.vector))
        object.__setattr__(self, "inserts", insert_table(self.inserts))
        for name in ("depths", "transformers", "heads", "text_alone", "down_eps"):
            value = getattr(self, name)
            if value and len(value) != len(self.widths):
                raise ValueError(f"{name}={value} has {len(value)} entries, but widths={self.widths} {len(self.widths)} levels. Give one per level.")
        if (self.heads is None) == (self.head_dim is None):
            raise ValueError("a U-Net needs either `heads`, one number per level, or `head_dim`. Try head_dim=64.")
        if self.kv_frames not in ("own", *TABLES):
            raise ValueError(f"kv_frames={self.kv_frames!r} is unknown. Try one of own, {', '.join(TABLES)}.")
        if any(self.text_alone) and self.text_dim is None:
            raise ValueError(f"text_alone={self.text_alone}: a network with text_dim=None has no tokens to read. Leave it out.")
        if self.act not in ACTIVATIONS:
            raise ValueError(f"act={self.act!r} is unknown. Try one of {', '.join(ACTIVATIONS)}.")
        for width, heads in zip(self.widths, self.level_heads, strict=True):
            if width % self.groups or not heads or width % heads:
                raise ValueError(f"a level of {width} channels does not divide into {self.groups} groups and {heads} heads. Try widths in multiples of 64.")

    @property
    def level_heads(self) -> tuple[int, ...]:
        """Attention heads per level."""
        return self.heads or tuple(width // (self.head_dim or 1) for width in self.widths)

    @property
    def time_dim(self) -> int:
        """Width of the time embedding."""
        return 4 * self.widths[0]


class UNet(nn.Module):
    """A denoiser of images, or of clips by its inserts; see the module's first lines."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = c = config
        widths, last = c.widths, len(c.widths) - 1
        self.time_in, self.time_out = nn.Linear(widths[0], c.time_dim), nn.Linear(c.time_dim, c.time_dim)
        self.vector = nn.ModuleList(VectorEmbedding(part, c.time_dim) for part in c.vector)
        self.given_in = nn.Linear(widths[0], c.time_dim) if c.given_clock else None
        self.given_out = zero_(nn.Linear(c.time_dim, c.time_dim)) if c.given_clock else None
        self.conv_in = nn.Conv2d(c.in_channels + c.channel_door, widths[0], 3, padding=1)
        self.inserts = self._site("in", 0).sockets(widths[0], "after_conv_in")

        left, x = [widths[0]], widths[0]                                    # channels of what the way down leaves for the way up
        self.down: Any = nn.ModuleList()
        for i, width in enumerate(widths):
            site = self._site("down", i)
            layers = [Layer(x if j == 0 else width, width, c.transformers[i], site) for j in range(c.depths[i])]
            self.down.append(Level(layers, width, site, ImageConv(width, width, stride=2) if i < last else None))
            left += [width] * (c.depths[i] + (i < last))
            x = width

        site = self._site("mid", last)
        self.mid: Any = nn.ModuleList([Layer(x, x, c.mid_transformers, site), Layer(x, x, 0, site, last=True)])

        self.up: Any = nn.ModuleList()
        for i, width in reversed(list(enumerate(widths))):
            site, layers = self._site("up", i), []
            for _ in range(c.depths[i] + 1):
                layers.append(Layer(x + left.pop(), width, c.transformers[i], site))
                x = width
            self.up.append(Level(layers, width, site, ImageConv(width, width) if i else None))

        self.norm_out = GroupNorm(c.groups, widths[0], c.eps, c.norm)
        self.conv_out = nn.Conv2d(widths[0], c.out_channels or c.in_channels, 3, padding=1)
        self._number_cross_attentions()
        self._initialise()

    def _site(self, stage: str, level: int) -> Site:
        c = self.config
        eps = c.down_eps[level] if stage == "down" and c.down_eps else c.eps
        rows = [row for row in c.inserts.rows if stage in row.stages and (row.levels is None or level in row.levels)]
        text_alone = stage != "mid" and bool(c.text_alone) and c.text_alone[level]
        return Site(
            c.level_heads[level], c.time_dim, c.text_dim, c.picture_dim, c.groups, eps, c.norm, c.act, c.time_scale_shift, c.kv_frames, text_alone, rows,
        )  # fmt: skip

    def _number_cross_attentions(self) -> None:
        self._readers = [layer for layer in self.modules() if isinstance(layer, CrossAttention)]
        for slot, layer in enumerate(self._readers):
            layer.slot = slot
        self._picture_readers = [layer for layer in self._readers if layer.picture_k is not None]
        for slot, layer in enumerate(self._picture_readers):
            layer.picture_slot = len(self._readers) + slot
        layers = [layer.how for layer in self.modules() if isinstance(layer, FrameAttention)]
        self._longest = min((how.max_frames for how in layers if "sinusoidal" in how.positions and how.longer != "interpolate"), default=None)
        self._over_clip = any(isinstance(layer, GroupNorm) and layer.over == "clip" for layer in self.modules())

    def _initialise(self) -> None:
        """Residual branches start silent, as the latent diffusion code has it."""
        for layer in self.modules():
            if isinstance(layer, Resnet):
                zero_(layer.conv2)
            elif isinstance(layer, SpatialTransformer):
                zero_(layer.leave)
        zero_(self.conv_out)

    @property
    def features(self) -> Features:
        """The map (B, T, H, W, C) at the end of the way up's last level but one: objects are whole there, and not yet drawn."""
        level = min(1, len(self.config.widths) - 1)
        return Features(self.up[-1 - level].made, self.config.widths[level], 2**level)

    def compile_blocks(self) -> None:
        """Compile the transformer blocks; convolutions and inserts between them stay with the vendor's kernels."""
        compile_each(module for module in self.modules() if isinstance(module, TransformerBlock))

    def prepare(self, doors: Doors) -> Doors:
        """Compute what does not change over the sampler's steps: keys and values of the tokens, then of a picture's, once per clip and layer.

        Raises ValueError for a picture's tokens that this network has no layers for.
        """
        if doors.tokens is None or doors.keys_values is not None:
            return doors
        made = [layer.keys_values(doors.tokens) for layer in self._readers]
        if doors.picture_tokens is not None:
            if not self._picture_readers:
                raise ValueError("this network reads text alone, and picture_tokens are given. Try an image-to-video network.")
            made += [layer.picture_keys_values(doors.picture_tokens) for layer in self._picture_readers]
        return doors.with_(keys_values=tuple(made))

    def forward(
        self,
        x: Tensor,                                                          # (B, C, T, H, W)
        t: Tensor,                                                          # (B,) or (B, T)
        doors: Doors | None = None,
        *,
        frame_is_given: Tensor | None = None,                               # (B, T) bool
        frame_index: Tensor | None = None,                                  # (B, T) real, in frames
        frame_attends: Tensor | None = None,                                # (T, T) or (B, T, T) bool, True = may attend
        image_only: Tensor | None = None,                                   # (B, T) bool, True = an image by itself
        cache: None = None,
        run: Run = run_plain,
    ) -> Tensor:
        """The network's prediction, (B, C', T, H, W). Any T from 1 on, any H and W.

        tokens (B, L, D), or (B, T, L, D) with a text per frame. residuals: one map (B, C, T, H, W) for what each step of the way
        down leaves for the way up, outermost first, and one more, for the middle (ControlNet, arXiv:2302.05543).
        run: what runs the layers, `StepCache.run` for instance.
        image_only frames and the others do not touch each other, whatever the inserts; nor do frames that frame_attends parts.
        Raises ValueError for doors that are missing or of another size, masks that a norm over the whole clip would break,
        clips longer than a sinusoidal table, and for a `cache`, which this network does not keep.
        """
        doors = self.prepare(doors or Doors())
        clip = self._clip(x, t, doors, frame_is_given, frame_index, frame_attends, image_only, run)
        if cache is not None:
            raise ValueError("this U-Net attends in both directions and keeps no KV cache. Leave cache=None.")

        h = per_image(self.conv_in, channels_last(self._with_channels(x, doors)))   # (B, T, H, W, C)
        h = self.inserts.plug("after_conv_in", h, clip)
        skips = [h]
        for level in self.down:
            h, left = level.down(h, clip)
            skips += left
        skips, middle = self._add_residuals(skips, doors)
        for layer in self.mid:
            h = run(layer, h, clip)
        if middle is not None:
            h = h + middle
        for level in self.up:
            h = level.up(h, skips, clip)
        h = ACTIVATIONS[self.config.act](self.norm_out(h, clip))
        return channels_first(per_image(self.conv_out, h))

    def _clip(
        self, x: Tensor, t: Tensor, doors: Doors, given: Tensor | None, index: Tensor | None, attends: Tensor | None, still: Tensor | None,
        run: Run,
    ) -> Clip:  # fmt: skip
        b, _, frames, _, _ = x.shape
        if self.config.text_dim is not None and doors.keys_values is None:
            raise ValueError(f"this U-Net reads tokens (B, L, {self.config.text_dim}), and none were given. Try the tokens of an empty text.")
        if index is None:
            index = torch.arange(frames, dtype=torch.float32, device=x.device)[None]
        if self._longest is not None and frames > 1 and index.max() >= self._longest:
            raise ValueError(
                f"frame_index reaches {float(index.max()):g}: this network's positions were trained for {self._longest} frames, 0 to {self._longest - 1}. "
                "Try fewer frames, or windows that start again at 0."
            )
        if attends is not None:
            attends = attends[None] if attends.dim() == 2 else attends
            if self._over_clip and not attends.all():
                raise ValueError("this network normalises over whole clips, so no frame can be kept from another. Try norm='frame' in its inserts.")
        if still is not None:
            alike = ~(still[:, :, None] | still[:, None, :]) | torch.eye(frames, dtype=torch.bool, device=x.device)
            attends = alike if attends is None else attends & alike
        time = ACTIVATIONS[self.config.act](self._time(t, doors, given, x.dtype))
        return Clip(b, frames, time, index, attends, still, doors.keys_values or (), doors.token_mask, run)

    def _time(self, t: Tensor, doors: Doors, given: Tensor | None, dtype: torch.dtype) -> Tensor:
        """(B, 1, E), or (B, T, E) where frames differ."""
        act = ACTIVATIONS[self.config.act]
        waves = sinusoid(clock_reading(t, self.config), self.config.widths[0]).to(dtype)
        waves = waves[:, None] if t.dim() == 1 else waves
        time = self.time_out(act(self.time_in(waves)))
        if self.given_in is not None and self.given_out is not None and given is not None:
            time = time + given[..., None].to(dtype) * self.given_out(act(self.given_in(waves)))
        if doors.vector is not None:
            columns = [part.width for part in self.config.vector]
            if doors.vector.shape[-1] != sum(columns):
                raise ValueError(f"the vector door is {doors.vector.shape[-1]} wide, this network reads {sum(columns)} columns ({self.config.vector}).")
            for embedding, part in zip(self.vector, doors.vector.split(columns, dim=-1), strict=True):
                time = time + embedding(part).to(dtype)[:, None]
        return time

    def _with_channels(self, x: Tensor, doors: Doors) -> Tensor:
        found = 0 if doors.channels is None else doors.channels.shape[1]
        if found != self.config.channel_door:
            raise ValueError(f"the channels door holds {found} channels, this network reads {self.config.channel_door}.")
        return x if doors.channels is None else torch.cat([x, doors.channels], dim=1)

    def _add_residuals(self, skips: list[Tensor], doors: Doors) -> tuple[list[Tensor], Tensor | None]:
        if not doors.residuals:
            return skips, None
        if len(doors.residuals) != len(skips) + 1:
            raise ValueError(f"the residuals door holds {len(doors.residuals)} maps, this network takes {len(skips)} for the way down and 1 for the middle.")
        maps = [channels_last(r) for r in doors.residuals]
        return [skip + r for skip, r in zip(skips, maps, strict=False)], maps[-1]


def clock_reading(t: Tensor, config: UNetConfig) -> Tensor:
    """What the time embedding is of, at t in [0, 1]; the shape of t, float32.

    Levels within 1e-3 of a whole number are that number: float32 t does not resolve more, and the public networks know nothing else.
    An EDM clock stands still below sigma = 1e-3 and above 1e4, so that clean frames (t = 0) and pure noise have a reading.
    """
    if config.clock == "levels":
        level = t.to(torch.float32) * config.num_levels - 1.0
        return torch.where((level - level.round()).abs() < 1e-3, level.round(), level)
    angle = t.to(torch.float64) * (math.pi / 2)
    return (torch.log((angle.sin() / angle.cos().clamp(min=1e-9)).clamp(1e-3, 1e4)) / 4).float()


def parameter_group(name: str) -> Literal["spatial", "temporal", "conditioning"]:
    """The stage-recipe group of a weight, by its name: inserts are temporal, vector and given-frame embeddings conditioning."""
    if any(part.startswith("inserts") for part in name.split(".")):
        return "temporal"
    return "conditioning" if name.startswith(("vector.", "given_")) else "spatial"


