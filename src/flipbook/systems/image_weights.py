"""Image weights into a video network and out of it: all of them, bit for bit, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from flipbook.denoisers.unet import UNet, parameter_group
from flipbook.nn.inserts import InsertTable
from flipbook.systems.base import System


@torch.no_grad()
def start_from_image_model(denoiser: nn.Module, image: Mapping[str, Tensor]) -> list[str]:
    """Copy an image U-Net's state into a video U-Net. Further input channels (a mask, known frames) begin with weight zero.

    Returns the names of the weights that stay fresh: inserts and embeddings of further conditions.
    Raises ValueError for image weights that are missing, left over, or of another shape.
    """
    own = denoiser.state_dict()
    fresh = sorted(name for name in own if name not in image)
    if lacking := [name for name in fresh if parameter_group(name) == "spatial"]:
        raise ValueError(f"the image model lacks {', '.join(lacking[:4])}. Its config must be that of the video network without inserts.")
    if strange := sorted(image.keys() - own.keys()):
        raise ValueError(f"the image model has {', '.join(strange[:4])}, which the video network has not. Their configs differ.")
    for name, value in image.items():
        target = own[name]
        wider = target.ndim == 4 and name.startswith("conv_in") and target.shape[1] > value.shape[1] and target[:, 0].shape == value[:, 0].shape
        if target.shape != value.shape and not wider:
            raise ValueError(f"{name} is {tuple(value.shape)} in the image model and {tuple(target.shape)} in the video network.")
        if wider:
            target[:, value.shape[1] :] = 0.0
            target = target[:, : value.shape[1]]
        target.copy_(value)
    return fresh


def has_inserts(system: System) -> bool:
    """Whether a system's denoiser is an image U-Net with something inserted."""
    return isinstance(system.denoiser, UNet) and bool(system.denoiser.config.inserts.rows)


def without_inserts(system: System) -> System:
    """The image model inside a video system, which makes each frame by itself. It shares every weight with the system, and lacks the inserts.

    Raises ValueError for a system whose denoiser has no inserts.
    """
    net = system.denoiser
    if not has_inserts(system):
        raise ValueError(f"inserts are switched off where there are some; the {type(net).__name__} of {system.name!r} has none. Try it as it is.")
    with torch.device("meta"):
        image = UNet(replace(net.config, inserts=InsertTable()))
    kept = {name: value for name, value in net.state_dict().items() if parameter_group(name) != "temporal"}
    image.load_state_dict(kept, assign=True)
    return replace(system, denoiser=image.train(net.training))
