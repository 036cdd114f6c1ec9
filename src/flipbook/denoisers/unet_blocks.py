"""The blocks of the image U-Net, on clips (B, T, H, W, C), with the places where inserts sit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.clip import Clip, GroupNorm, ImageConv, Scope, per_image
from flipbook.nn.inserts import Insert, Sockets
from flipbook.nn.inserts.host import Host
from flipbook.nn.transformer import CrossAttention, GatedMLP, KVFrames, SelfAttention

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu": F.gelu}
IN_RESNET = ("after_conv",)
IN_TRANSFORMER = ("after_self_attention", "before_mlp", "after_mlp")


@dataclass(frozen=True)
class Site:
    """What a block needs to know to be built at its place in the network."""

    heads: int
    time_dim: int
    text_dim: int | None
    picture_dim: int | None
    groups: int
    eps: float
    norm: Scope
    act: str
    time_scale_shift: bool
    kv_frames: KVFrames
    text_alone: bool
    inserts: Sequence[Insert]           # those of this stage

    def rows(self, *at: str) -> list[Insert]:
        """The inserts that sit at some insertion points."""
        return [row for row in self.inserts if row.at in at]

    def sockets(self, channels: int, *at: str) -> Sockets:
        """The inserts of a host that offers some insertion points."""
        return Sockets(self.rows(*at), Host(channels, self.heads, self.groups, self.eps, self.time_dim, self.text_dim))


class Resnet(nn.Module):
    """norm, act, conv, + time, norm, act, conv, + input. Inserts: `after_conv`, behind either convolution."""

    def __init__(self, c_in: int, c_out: int, site: Site):
        super().__init__()
        self.act, self.scale_shift = ACTIVATIONS[site.act], site.time_scale_shift
        self.norm1 = GroupNorm(site.groups, c_in, site.eps, site.norm)
        self.conv1 = ImageConv(c_in, c_out)
        self.time = nn.Linear(site.time_dim, 2 * c_out if site.time_scale_shift else c_out)
        self.norm2 = GroupNorm(site.groups, c_out, site.eps, site.norm)
        self.conv2 = ImageConv(c_out, c_out)
        self.shortcut = nn.Linear(c_in, c_out) if c_in != c_out else None
        self.inserts1, self.inserts2 = site.sockets(c_out, *IN_RESNET), site.sockets(c_out, *IN_RESNET)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        h = per_image(self.conv1, self.act(self.norm1(x, clip)))
        h = self.inserts1.plug("after_conv", h, clip)
        time = self.time(clip.time)[:, :, None, None]                       # (B, 1 or T, 1, 1, C')
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=-1)
            h = self.norm2(h, clip) * (1 + scale) + shift
        else:
            h = self.norm2(h + time, clip)
        h = per_image(self.conv2, self.act(h))
        h = self.inserts2.plug("after_conv", h, clip)
        return h + (x if self.shortcut is None else self.shortcut(x))


class TransformerBlock(nn.Module):
    """Attention within the frame (or to the tokens once more), attention to the tokens, gated MLP, each normed before and added after."""

    def __init__(self, dim: int, site: Site):
        super().__init__()
        heads = site.heads
        self.norm1 = nn.LayerNorm(dim)
        self.attention: nn.Module = SelfAttention(dim, heads, dim // heads, site.kv_frames)
        if site.text_alone and site.text_dim is not None:
            self.attention = CrossAttention(dim, heads, dim // heads, site.text_dim)
        self.norm2 = nn.LayerNorm(dim) if site.text_dim is not None else None
        self.cross = CrossAttention(dim, heads, dim // heads, site.text_dim, site.picture_dim) if site.text_dim is not None else None
        self.norm3, self.mlp = nn.LayerNorm(dim), GatedMLP(dim)
        self.inserts = site.sockets(dim, *IN_TRANSFORMER)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        x = x + self.attention(self.norm1(x), clip)
        x = self.inserts.plug("after_self_attention", x, clip)
        if self.norm2 is not None and self.cross is not None:
            x = x + self.cross(self.norm2(x), clip)
        x = self.inserts.plug("before_mlp", x, clip)
        x = x + self.mlp(self.norm3(x))
        return self.inserts.plug("after_mlp", x, clip)


class SpatialTransformer(nn.Module):
    """Group norm, linear in, blocks, linear out, added to the input."""

    def __init__(self, dim: int, depth: int, site: Site):
        super().__init__()
        self.norm = GroupNorm(site.groups, dim, 1e-6)
        self.enter, self.leave = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.blocks = nn.ModuleList(TransformerBlock(dim, site) for _ in range(depth))

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        h = self.enter(self.norm(x, clip))
        for block in self.blocks:
            h = block(h, clip)
        return x + self.leave(h)


class Layer(nn.Module):
    """A residual block and, where its level has one, the image transformer behind it. last: it ends the middle."""

    def __init__(self, c_in: int, c_out: int, depth: int, site: Site, *, last: bool = False):
        super().__init__()
        places = ("after_resnet", *(("before_transformer", "after_spatial_attention") if depth else ()), "after_level" if last else "after_pair")
        self.resnet = Resnet(c_in, c_out, site)
        self.transformer = SpatialTransformer(c_out, depth, site) if depth else None
        self.inserts = site.sockets(c_out, *places)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        x = self.resnet(x, clip)
        x = self.inserts.plug("after_resnet", x, clip)
        if self.transformer is not None:
            x = self.inserts.plug("before_transformer", x, clip)
            x = self.transformer(x, clip)
            x = self.inserts.plug("after_spatial_attention", x, clip)
        return self.inserts.plug("after_level", self.inserts.plug("after_pair", x, clip), clip)


class Level(nn.Module):
    """The layers at one size, then a change of size: `resize` is a strided convolution, or one behind a doubling."""

    def __init__(self, layers: Sequence[Layer], channels: int, site: Site, resize: nn.Conv2d | None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.inserts = site.sockets(channels, "after_level")
        self.made = nn.Identity()                                           # is handed what the layers made: others may listen here
        self.resize = resize

    def down(self, x: Tensor, clip: Clip) -> tuple[Tensor, list[Tensor]]:
        """The level's result, half as high and wide, and what each of its steps leaves for the way up."""
        left = []
        for layer in self.layers:
            x = clip.run(layer, x, clip)
            left.append(x)
        if self.resize is not None:
            x = per_image(self.resize, x)
            left.append(x)
        return self.inserts.plug("after_level", x, clip), left

    def up(self, x: Tensor, left: list[Tensor], clip: Clip) -> Tensor:
        """The level's result, as high and wide as the next level; takes what the way down left, last first."""
        for layer in self.layers:
            x = clip.run(layer, torch.cat([x, left.pop()], dim=-1), clip)
        x = self.made(x)
        if self.resize is not None:
            _, _, height, width, _ = left[-1].shape
            x = per_image(partial(self._grow, (height, width)), x)
        return self.inserts.plug("after_level", x, clip)

    def _grow(self, size: tuple[int, int], image: Tensor) -> Tensor:
        assert self.resize is not None
        return self.resize(F.interpolate(image, size=size, mode="nearest"))
