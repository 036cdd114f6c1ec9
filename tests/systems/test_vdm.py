"""VDM: stills that touch no clip, frames given to a network that reads none, attention equal to its reference. Energies: tests/test_steering.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from denoisers.unet_tiny import waken
from flipbook.conditions import FirstFrame, Frames, Text
from flipbook.denoisers.unet import UNet
from flipbook.generate import generate
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
    from flipbook.long.stage import sample_stage

    torch.manual_seed(0)
    system = vdm.build(vdm.TINY)
    made = sample_stage(
        system, [(Text("a red circle falls"),)], num_frames=3, fps=8, height=8, width=8, seeds=[0], num_inference_steps=3, guidance_scale=2.0, sampler="ddpm"
    )
    assert made.shape == (1, 3, 3, 8, 8)
    assert made.abs().max() <= 1.0 + 1e-6


# ---------------------------------------------------------------- given frames

SHORT = {"num_frames": 3, "height": 8, "width": 8, "num_inference_steps": 3, "dtype": "float32"}


def system(**changes):
    torch.manual_seed(0)
    made = vdm.build(replace(vdm.TINY, **changes))
    waken(made.denoiser)
    return made.eval()


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def frames_of(made, *conditions, **changes):
    return generate(made, [[Text("a red circle falls"), *conditions]], seed=4, **{**SHORT, **changes})[0].frames


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_given_frames_are_kept_and_decide_the_others(sampler):
    """The network has no door for them: without the hook that puts them into its clip they could change nothing."""
    made, free = system(), frames_of(system(), sampler=sampler)
    first, both = frames_of(made, FirstFrame(picture(1)), sampler=sampler), frames_of(made, Frames({0: picture(1), -1: picture(2)}), sampler=sampler)
    assert np.array_equal(first[0], picture(1))
    assert np.array_equal(both[[0, 2]], [picture(1), picture(2)])
    assert not np.array_equal(first[1:], free[1:])
    assert not np.array_equal(both[1], first[1])


def test_at_every_step_given_frames_stand_in_the_clip_as_noisy_as_the_others():
    made, seen, forward = system(), [], vdm.UNet.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vdm.UNet, "forward", lambda net, x, t, *a, **k: seen.append((x.detach().clone(), t)) or forward(net, x, t, *a, **k))
        frames_of(made, FirstFrame(picture(1)), guidance_scale=1.0)
    given = made.autoencoder.encode(torch.from_numpy(picture(1)).permute(2, 0, 1)[None, :, None] / 127.5 - 1.0)[0, :, 0]
    draws = []
    for x, t in seen:
        assert t.unique().numel() == 1
        draws.append((x[0, :, 0] - made.process.path.alpha(t[0, 0]) * given) / made.process.path.sigma(t[0, 0]))
    assert all(draw.std() == pytest.approx(1.0, abs=0.15) and abs(draw.mean()) < 0.25 for draw in draws)
    assert not torch.equal(draws[0], draws[1])                              # a fresh one each time


def test_guidance_by_reconstruction_leads_elsewhere_than_replacement_and_its_weight_counts():
    by_weight = [frames_of(system(reconstruction=weight), FirstFrame(picture(1))) for weight in (0.0, 2.0, 4.0)]
    assert all(np.array_equal(frames[0], picture(1)) for frames in by_weight)
    assert not np.array_equal(by_weight[0], by_weight[1])
    assert not np.array_equal(by_weight[1], by_weight[2])
    assert np.array_equal(frames_of(system(reconstruction=0.0)), frames_of(system()))        # with nothing given there is nothing to lean to


def test_a_correction_between_steps_asks_the_network_once_more_and_leads_elsewhere():
    counted, calls = {}, []
    for step in (0.0, 0.1):
        made = system(langevin=step)
        forward = vdm.UNet.forward
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vdm.UNet, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
            frames = frames_of(made, FirstFrame(picture(1)), guidance_scale=1.0)
        counted[step] = len(calls), frames
        calls.clear()
    assert counted[0.1][0] == 2 * counted[0.0][0]
    assert not np.array_equal(counted[0.1][1], counted[0.0][1])
    assert np.array_equal(counted[0.1][1][0], picture(1))


def test_a_steered_clip_does_not_depend_on_the_one_beside_it():
    asked = [[Text("a red circle falls"), FirstFrame(picture(1))], [Text("a blue square"), FirstFrame(picture(2))]]
    two = generate(system(), asked, seed=4, batch_size=2, **SHORT)
    assert np.abs(two[0].frames.astype(int) - frames_of(system(), FirstFrame(picture(1)))).max() <= 1


def test_clips_of_a_stage_are_steered_as_those_of_a_request():
    """A stage of a cascade and a training's sample sheet run a network by another function than `generate`."""
    from flipbook.conditions import Size, resolve
    from flipbook.long.stage import sample_stage
    from flipbook.shapes import tensor_to_pixels

    made, asked = system(), (Text("a red circle falls"), FirstFrame(picture(1)))
    request = resolve(asked, Size(num_frames=3, fps=8.0, height=8, width=8), made.conditions)
    how = {"sampler": "ddpm", "guidance_scale": made.defaults["guidance_scale"]}
    clip = sample_stage(made, [request], num_frames=3, fps=8.0, height=8, width=8, seeds=[4], num_inference_steps=3, **how)
    assert np.array_equal(tensor_to_pixels(clip)[0][0], picture(1))
    assert np.abs(tensor_to_pixels(clip)[0].astype(int) - frames_of(made, FirstFrame(picture(1)))).max() <= 1
