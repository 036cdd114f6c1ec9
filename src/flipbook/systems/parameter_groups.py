"""Parameter groups of a denoiser: what a training stage lets learn, and what keeps its bits.

spatial:      the image network's own weights.
temporal:     inserts: whatever lets a frame see others, with its mixers, norms and adaptors.
conditioning: embeddings of the `vector` door and of given frames.

The first convolution of a network with a `channels` door reads the noisy clip and the condition with one tensor: it belongs to
`spatial` and `conditioning`, and learns in a stage that trains either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from torch import nn

from flipbook.denoisers.unet import UNet, parameter_group
from flipbook.systems.base import Group

GROUPS: tuple[Group, ...] = get_args(Group)


def groups_of(name: str, net: nn.Module) -> frozenset[Group]:
    """The groups of a parameter of a denoiser, by its name. Networks that are no U-Net are all `spatial` and `temporal` at once."""
    if not isinstance(net, UNet):
        return frozenset({"spatial", "temporal"})
    if name.startswith("conv_in.") and net.config.channel_door:
        return frozenset({"spatial", "conditioning"})
    return frozenset({parameter_group(name)})


def names(net: nn.Module, groups: Iterable[Group]) -> list[str]:
    """The parameters of a denoiser in any of some groups. Raises ValueError for a group that is not known."""
    wanted = set(groups)
    if strange := wanted - set(GROUPS):
        raise ValueError(f"parameter group {sorted(strange)} is not known. Try some of {', '.join(GROUPS)}.")
    return [name for name, _ in net.named_parameters() if groups_of(name, net) & wanted]


def train_only(net: nn.Module, groups: Iterable[Group]) -> list[str]:
    """Let the parameters of some groups learn and freeze all others; returns the names of those that learn.

    Raises ValueError if nothing is left to learn.
    """
    groups = tuple(groups)
    chosen = set(names(net, groups))
    if not chosen:
        raise ValueError(f"groups {groups} hold no parameter of this {type(net).__name__}: nothing would be trained. Try 'spatial'.")
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in chosen)
    return sorted(chosen)
