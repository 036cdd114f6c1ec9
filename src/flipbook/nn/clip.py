"""A clip inside a network: frames as (B, T, H, W, C), channels last from end to end, and what its layers know about them.

Channels last makes every fold a view: image layers see (B T, C, H, W) in channels-last memory, linear layers see (..., C),
temporal layers see T as an ordinary axis. Nothing is copied between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook.nn.blocks import Blocks, may_use_kernels
from flipbook.nn.run import Run, run_plain

FrameMask = Literal["full", "causal", "identity"]
Scope = Literal["frame", "clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """What the layers of a network are told about the clip that they work on.

    batch, frames: B and T.
    time:          (B, 1, E) or (B, T, E): the noise level (and the `vector` door) after the embedding's last activation.
    index:         (1, T) or (B, T) real: where each frame stands in time.
    attends:       None (all), or bool (1, T, T) or (B, T, T), True where frame i may be touched by frame j.
    still:         None, or bool (B, T), True for a frame that is an image by itself and not part of the clip.
    keys_values:   per cross-attention layer, keys and values of the tokens: (B, L, heads, d), per frame (B, T, L, heads, d).
    token_mask:    None, or bool (B, L) or (B, T, L), True = may be attended.
    run:           what runs the network's larger layers: plainly, or from a step cache.
    """

    batch: int
    frames: int
    time: Tensor
    index: Tensor
    attends: Tensor | None = None
    still: Tensor | None = None
    keys_values: Sequence[tuple[Tensor, Tensor]] = ()
    token_mask: Tensor | None = None
    run: Run = run_plain

    def pairs(self, mask: FrameMask = "full") -> Tensor | None:
        """Which frame may read which, (1 or B, T, T) bool, under a layer's own mask; None where all may."""
        if mask == "full":
            return self.attends
        rule = torch.ones(1, self.frames, self.frames, dtype=torch.bool, device=self.index.device)
        rule = rule.tril() if mask == "causal" else torch.eye(self.frames, dtype=torch.bool, device=rule.device)[None]
        return rule if self.attends is None else rule & self.attends


def channels_last(x: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B, T, H, W, C), contiguous."""
    return x.permute(0, 2, 3, 4, 1).contiguous()


def channels_first(x: Tensor) -> Tensor:
    """(B, T, H, W, C) to (B, C, T, H, W)."""
    return x.permute(0, 4, 1, 2, 3).contiguous()


def per_image(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run an image layer, (N, C, H, W) to (N, C', H', W'), on every frame of (B, T, H, W, C): no copies on the way."""
    y = layer(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return y.reshape(*x.shape[:2], *y.shape[1:])


class ImageConv(nn.Conv2d):
    """A 3 x 3 convolution of images (N, C, H, W), padded by one. On a CPU, tiny pictures are laid out as rows of their neighbourhoods for one
    product: a convolution would spend longer on turning its kernel round than on the sum. (Not where gradients are wanted: its way back is slow.)"""

    TINY = 16           # pixels of such a picture
    blocked: Blocks | None = None

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        super().__init__(c_in, c_out, 3, stride=stride, padding=1)

    def forward(self, image: Tensor) -> Tensor:                             # type: ignore[override]
        height, width = image.shape[2:]
        blocked = self.blocked if self.blocked and may_use_kernels(image, self.weight) else None
        if torch.is_grad_enabled() or image.device.type != "cpu" or height * width > self.TINY:
            if blocked:
                return blocked.convolve(image, self.weight, self.bias, kernel=self.weight, stride=self.stride, padding=(1, 1))
            return super().forward(image)
        step = int(self.stride[0])
        padded = F.pad(image.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        near = padded.unfold(1, 3, step).unfold(2, 3, step).permute(0, 1, 2, 4, 5, 3)       # (N, H', W', 3, 3, C)
        matrix = self.weight.permute(0, 2, 3, 1).flatten(1)
        product = blocked.multiply(near.flatten(3), self.weight, self.bias, matrix=matrix) if blocked else F.linear(near.flatten(3), matrix, self.bias)
        return product.permute(0, 3, 1, 2)


class GroupNorm(nn.GroupNorm):
    """Group norm of a clip (B, T, H, W, C). `over` says what the statistics span.

    "frame": each frame by itself: no frame can touch another through it.
    "clip":  all frames together, as several published layouts were trained. Frames that are images by themselves are left
             out of the clip's statistics and get their own; a causal clip cannot be normalised so (`UNet` refuses).
    """

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, over: Scope = "frame"):
        super().__init__(groups, channels, eps)
        self.over = over

    def forward(self, x: Tensor, clip: Clip) -> Tensor:                     # type: ignore[override]
        if self.over == "frame":
            return per_image(self._images, x)
        if clip.still is None:
            b, t, h, w, c = x.shape
            y = self._images(x.reshape(b, t * h, w, c).permute(0, 3, 1, 2))
            return y.permute(0, 2, 3, 1).reshape(b, t, h, w, c)
        still = clip.still[:, :, None, None, None]
        return torch.where(still, per_image(self._images, x), self._over_some(x, ~still))

    LARGE = 64          # pixels of an image whose moments are worth summing by ourselves

    def _images(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W). On a CPU, torch's channels-last kernel takes two to three times as long as sums and one product over larger images,
        and eight times as long in bfloat16 as copies to float32 and back. Its backward (torch 2.13) writes the gradient of its input even where
        nobody wants one, to address 0, so that behind frozen layers the picture takes the other layout."""
        if x.device.type != "cpu":
            return super().forward(x).contiguous(memory_format=torch.channels_last)
        if self.over == "frame" and not torch.is_grad_enabled() and x[0, 0].numel() >= self.LARGE:
            return self._moments(x)
        image = x.contiguous() if torch.is_grad_enabled() and self.weight.requires_grad and not x.requires_grad else x
        if x.dtype == torch.bfloat16:
            y = F.group_norm(image.float(), self.num_groups, self.weight.float(), self.bias.float(), self.eps).to(x.dtype)
        else:
            y = super().forward(image)
        return y.contiguous(memory_format=torch.channels_last)

    def _moments(self, x: Tensor) -> Tensor:
        """The same by sums over the rows of pixels, and one multiple and one addend per image and channel."""
        n, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(n, h * w, c).float()
        count = h * w * c // self.num_groups
        mean, square = (total.view(n, self.num_groups, -1).sum(-1, keepdim=True) / count for total in (rows.sum(1), rows.square().sum(1)))
        scale = torch.rsqrt((square - mean * mean).clamp(min=0.0) + self.eps) * self.weight.float().view(self.num_groups, -1)
        shift = torch.addcmul(self.bias.float().view(self.num_groups, -1), mean, scale, value=-1)
        y = torch.addcmul(shift.view(n, 1, c), rows, scale.view(n, 1, c)).to(x.dtype)
        return y.view(n, h, w, c).permute(0, 3, 1, 2)

    def _over_some(self, x: Tensor, counted: Tensor) -> Tensor:
        """Statistics over the frames where `counted` (B, T, 1, 1, 1), applied to all."""
        groups = x.unflatten(-1, (self.num_groups, -1)).float()             # (B, T, H, W, G, C/G)
        weight = counted[..., None].float()
        share = weight / (weight.sum(1, keepdim=True) * groups[0, 0, :, :, 0].numel()).clamp(min=1)
        over = (1, 2, 3, 5)
        mean = (groups * share).sum(over, keepdim=True)
        variance = ((groups - mean).square() * share).sum(over, keepdim=True)
        y = ((groups - mean) * torch.rsqrt(variance + self.eps)).flatten(-2)
        return (y * self.weight.float() + self.bias.float()).to(x.dtype)


class TimeConv(nn.Module):
    """Convolution over T alone: (B, T, H, W, C) to (B, T, H, W, C'), odd kernel, zeros outside the clip.

    A tap is read only where the clip says that frame i may be touched by that neighbour, so a causal mask makes it causal.
    It runs as a 2D convolution over a (T, H W) picture, which channels last makes a view: on a CPU several times as fast as a
    3D convolution with a kernel of (3, 1, 1). Tiny frames are one product there, as in `ImageConv`.
    """

    TINY = 4            # pixels of such a frame
    blocked: Blocks | None = None

    def __init__(self, c_in: int, c_out: int, kernel: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in, kernel))
        self.bias = nn.Parameter(torch.empty(c_out))
        bound = 1.0 / (kernel * c_in) ** 0.5                                # as torch's own convolutions
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, clip: Clip) -> Tensor:
        half, frames = self.weight.shape[-1] // 2, x.shape[1]
        if frames == 1:
            return F.linear(x, self.weight[:, :, half], self.bias)
        if clip.attends is None and self.blocked and may_use_kernels(x, self.weight):
            picture, kernel = x.flatten(2, 3).permute(0, 3, 1, 2), self.weight[..., None]
            y = self.blocked.convolve(picture, self.weight, self.bias, kernel=kernel, stride=(1, 1), padding=(half, 0))
            return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)
        if clip.attends is None and x.device.type == "cpu" and not torch.is_grad_enabled() and x[0, 0, ..., 0].numel() <= self.TINY:
            near = F.pad(x, (0, 0, 0, 0, 0, 0, half, half)).unfold(1, 2 * half + 1, 1).movedim(-1, -2)          # (B, T, H, W, k, C)
            return F.linear(near.flatten(-2), self.weight.transpose(1, 2).flatten(1), self.bias)
        if clip.attends is None:
            picture = x.flatten(2, 3).permute(0, 3, 1, 2)                   # (B, C, T, H W)
            y = F.conv2d(picture, self.weight[..., None], self.bias, padding=(half, 0))
            return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)
        y = F.linear(x, self.weight[:, :, half], self.bias)
        for offset in range(-half, half + 1):
            if 0 < abs(offset) < frames:
                here, there = slice(max(0, -offset), frames - max(0, offset)), slice(max(0, offset), frames - max(0, -offset))
                linked = clip.attends.diagonal(offset, 1, 2)                # (1 or B, T - |offset|): may i be touched by i + offset?
                touch = F.linear(x[:, there] * linked[:, :, None, None, None], self.weight[:, :, half + offset])
                y = y + F.pad(touch, (0, 0, 0, 0, 0, 0, here.start, frames - here.stop))
        return y
