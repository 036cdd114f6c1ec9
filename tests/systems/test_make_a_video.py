"""Make-A-Video: layers that start as the identity, stills that pass them by, embeddings in the place of words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from denoisers.unet_tiny import waken
from flipbook.conditions import Size, Text, branches, empty_inputs
from flipbook.denoisers.unet import UNet
from flipbook.long.known import Shown
from flipbook.nn.clip import Clip
from flipbook.nn.doors import Doors
from flipbook.nn.inserts import InsertTable
from flipbook.nn.inserts.temporal_conv import DiracConv
from flipbook.systems import make_a_video


def nets():
    """(video network as it is born, image network) of the same image weights."""
    torch.manual_seed(0)
    video = UNet(make_a_video.TINY.denoiser)
    image = UNet(replace(make_a_video.TINY.denoiser, inserts=InsertTable()))
    waken(image)
    video.load_state_dict(image.state_dict(), strict=False)
    return video.eval(), image.eval()


def inputs(frames=4):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(1, 3, frames, 8, 8, generator=g)
    return x, torch.tensor([0.4]), Doors(tokens=torch.randn(1, 1, 32, generator=g), vector=torch.tensor([[8.0]]))


@torch.no_grad()
def test_a_dirac_convolution_between_image_convolution_and_norm_is_the_identity_and_torchs_own_start_is_not():
    (video, image), (x, t, doors) = nets(), inputs()
    by_frame = torch.cat([image(x[:, :, [i]], t, doors) for i in range(4)], dim=2)
    torch.testing.assert_close(video(x, t, doors), by_frame, atol=1e-5, rtol=1e-5)
    rows = tuple(replace(row, start="plain") if row.name == "temporal_conv" else row for row in video.config.inserts.rows)
    plain = UNet(replace(video.config, inserts=InsertTable(rows))).eval()
    plain.load_state_dict(image.state_dict(), strict=False)
    assert (plain(x, t, doors) - by_frame).abs().max() > 1e-2


@torch.no_grad()
def test_a_clip_of_one_frame_is_an_image_at_birth_and_after_training_only_when_it_is_sent_as_one():
    (video, image), (x, t, doors) = nets(), inputs(1)
    still = torch.ones(1, 1, dtype=torch.bool)
    torch.testing.assert_close(video(x, t, doors), image(x, t, doors), atol=1e-5, rtol=1e-5)
    waken(video, 5, only="inserts")
    torch.testing.assert_close(video(x, t, doors, image_only=still), image(x, t, doors), atol=1e-5, rtol=1e-5)
    assert (video(x, t, doors) - image(x, t, doors)).abs().max() > 1e-3


@torch.no_grad()
def test_convolution_over_image_then_time_is_the_references():
    theirs = pytest.importorskip("make_a_video_pytorch.make_a_video", reason="the reference package is not installed").PseudoConv3d(6, 6)
    waken(theirs)
    ours = DiracConv(6)
    ours.conv.weight.copy_(theirs.temporal_conv.weight)
    ours.conv.bias.copy_(theirs.temporal_conv.bias)
    x = torch.randn(2, 6, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    h = torch.stack([theirs.spatial_conv(x[:, :, i]) for i in range(5)], dim=1).permute(0, 1, 3, 4, 2)      # (B, T, H, W, C)
    out = ours(h, Clip(2, 5, torch.zeros(2, 1, 4), torch.arange(5.0)[None])).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(out, theirs(x), atol=1e-5, rtol=1e-4)


def doors_of(system, *requests):
    size = Size(num_frames=2, fps=4, height=8, width=8)
    _, doors = branches(system.conditions, system, list(requests), empty_inputs(size, (3, 2, 8, 8), [0] * len(requests)))
    return doors


def test_a_picture_enters_by_its_embedding_and_a_sentence_by_what_the_prior_makes_of_it():
    torch.manual_seed(0)
    system = make_a_video.build(make_a_video.TINY)
    picture = torch.rand(3, 8, 8)
    doors = doors_of(system, (Text(""), Shown(picture)), (Text("a red circle"),), (Text(""),))
    torch.testing.assert_close(doors["text"].tokens[0], system.image_encoder.encode(picture[None])[0])
    torch.testing.assert_close(doors["text"].tokens[1], system.text_encoder.encode(["a red circle"])[0][0])
    assert not doors["text"].tokens[2].any()
    assert not doors["null"].tokens.any()
    assert doors["null"].vector.tolist() == [[4.0]] * 3


def test_the_prior_gives_a_sentence_the_same_embedding_whoever_stands_beside_it():
    torch.manual_seed(0)
    prior = make_a_video.build(make_a_video.TINY).text_encoder
    two, one = prior.encode(["a red circle", "a blue square moves left"])[0], prior.encode(["a red circle"])[0]
    torch.testing.assert_close(two[:1], one, atol=1e-5, rtol=1e-5)
    assert (two[0] - two[1]).abs().max() > 1e-4


@pytest.mark.slow
def test_a_prior_learns_which_embedding_belongs_to_which_word():
    torch.manual_seed(0)
    prior = make_a_video.build(make_a_video.TINY).text_encoder
    g = torch.Generator().manual_seed(0)
    texts, wanted = ["red", "green", "blue", "yellow"], torch.randn(4, 32, generator=g)
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        prior.loss(wanted, texts, torch.rand(4, generator=g), torch.randn(4, 32, generator=g)).mean().backward()
        optimizer.step()
    nearest = torch.cdist(prior.encode(texts)[0][:, 0], wanted).argmin(1)
    assert nearest.tolist() == [0, 1, 2, 3]


def test_the_cascade_ends_where_the_paper_ends():
    plan = make_a_video.cascade()
    assert [stage.num_frames for stage in plan.stages] == [16, 76, 76, 76]
    assert (plan.stages[-1].height, plan.stages[2].height) == (768, 256)
    assert plan.stages[-1].shared_noise
    assert plan.stages[-1].same_noise


@pytest.mark.parametrize("shared", [True, False])
def test_frames_enlarged_one_by_one_with_shared_noise_keep_a_still_clip_still(shared):
    from flipbook.long.cascade import run_stage

    torch.manual_seed(0)
    system = make_a_video.build(replace(make_a_video.TINY, kind="frame-upscaler"))
    waken(system.denoiser)
    system.eval()
    stage = replace(
        make_a_video.cascade(num_frames=2, skip=2, height=2, width=2).stages[-1], num_inference_steps=2, shared_noise=shared, same_noise=shared,
    )  # fmt: skip
    draft = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)).expand(3, 3, 8, 8)
    large = run_stage(replace(stage, level=0.0), system, Text(), 0, draft)
    assert large.shape == (3, 3, 24, 24)
    assert torch.equal(large[:, 0], large[:, 2]) == shared
