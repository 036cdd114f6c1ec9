"""How close frames are to the frames they should be: PSNR and SSIM, on values in [0, 1], per frame and then averaged."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.shapes import fold_frames

TAPS, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def psnr_per_frame(reference: Tensor, output: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame, dB, (B, T); infinite for equal ones. Clips (B, C, T, H, W) in [-1, 1].

    Their mean is the published number for video; the ratio of the mean error, which weighs bad frames more, is `psnr_of_clip`.
    """
    x, y = _same(reference, output)
    return -10 * torch.log10(((x - y) / 2).square().mean((1, 3, 4)))


def psnr_of_clip(reference: Tensor, output: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of the error over a whole clip, dB, (B,); never above the mean over frames."""
    x, y = _same(reference, output)
    return -10 * torch.log10(((x - y) / 2).square().mean((1, 2, 3, 4)))


def ssim_per_frame(reference: Tensor, output: Tensor) -> Tensor:
    """Structural similarity of each frame, (B, T), 1 for equal ones. Clips (B, C, T, H, W) in [-1, 1], sides of 11 and more.

    As published (Wang et al. 2004): Gaussian window of 11 x 11 with sigma 1.5, population statistics, K = 0.01 and 0.03, no border,
    each channel by itself. Windows are separable, so two passes of 11 taps do the work of 121.
    """
    x, y = _same(reference, output)
    if min(x.shape[-2:]) < TAPS:
        raise ValueError(f"frames of {x.shape[-2]} x {x.shape[-1]}: the window of SSIM is {TAPS} x {TAPS}. Try larger frames.")
    b, _, t, _, _ = x.shape
    x, y = (fold_frames(z).add(1).div(2) for z in (x, y))                        # (B T, C, H, W) in [0, 1]
    mx, my, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y], 1)).chunk(5, 1)
    c1, c2 = K1**2, K2**2
    alike = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    alike = alike * (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)
    return alike.mean((1, 2, 3)).view(b, t)


def _blur(x: Tensor) -> Tensor:
    """Gaussian means over windows that lie inside the frame: (N, C, H - 10, W - 10)."""
    offsets = torch.arange(TAPS, dtype=x.dtype, device=x.device) - TAPS // 2
    taps = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    taps = (taps / taps.sum()).expand(x.shape[1], 1, 1, -1)
    return F.conv2d(F.conv2d(x, taps, groups=x.shape[1]), taps.transpose(2, 3), groups=x.shape[1])


def _same(reference: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64. Raises ValueError if shapes differ or values leave [-1, 1]: a silent crop or scale moves every number."""
    if reference.shape != output.shape or reference.ndim != 5:
        raise ValueError(f"clips of shapes {tuple(reference.shape)} and {tuple(output.shape)}: both are to be (B, C, T, H, W), alike.")
    for x in (reference, output):
        if not -1.001 <= float(x.min()) <= float(x.max()) <= 1.001 or math.isnan(float(x.min())):
            raise ValueError(f"values from {float(x.min()):.3g} to {float(x.max()):.3g}: clips are in [-1, 1]. See flipbook.shapes.")
    return reference.double(), output.double()
