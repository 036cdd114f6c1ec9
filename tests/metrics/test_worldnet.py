"""The network behind the world-features distance: its mechanism, its training task, and the weights that ship."""

from __future__ import annotations

import json

import pytest
import torch

from flipbook.metrics.corrupt import TEMPORAL
from flipbook.metrics.worldnet import FOLDER, HEADS, WorldNet, WorldNetConfig, shift, shipped_world_net
from flipbook.metrics.worldtask import accuracy, losses, sample, train

TINY = WorldNetConfig(num_frames=4, size=16, widths=(8, 8), dim=4)


def test_a_quarter_of_the_channels_comes_from_the_frame_before_and_one_from_the_next():
    x = torch.arange(1.0, 5).view(1, 4, 1, 1, 1).expand(1, 4, 8, 1, 1).reshape(4, 8, 1, 1)
    moved = shift(x, 4).view(4, 8)
    assert moved[:, 0].tolist() == [0, 1, 2, 3]
    assert moved[:, 2].tolist() == [2, 3, 4, 0]
    assert moved[:, 4].tolist() == [1, 2, 3, 4]


def test_features_tell_the_order_of_frames_and_of_nothing_else_in_the_batch():
    torch.manual_seed(0)
    net = WorldNet(TINY).eval()
    x = torch.rand(3, 3, 4, 16, 16) * 2 - 1
    assert not torch.allclose(net(x), net(x[:, :, [1, 0, 2, 3]]), atol=1e-5)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]), atol=1e-5, rtol=1e-4)


def test_clips_of_any_size_are_squashed_and_of_another_length_refused():
    net = WorldNet(TINY).eval()
    assert net(torch.zeros(1, 3, 4, 20, 33)).shape == (1, 4)
    with pytest.raises(ValueError, match="num_frames=4"):
        net(torch.zeros(1, 3, 5, 16, 16))


def test_a_clip_damaged_in_time_is_not_asked_for_its_motion():
    """A shuffled or frozen clip no longer shows the motion that was drawn; asking for it would teach to ignore time."""
    from flipbook.metrics.corrupt import CORRUPTIONS

    kinds = list(CORRUPTIONS)
    for number in range(40):
        _, targets, weights = sample(0, number, TINY)
        hurt = [kinds[i] for i in targets["damage"].nonzero().flatten().tolist()]
        assert len(hurt) <= 1
        if hurt and hurt[0] in TEMPORAL:
            assert weights["motion"] == 0


def test_a_question_without_an_answer_teaches_nothing():
    logits = {name: torch.zeros(2, size) for name, size in HEADS.items()}
    targets = {name: torch.ones(2, size) for name, size in HEADS.items()}
    weights = {name: torch.tensor([1.0, 0.0]) for name in HEADS}
    known = losses(logits, targets, weights)
    targets["shape"][1] = 0
    assert losses(logits, targets, weights)["shape"] == known["shape"]


def test_training_is_a_function_of_its_seed_and_writes_a_whole_folder(tmp_path):
    cards = [train(2, tmp_path / name, config=TINY, batch=2, seed=3) for name in ("a", "b")]
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"model.safetensors", "config.json", "card.json"}
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert cards[0]["clips"] == 4


def test_the_shipped_weights_are_small_and_know_where_they_come_from():
    assert (FOLDER / "model.safetensors").stat().st_size < 4e6
    card = json.loads((FOLDER / "card.json").read_text())
    assert card["recipe"] == f"scripts/features {card['updates']}"
    assert "Not FVD" in card["what"]
    assert card["parameters"] == sum(p.numel() for p in shipped_world_net().parameters())


@pytest.mark.slow
def test_the_shipped_network_reads_fresh_clips_far_better_than_the_commonest_answer():
    right = accuracy(shipped_world_net(), range(80))
    assert right["colour"] > 0.95
    assert right["background"] > 0.95
    assert right["domain"] > 0.95
    assert right["motion"] > 0.90                                               # "none of them" alone reaches 0.86
