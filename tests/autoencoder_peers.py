"""Reference autoencoders with random weights, and the same weights in ours."""

from __future__ import annotations

import json
from types import ModuleType

import torch
from torch import Tensor, nn

from flipbook.interop.keys_apply import inverted, translate


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight random, norms, biases and mixers too, so that none may be forgotten; small enough to keep numbers tame."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 16
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.9 / fan**0.5))
            if parameter.ndim == 1 and parameter.numel() > 1:
                parameter.add_(0.3)
    return net.eval().requires_grad_(False)


def translated(ours: type[nn.Module], keys: ModuleType, peer: nn.Module) -> nn.Module:
    """Our network with the config and weights of a reference; the way back is checked on the way."""
    theirs = json.loads(json.dumps(dict(peer.config)))
    net = ours(keys.config(theirs, "config.json"))
    given = peer.state_dict()
    made = translate(given, keys.RULES, net.state_dict())
    net.load_state_dict(made)
    back = translate(net.state_dict(), inverted(keys.RULES), given)
    assert back.keys() == given.keys()
    assert all(torch.equal(back[key], given[key]) for key in given)
    assert keys.config(keys.their_config(net.config), "ours") == net.config
    return net.eval().requires_grad_(False)


def clip(frames: int = 3, height: int = 16, width: int = 24, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
