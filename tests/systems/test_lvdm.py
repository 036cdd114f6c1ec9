"""LVDM: known frames at a noise level of their own, distance tables that let zero layers learn, a hierarchy of lengths."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from denoisers.unet_tiny import IMAGE, tiny_table, waken
from flipbook.denoisers.unet import UNet, parameter_group
from flipbook.long.known import Known
from flipbook.long.stage import sample_stage
from flipbook.nn.doors import Doors
from flipbook.nn.inserts import InsertTable
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
    assert len(levels) == 4                                                  # two branches, two steps
    assert all(t[0, 0].item() == pytest.approx(0.1) for t, _, _ in levels)
    assert {bool(c.any()) for _, c, _ in levels} == {True, False}            # with the mask, and without

