"""Tiny U-Nets with every published table, and inputs for them."""

from __future__ import annotations

from dataclasses import replace

import torch

from flipbook.denoisers.unet import UNet, UNetConfig
from flipbook.denoisers.unet_tables import TABLES
from flipbook.nn.doors import Doors
from flipbook.nn.inserts import InsertTable

IMAGE = UNetConfig(widths=(16, 32), depths=(1, 1), transformers=(1, 0), heads=(2, 2), text_dim=12, groups=8)


def tiny_table(name, frames=4):
    """A published table at toy size: heads of a few channels, no dropout, frame adaptors of `frames`."""
    rows = []
    for row in TABLES[name].rows:
        kind = row.kind
        if row.name == "temporal_in":
            kind = replace(kind, attention=replace(kind.attention, heads=2, head_dim=4))
        if hasattr(kind, "dropout"):
            kind = replace(kind, dropout=0.0)
        if hasattr(kind, "num_frames"):
            kind = replace(kind, num_frames=frames)
        rows.append(replace(row, kind=kind))
    return InsertTable(tuple(rows))


def waken(net, seed=1, only=""):
    """Random values for every weight whose name holds `only`, so that each path shows."""
    g = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        if only in name:
            p.data = torch.randn(p.shape, generator=g) * (0.2 if p.ndim < 2 else 1.0 / p[0].numel() ** 0.5)
    return net


def image_net():
    return waken(UNet(IMAGE)).eval()


def video_net(name, *, awake=True, **changes):
    """A published table on the image network's weights; awake: random inserts, else as they are born."""
    torch.manual_seed(0)
    net = UNet(replace(IMAGE, inserts=tiny_table(name), **changes))
    net.load_state_dict(image_net().state_dict(), strict=False)
    return (waken(net, 2, only="inserts") if awake else net).eval()


def inputs(batch=2, frames=4, size=8):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(batch, 4, frames, size, size, generator=g)
    return x, torch.tensor([0.038, 0.9])[:batch], Doors(tokens=torch.randn(batch, 5, 12, generator=g))
