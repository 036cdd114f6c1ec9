"""AnimateDiff, ModelScope and Stable Video Diffusion against the classes that wrote their checkpoints."""

from __future__ import annotations

import math

import pytest
import torch

from flipbook.denoisers.unet import UNet
from flipbook.interop.keys.unet_animatediff import MOTION
from flipbook.interop.keys.unet_modelscope import MODELSCOPE
from flipbook.interop.keys.unet_svd import SVD
from flipbook.nn.doors import Doors
from interop.unet_parity import close, draw, randomise

diffusers = pytest.importorskip("diffusers")
CLIPS = [(1, 1), (2, 3), (1, 4)]        # batch, frames


def blocks(kind):
    return {
        "down_block_types": (f"CrossAttnDownBlock{kind}", f"DownBlock{kind}"),
        "up_block_types": (f"UpBlock{kind}", f"CrossAttnUpBlock{kind}"),
    }


def ours(layout, theirs, **options):
    return layout.load(UNet(layout.config(dict(theirs.config), **options)), theirs.state_dict()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def modelscope():
    return randomise(diffusers.UNet3DConditionModel(
        **blocks("3D"), block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=12, attention_head_dim=8,
    ))  # fmt: skip


@pytest.mark.parametrize(("batch", "frames"), CLIPS)
def test_modelscope_is_its_reference(modelscope, batch, frames):
    x, tokens, level = draw(batch, 4, frames, 8, 8), draw(batch, 5, 12), torch.tensor([37, 998])[:batch]
    close(ours(MODELSCOPE, modelscope)(x, (level + 1) / 1000, Doors(tokens=tokens)), modelscope(x, level, tokens).sample)


def animatediff(**changes):
    config = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": 12, "num_attention_heads": 2}
    return randomise(diffusers.UNetMotionModel(**blocks("Motion"), **{**config, "motion_num_attention_heads": 2, "motion_max_seq_length": 24, **changes}))


@pytest.mark.parametrize(("batch", "frames"), CLIPS)
@pytest.mark.parametrize("middle", [False, True])
def test_animatediff_is_its_reference(batch, frames, middle):
    theirs = animatediff(use_motion_mid_block=middle)
    x, tokens, level = draw(batch, 4, frames, 8, 8), draw(batch, 5, 12), torch.tensor([37, 998])[:batch]
    expected = theirs(x, level, tokens.repeat_interleave(frames, 0)).sample
    close(ours(MOTION, theirs, norm="clip")(x, (level + 1) / 1000, Doors(tokens=tokens)), expected)


def test_a_text_per_frame_is_what_the_reference_makes_of_it():
    theirs, x, tokens = animatediff(), draw(2, 4, 3, 8, 8), draw(2, 3, 5, 12)
    expected = theirs(x, torch.tensor([37, 998]), tokens.flatten(0, 1)).sample
    close(ours(MOTION, theirs, norm="clip")(x, torch.tensor([0.038, 0.999]), Doors(tokens=tokens)), expected)


@pytest.fixture(scope="module")
def svd():
    return randomise(diffusers.UNetSpatioTemporalConditionModel(
        **blocks("SpatioTemporal"), block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=12, num_attention_heads=(2, 4),
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=24,
    ))  # fmt: skip


@pytest.mark.parametrize(("batch", "frames"), CLIPS)
def test_stable_video_diffusion_is_its_reference(svd, batch, frames):
    x, image, tokens = draw(batch, 4, frames, 8, 8), draw(batch, 4, frames, 8, 8, seed=2), draw(batch, 2, 12)
    numbers = torch.tensor([[6.0, 127.0, 0.02], [9.0, 30.0, 0.5]])[:batch]
    sigma = torch.tensor([0.7, 80.0])[:batch]
    expected = svd(torch.cat([x, image], 1).transpose(1, 2), 0.25 * sigma.log(), tokens, numbers).sample.transpose(1, 2)
    doors = Doors(tokens=tokens, channels=image, vector=numbers)
    close(ours(SVD, svd, eps="diffusers")(x, torch.atan(sigma) * (2 / math.pi), doors), expected)
