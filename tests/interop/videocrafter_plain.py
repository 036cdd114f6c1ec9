"""VideoCrafter's U-Net once more, plainly, from the description of arXiv:2310.19512 and the names in its checkpoints.

No class of the authors can be installed, so this is the reference: functions over a dictionary of weights under the authors' names. It
draws each weight when it first meets its name, so names and shapes are those of this page and not of the key map that it tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.nn.doors import Doors
from interop.unet_parity import draw


class Weights(dict):
    """Weights by name, drawn when they are first asked for."""

    def __init__(self, prefix: str = "", seed: int = 0):
        super().__init__()
        self.prefix, self.generator = prefix, torch.Generator().manual_seed(seed)

    def get_or_draw(self, name: str, *shape: int) -> Tensor:
        key = self.prefix + name
        if key not in self:
            scale = 0.2 if len(shape) < 2 else 1.0 / math.prod(shape[1:]) ** 0.5
            self[key] = torch.randn(shape, generator=self.generator) * scale
        return self[key]

    def linear(self, name: str, x: Tensor, out: int, bias: bool = True) -> Tensor:
        weight = self.get_or_draw(f"{name}.weight", out, x.shape[-1])
        return F.linear(x, weight, self.get_or_draw(f"{name}.bias", out) if bias else None)

    def conv(self, name: str, x: Tensor, out: int, size: int = 3, stride: int = 1) -> Tensor:
        weight = self.get_or_draw(f"{name}.weight", out, x.shape[1], size, size)
        return F.conv2d(x, weight, self.get_or_draw(f"{name}.bias", out), stride=stride, padding=size // 2)

    def over_time(self, name: str, x: Tensor) -> Tensor:                    # (B, C, T, H, W)
        weight = self.get_or_draw(f"{name}.weight", x.shape[1], x.shape[1], 3, 1, 1)
        return F.conv3d(x, weight, self.get_or_draw(f"{name}.bias", x.shape[1]), padding=(1, 0, 0))

    def groups(self, name: str, x: Tensor, eps: float) -> Tensor:
        return F.group_norm(x, 32, self.get_or_draw(f"{name}.weight", x.shape[1]), self.get_or_draw(f"{name}.bias", x.shape[1]), eps)

    def layer(self, name: str, x: Tensor) -> Tensor:
        c = x.shape[-1]
        return F.layer_norm(x, (c,), self.get_or_draw(f"{name}.weight", c), self.get_or_draw(f"{name}.bias", c))


@dataclass(frozen=True)
class Plain:
    """One of VideoCrafter's networks at toy size. reach: of the distance tables, None without; rows: of the picture, 0 without."""

    conv: bool
    reach: int | None
    fps: bool
    rows: int
    channels: int = 32
    sizes: tuple[int, ...] = (1, 2)
    depth: int = 1
    attends: tuple[bool, ...] = (True, False)
    head_dim: int = 8
    context: int = 12

    def __call__(self, w: Weights, x: Tensor, level: Tensor, tokens: Tensor, fps: Tensor) -> Tensor:
        b, c, frames = x.shape[:3]
        time = self.embedded(w, "time_embed", level)
        if self.fps:
            time = time + self.embedded(w, "fps_embedding", fps)
        time, tokens = (y.repeat_interleave(frames, dim=0) for y in (time, tokens))
        h = w.conv("input_blocks.0.0", x.transpose(1, 2).flatten(0, 1), self.channels)
        h = self.temporal(w, "init_attn.0", h, b, heads=8, linear=False)
        left, n = [h], 1
        for i, size in enumerate(self.sizes):
            for _ in range(self.depth):
                h = self.block(w, f"input_blocks.{n}", h, time, tokens, size * self.channels, self.attends[i], b)
                left.append(h)
                n += 1
            if i < len(self.sizes) - 1:
                h = w.conv(f"input_blocks.{n}.0.op", h, h.shape[1], stride=2)
                left.append(h)
                n += 1
        h = self.block(w, "middle_block", h, time, tokens, h.shape[1], True, b)
        h = self.resnet(w, "middle_block.3", h, time, h.shape[1], b)
        n = 0
        for i, size in reversed(list(enumerate(self.sizes))):
            for j in range(self.depth + 1):
                h = self.block(w, f"output_blocks.{n}", torch.cat([h, left.pop()], 1), time, tokens, size * self.channels, self.attends[i], b)
                if i and j == self.depth:
                    h = w.conv(f"output_blocks.{n}.{3 if self.attends[i] else 1}.conv", F.interpolate(h, scale_factor=2.0), h.shape[1])
                n += 1
        h = w.conv("out.2", F.silu(w.groups("out.0", h, 1e-5)), c)
        return h.unflatten(0, (b, frames)).transpose(1, 2)

    def embedded(self, w: Weights, name: str, number: Tensor) -> Tensor:
        half = self.channels // 2
        angle = number.float()[:, None] / 10_000.0 ** (torch.arange(half) / half)
        h = w.linear(f"{name}.0", torch.cat([angle.cos(), angle.sin()], dim=1), 4 * self.channels)
        return w.linear(f"{name}.2", F.silu(h), 4 * self.channels)

    def block(self, w, name, h, time, tokens, out, attends, b):
        h = self.resnet(w, f"{name}.0", h, time, out, b)
        if attends:
            h = self.spatial(w, f"{name}.1", h, tokens)
            h = self.temporal(w, f"{name}.2", h, b, heads=out // self.head_dim)
        return h

    def resnet(self, w, name, x, time, out, b):
        h = w.conv(f"{name}.in_layers.2", F.silu(w.groups(f"{name}.in_layers.0", x, 1e-5)), out)
        h = h + w.linear(f"{name}.emb_layers.1", F.silu(time), out)[:, :, None, None]
        h = w.conv(f"{name}.out_layers.3", F.silu(w.groups(f"{name}.out_layers.0", h, 1e-5)), out)
        h = h + (x if x.shape[1] == out else w.conv(f"{name}.skip_connection", x, out, size=1))
        if self.conv:
            y = clip = h.unflatten(0, (b, -1)).transpose(1, 2)
            for n in range(1, 5):
                place = f"{name}.temopral_conv.conv{n}"
                y = w.over_time(f"{place}.{2 if n == 1 else 3}", F.silu(w.groups(f"{place}.0", y, 1e-5)))
            h = (clip + y).transpose(1, 2).flatten(0, 1)
        return h

    def spatial(self, w, name, x, tokens):
        c = x.shape[1]
        h = w.linear(f"{name}.proj_in", w.groups(f"{name}.norm", x, 1e-6).flatten(2).transpose(1, 2), c)
        h = self.transformer(w, f"{name}.transformer_blocks.0", h, c // self.head_dim, tokens=tokens)
        return x + w.linear(f"{name}.proj_out", h, c).transpose(1, 2).unflatten(2, x.shape[2:])

    def temporal(self, w, name, x, b, *, heads, linear=True):
        clip = x.unflatten(0, (b, -1)).transpose(1, 2)                      # (B, C, T, H, W)
        _, c, t, height, width = clip.shape
        inner, axes = heads * self.head_dim, () if linear else (1,)
        h = w.groups(f"{name}.norm", clip, 1e-6).permute(0, 3, 4, 2, 1).reshape(-1, t, c)
        weight = w.get_or_draw(f"{name}.proj_in.weight", inner, c, *axes)
        h = F.linear(h, weight.flatten(1), w.get_or_draw(f"{name}.proj_in.bias", inner))
        h = self.transformer(w, f"{name}.transformer_blocks.0", h, heads)
        weight = w.get_or_draw(f"{name}.proj_out.weight", c, inner, *axes)
        h = F.linear(h, weight.flatten(1), w.get_or_draw(f"{name}.proj_out.bias", c))
        h = h.reshape(b, height, width, t, c).permute(0, 4, 3, 1, 2)
        return (clip + h).transpose(1, 2).flatten(0, 1)

    def transformer(self, w, name, x, heads, tokens=None):
        over_time = tokens is None
        h = w.layer(f"{name}.norm1", x)
        x = x + self.attention(w, f"{name}.attn1", h, h, heads, over_time)
        h = w.layer(f"{name}.norm2", x)
        x = x + self.attention(w, f"{name}.attn2", h, h if over_time else tokens, heads, over_time, picture=not over_time)
        value, gate = w.linear(f"{name}.ff.net.0.proj", w.layer(f"{name}.norm3", x), 8 * x.shape[-1]).chunk(2, dim=-1)
        return x + w.linear(f"{name}.ff.net.2", value * F.gelu(gate), x.shape[-1])

    def attention(self, w, name, x, source, heads, over_time, picture=False):
        inner = heads * self.head_dim
        split = {"": source}
        if picture and self.rows:
            split = {"": source[:, : -self.rows], "_ip": source[:, -self.rows :]}
        q = w.linear(f"{name}.to_q", x, inner, bias=False)
        out = 0.0
        for suffix, rows in split.items():
            k, v = (w.linear(f"{name}.to_{a}{suffix}", rows, inner, bias=False) for a in "kv")
            out = out + torch.cat([
                self.one_head(w, name, *(y[..., i * self.head_dim : (i + 1) * self.head_dim] for y in (q, k, v)), over_time) for i in range(heads)
            ], dim=-1)  # fmt: skip
        return w.linear(f"{name}.to_out.0", out, x.shape[-1])

    def one_head(self, w, name, q, k, v, over_time):
        logits = q @ k.transpose(1, 2)
        tables = over_time and self.reach is not None
        if tables:
            n = q.shape[1]
            far = torch.tensor([[max(-self.reach, min(self.reach, j - i)) + self.reach for j in range(n)] for i in range(n)])
            keys, values = (
                w.get_or_draw(f"{name}.relative_position_{a}.embeddings_table", 2 * self.reach + 1, self.head_dim)[far] for a in "kv"
            )
            logits = logits + (q[:, :, None] * keys).sum(-1)
        shares = (logits / math.sqrt(self.head_dim)).softmax(-1)
        out = shares @ v
        return out + (shares[..., None] * values).sum(2) if tables else out


NETWORKS = {
    "text to video at 512": Plain(conv=False, reach=2, fps=False, rows=0),
    "text to video at 1024": Plain(conv=False, reach=4, fps=True, rows=0),
    "version 2": Plain(conv=True, reach=None, fps=True, rows=0),
    "image to video": Plain(conv=True, reach=None, fps=True, rows=3),
    "three sizes, two layers": Plain(conv=True, reach=None, fps=True, rows=3, sizes=(1, 2, 2), depth=2, attends=(True, True, False)),
}
"""The published networks at toy size, and one that is deeper."""


@dataclass(frozen=True)
class Given:
    """What a network was called with; doors as ours take it."""

    x: Tensor
    level: Tensor
    doors: Doors


def answered(plain: Plain, frames: int = 3, size: int = 8) -> tuple[Given, Tensor, Weights]:
    """Inputs, the plain answer, and the weights that it met."""
    w = Weights("model.diffusion_model.")
    x, level, fps = draw(2, 4, frames, size, size), torch.tensor([37, 998]), torch.tensor([8.0, 24.0])
    text, picture = draw(2, 5, plain.context, seed=2), draw(2, plain.rows, plain.context, seed=3)
    doors = Doors(tokens=text, picture_tokens=picture if plain.rows else None, vector=fps[:, None] if plain.fps else None)
    return Given(x, level, doors), plain(w, x, level, torch.cat([text, picture], dim=1), fps), w
