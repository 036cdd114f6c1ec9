"""VDM: stills that touch no clip, attention equal to its reference. Guidance by reconstruction: tests/test_steering.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from denoisers.unet_tiny import waken
from flipbook.denoisers.unet import UNet
from flipbook.nn.clip import Clip
from flipbook.nn.doors import Doors
from flipbook.nn.inserts.temporal_attention import FrameAttention, TemporalAttention
from flipbook.systems import vdm


def net():
    torch.manual_seed(0)
    return waken(UNet(vdm.TINY.denoiser)).eval()


def inputs(frames=6):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(2, 3, frames, 8, 8, generator=g)
    return x, torch.tensor([0.3, 0.8]), Doors(tokens=torch.randn(2, 5, 32, generator=g))


STILL = torch.tensor([[False] * 4 + [True] * 2]).expand(2, -1)               # four frames of a clip, two appended stills


@torch.no_grad()
def test_appended_stills_and_the_clip_leave_each_other_bit_for_bit():
    video, (x, t, doors) = net(), inputs()
    base = video(x, t, doors, image_only=STILL)
    other_stills, other_clip = x.clone(), x.clone()
    other_stills[:, :, 4:] += 1.0
    other_clip[:, :, :4] += 1.0
    assert torch.equal(video(other_stills, t, doors, image_only=STILL)[:, :, :4], base[:, :, :4])
    assert torch.equal(video(other_clip, t, doors, image_only=STILL)[:, :, 4:], base[:, :, 4:])
    touched = (video(other_stills, t, doors) - video(x, t, doors))[:, :, :4]
    assert touched.abs().max() > 1e-3                                        # without the switch they do


@torch.no_grad()
def test_a_norm_over_the_clip_would_break_it():
    """Were stills counted into the statistics of the clip's norm, the mask alone would not keep them apart."""
    video = UNet(replace(vdm.TINY.denoiser, norm="clip"))
    video.load_state_dict(net().state_dict())
    x, t, doors = inputs()
    apart = torch.eye(6).bool() | (~STILL[0, :, None] & ~STILL[0, None])     # who may attend to whom
    with pytest.raises(ValueError, match="normalises over whole clips"):
        video(x, t, doors, frame_attends=apart)


@torch.no_grad()
def test_a_still_passes_temporal_attention_alone_and_is_not_the_image_model():
    """It reads itself: out(v), as the reference has it when all its samples look at the present."""
    video, (x, t, doors) = net(), inputs()
    still = video(x, t, doors, image_only=torch.ones(2, 6, dtype=torch.bool))
    for i in range(6):
        torch.testing.assert_close(still[:, :, [i]], video(x[:, :, [i]], t, doors), atol=1e-5, rtol=1e-5)


def reference():
    """lucidrains' module; its loader of images asks for a library that the network does without."""
    pytest.importorskip("einops_exts", reason="the reference package is not installed")

    class Anything(ModuleType):
        def __getattr__(self, name):
            return Anything(name)

        def __call__(self, *args, **kwargs):
            return None

    names = ("torchvision", "torchvision.transforms", "torchvision.utils")
    missing = {name: Anything(name) for name in names if name not in sys.modules}
    sys.modules.update(missing)
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pytest.importorskip("video_diffusion_pytorch.video_diffusion_pytorch", reason="the reference package is not installed")
    finally:
        for name in missing:
            del sys.modules[name]


def test_temporal_attention_is_the_references():
    """lucidrains' Attention with rotary embedding and bucket bias; it turns neighbouring channels, we turn halves."""
    theirs = reference()
    rotary = pytest.importorskip("rotary_embedding_torch").RotaryEmbedding(8)
    g = torch.Generator().manual_seed(0)
    attention, bias = theirs.Attention(16, heads=2, dim_head=8, rotary_emb=rotary), theirs.RelativePositionBias(heads=2, max_distance=32)
    how = TemporalAttention(heads=2, head_dim=8, positions=("bucket", "rope"), rope_dim=8)
    ours = FrameAttention(16, 2, 8, how)
    order = torch.cat([torch.arange(0, 8, 2), torch.arange(1, 8, 2)])        # neighbours to halves, head by head
    with torch.no_grad():
        q, k, v = (w.clone() for w in attention.to_qkv.weight.chunk(3))
        ours.q.weight.copy_(q.view(2, 8, 16)[:, order].flatten(0, 1))
        ours.k.weight.copy_(k.view(2, 8, 16)[:, order].flatten(0, 1))
        ours.v.weight.copy_(v)
        ours.out.weight.copy_(attention.to_out.weight)
        ours.out.bias.zero_()


        ours.bucket.table.weight.copy_(bias.relative_attention_bias.weight)
    x = torch.randn(1, 20, 2, 2, 16, generator=g)                            # (B, T, H, W, C)
    folded = x.permute(0, 2, 3, 1, 4).reshape(1, 4, 20, 16)
    expected = attention(folded, pos_bias=bias(20, x.device)).reshape(1, 2, 2, 20, 16).permute(0, 3, 1, 2, 4)
    clip = Clip(1, 20, torch.zeros(1, 1, 4), torch.arange(20.0)[None])
    torch.testing.assert_close(ours(x, clip), expected, atol=1e-5, rtol=1e-4)



def test_the_system_samples_a_clip_from_noise_alone():
    from flipbook.conditions import Text
    from flipbook.long.stage import sample_stage

    torch.manual_seed(0)
    system = vdm.build(vdm.TINY)
    made = sample_stage(
        system, [(Text("a red circle falls"),)], num_frames=3, fps=8, height=8, width=8, seeds=[0], num_inference_steps=3, guidance_scale=2.0, sampler="ddpm"
    )
    assert made.shape == (1, 3, 3, 8, 8)
    assert made.abs().max() <= 1.0 + 1e-6
