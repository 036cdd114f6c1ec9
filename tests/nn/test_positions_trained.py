"""Which codes of time hold beyond the length of training: dots that run around a circle, seen for 8 frames in training and 32 afterwards."""

import pytest
import torch
from torch import nn

from flipbook.nn.clip import Clip
from flipbook.nn.inserts.temporal_attention import AttentionOverTime, FrameAttention
from flipbook.nn.transformer import GatedMLP

pytestmark = pytest.mark.slow

TRAINED, LONG = 8, 32
CODES = {
    "learned": {"positions": ("learned",), "max_frames": LONG},             # places behind the 8th are there and were never trained
    "sinusoidal": {"positions": ("sinusoidal",)},
    "buckets": {"positions": ("bucket",)},
    "tables": {"positions": ("shaw",)},
    "rope": {"positions": ("rope",)},
    "rope, interpolated": {"positions": ("rope",), "longer": "interpolate"},
    "rope, ntk": {"positions": ("rope",), "longer": "ntk"},
    "xpos": {"positions": ("xpos",)},
    "alibi": {"positions": ("alibi",)},
}
RELATIVE = ("buckets", "tables", "rope", "xpos", "alibi")


class Layer(nn.Module):
    def __init__(self, dim, how):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention, self.mlp = FrameAttention(dim, 4, dim // 4, how), GatedMLP(dim)

    def forward(self, x, clip):
        x = x + self.attention(self.norm1(x), clip)
        return x + self.mlp(self.norm2(x))


class Next(nn.Module):
    """Two layers that see the frames so far and say where the dot will be in the next one."""

    def __init__(self, dim=32, **how):
        super().__init__()
        how = {"max_frames": TRAINED, "mask": "causal", **how}
        self.enter, self.leave = nn.Linear(2, dim), nn.Linear(dim, 2)
        self.layers = nn.ModuleList(Layer(dim, AttentionOverTime(**how)) for _ in range(2))

    def forward(self, x):
        clip = Clip(batch=len(x), frames=x.shape[1], time=torch.zeros(1, 1, 1), index=torch.arange(x.shape[1])[None])
        h = self.enter(x)[:, :, None, None]
        for layer in self.layers:
            h = layer(h, clip)
        return self.leave(h[:, :, 0, 0])


def dots(n, frames, seed):
    """Places on a circle at a speed of its own each, (n, frames, 2)."""
    g = torch.Generator().manual_seed(seed)
    angle, speed = 6.283 * torch.rand(n, 1, generator=g), 2.0 * torch.rand(n, 1, generator=g) - 1.0
    angle = angle + speed * torch.arange(frames)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def trained(how, seed=0, steps=400):
    torch.manual_seed(seed)
    net = Next(**how)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(steps):
        x = dots(64, TRAINED + 1, seed=1000 * seed + step)
        loss = (net(x[:, :-1]) - x[:, 1:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
    return net


@torch.no_grad()
def error(net, frames):
    """Mean squared error of the last 4 predictions in clips of so many frames."""
    x = dots(256, frames + 1, seed=10**6)
    return float((net(x[:, :-1]) - x[:, 1:])[:, -4:].square().mean())


def test_every_relative_code_holds_beyond_the_length_of_training_better_than_learned_places():
    errors = {name: [error(net, frames) for frames in (TRAINED, 2 * TRAINED, LONG)] for name, how in CODES.items() for net in [trained(how)]}
    for name, (short, double, long) in sorted(errors.items(), key=lambda item: item[1][-1]):
        print(f"{name:20} {short:.4f} at 8 frames, {double:.4f} at 16, {long:.4f} at 32")
    assert all(short < 0.02 for short, _, _ in errors.values()), "all are learnt"
    for name in RELATIVE:
        assert errors[name][-1] < errors["learned"][-1], name
