"""LVDM: known frames at a noise level of their own, distance tables that let zero layers learn, a hierarchy of lengths."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clips import batch
from denoisers.unet_tiny import IMAGE, tiny_table, waken
from flipbook.autoencoders.clip import ClipAutoencoder
from flipbook.conditions import Text
from flipbook.denoisers.unet import UNet, parameter_group
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.long.cascade import run_stage
from flipbook.long.known import Known
from flipbook.long.stage import sample_stage
from flipbook.nn.doors import Doors
from flipbook.nn.inserts import InsertTable
from flipbook.objectives.adversary import AdversaryOptions
from flipbook.objectives.base import build_objective
from flipbook.systems import lvdm


def net():
    torch.manual_seed(0)
    return waken(UNet(lvdm.TINY.denoiser)).eval()


X = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def said(video, t, given, mask=None):
    """The net's answer at levels t of the hidden frames and 0.1 of the given ones."""
    given = torch.tensor([given])
    level = torch.where(given, 0.1, torch.tensor(t))
    channels = (given if mask is None else mask)[:, None, :, None, None].float().expand(1, 1, 4, 8, 8)
    return video(X, level, Doors(channels=channels), frame_is_given=given)


@torch.no_grad()
def test_with_nothing_known_it_is_the_plain_network_at_t_and_with_all_known_t_says_nothing():
    video = net()
    plain = video(X, torch.tensor([0.7]), Doors(channels=torch.zeros(1, 1, 4, 8, 8)))
    torch.testing.assert_close(said(video, 0.7, [False] * 4), plain, atol=1e-5, rtol=1e-5)
    assert torch.equal(said(video, 0.7, [True] * 4), said(video, 0.2, [True] * 4))
    assert (said(video, 0.7, [False] * 4) - said(video, 0.2, [False] * 4)).abs().max() > 1e-3


@torch.no_grad()
def test_the_embedding_of_known_frames_reaches_them_alone():
    video = net()
    for row in video.config.inserts.rows:
        assert row.kind.mask == "full"
    alone = UNet(replace(video.config, inserts=InsertTable(tuple(replace(r, kind=replace(r.kind, mask="identity")) for r in video.config.inserts.rows)))).eval()
    alone.load_state_dict(video.state_dict())
    before = said(alone, 0.7, [True, False, False, False])
    waken(alone, 7, only="given_")
    moved = (said(alone, 0.7, [True, False, False, False]) - before).abs().amax((0, 1, 3, 4))
    assert moved[0] > 1e-3
    assert not moved[1:].any()


def text_block(tables):
    """LVDM's text block at toy size, all of whose temporal layers start at zero; without tables there is nothing to learn from."""
    rows = tiny_table("lvdm-text").rows
    if not tables:
        rows = tuple(replace(row, kind=replace(row.kind, positions=())) for row in rows)
    torch.manual_seed(0)
    return waken(UNet(replace(IMAGE, inserts=InsertTable(rows))), only="conv_out")


@pytest.mark.parametrize("tables", [True, False])
def test_zero_queries_keys_values_and_outputs_learn_only_by_their_distance_tables(tables):
    video, g = text_block(tables), torch.Generator().manual_seed(2)
    x, doors = torch.randn(1, 4, 4, 8, 8, generator=g), Doors(tokens=torch.randn(1, 5, 12, generator=g))
    waken(video, 4, only="leave")
    temporal = {name: p for name, p in video.named_parameters() if parameter_group(name) == "temporal" and "norm" not in name}
    optimizer = torch.optim.SGD(temporal.values(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        (video(x, torch.tensor([0.5]), doors) - x).square().mean().backward()
        optimizer.step()
    weights = {name: p for name, p in temporal.items() if name.endswith((".q.weight", ".k.weight", ".v.weight"))}
    learnt = {name for name, p in weights.items() if p.any()}
    assert learnt == (set(weights) if tables else set())


def test_distances_beyond_the_table_share_its_last_row_and_near_ones_are_untouched():
    from flipbook.nn.positions import DistanceTables

    torch.manual_seed(0)
    tables = DistanceTables(4, 3)
    keys, values = tables(torch.arange(8.0)[None])
    for i in range(8):
        for j in range(8):
            row = max(-3, min(3, j - i)) + 3
            assert torch.equal(keys[0, i, j], tables.keys[row])
            assert torch.equal(values[0, i, j], tables.values[row])
    short, _ = tables(torch.arange(4.0)[None])
    assert torch.equal(short[0], keys[0, :4, :4])


def test_a_clip_is_predicted_and_filled_in_to_the_papers_lengths():
    plan = lvdm.cascade(window=4, passes=4, gap=4)
    assert [stage.num_frames for stage in plan.stages] == [13, 49]
    assert all(len(step.observed) == 1 for step in list(plan.stages[0].plan())[1:])
    assert len(list(plan.stages[1].plan())) == 12                            # every pair, not the first third of them


def test_known_frames_are_told_at_the_level_that_sampling_holds_them_at():
    torch.manual_seed(0)
    system = lvdm.build(lvdm.TINY)
    levels, real = [], system.denoiser.forward

    def forward(x, t, doors, **k):
        levels.append((t.clone(), doors.channels.clone(), k["frame_is_given"]))
        return real(x, t, doors, **k)

    system.denoiser.forward = forward
    known = Known(frames=torch.zeros(3, 1, 16, 16), places=(0,), level=0.1)
    sample_stage(system, [(known,)], num_frames=4, fps=2, height=16, width=16, seeds=[0], num_inference_steps=2, guidance_scale=0.9)
    assert [len(t) for t, _, _ in levels] == [2, 2]                          # two branches, two steps
    for t, channels, _ in levels:
        assert t[:, 0].tolist() == pytest.approx([0.1, 0.1])
        assert {bool(c.any()) for c in channels} == {True, False}            # with the mask, and without


# ---------------------------------------------------------------- latents that pack frames together


def of_clips():
    torch.manual_seed(0)
    return lvdm.build(replace(lvdm.TINY, clips=True)).eval()


def test_a_clip_goes_on_from_its_last_latent_frame_at_the_level_of_known_ones(tmp_path):
    """Chunks of two latent frames of four frames each, which share one. Saved and read again it is the same system."""
    system = from_pretrained(save_pretrained(of_clips(), tmp_path / "model"))
    assert isinstance(system.autoencoder, ClipAutoencoder)
    assert system.latent_ends(system.defaults["num_frames"]) == (3, 7, 11, 15)
    heard, real = [], system.denoiser.forward

    def forward(x, t, doors, **k):
        heard.append((x[0, :, 0].clone(), t[0, 0].item(), k["frame_is_given"].tolist(), doors.channels[0, 0, :, 0, 0].tolist()))
        return real(x, t, doors, **k)

    system.denoiser.forward = forward
    stage = lvdm.cascade(window=2, passes=2, height=8, width=8, pack=4).stages[0]
    assert (stage.num_frames, stage.window, stage.overlap) == (12, 8, 4)
    stage = replace(stage, num_inference_steps=1, guidance_scale=1.0)
    clip = run_stage(stage, system, Text(), 0)
    assert clip.shape == (3, 12, 8, 8)
    assert [given for _, _, given, _ in heard] == [[[False, False]], [[True, False]]]
    assert [marked for _, _, _, marked in heard] == [[0, 0], [1, 0]]
    assert heard[1][1] == pytest.approx(0.1)
    run_stage(replace(stage, level=0.0), system, Text(), 0)
    known = heard[3][0]                                                      # the same first chunk, without noise in what is known of it
    packed = system.autoencoder.encode(torch.cat([clip[:, 4:8], torch.zeros(3, 4, 8, 8)], dim=1)[None])
    torch.testing.assert_close(known, packed[0, :, 0], atol=1e-4, rtol=1e-4)


def test_a_single_frame_fills_no_latent_frame_and_is_refused():
    known = Known(frames=torch.zeros(3, 1, 8, 8), places=(0,))
    with pytest.raises(ValueError, match="fill no whole latent frames"):
        sample_stage(of_clips(), [(known,)], num_frames=8, fps=8, height=8, width=8, seeds=[0], num_inference_steps=1)


def test_its_autoencoder_is_taught_by_a_stage_and_nothing_else_is():
    system = of_clips()
    (stage,) = [one for one in lvdm.STAGES if one.name == "autoencoder"]
    options = stage.recipe()
    objective = build_objective(options.pop("name"), system, options)
    assert objective.options.kl == 0
    assert objective.adversary.options == AdversaryOptions(weight=0.5, start=50_000)
    assert set(objective.trainable()) - {"statistics"} == {"autoencoder", "adversary"}
    assert {id(p) for p in objective.trainable()["autoencoder"].parameters()} == {id(p) for p in system.autoencoder.parameters()}
    losses = objective.loss(batch(2, frames=4), [1, 2])
    losses.loss.mean().backward()
    assert all(p.grad is not None for p in system.autoencoder.decoder.parameters())
