import pytest
import torch

from flipbook.denoisers.dit import DiT, DiTConfig
from flipbook.nn.doors import Doors

CONFIG = DiTConfig(in_channels=4, text_dim=12, dim=32, depth=2, num_heads=2)
LOCAL = DiTConfig(in_channels=4, text_dim=12, dim=32, depth=2, num_heads=2, local_dims=(16, 24), local_depths=(1, 1), vector_dim=3, channel_door=2)


def awake(config):
    """A network whose zero-initialised layers are random too, so that every path shows."""
    torch.manual_seed(0)
    net = DiT(config).eval()
    g = torch.Generator().manual_seed(1)
    for p in net.parameters():
        if p.ndim > 1 and not p.any():
            p.data.normal_(std=0.1, generator=g)
    return net


def inputs(frames=3, size=4, batch=2):
    g = torch.Generator().manual_seed(2)
    x = torch.randn(batch, 4, frames, size, size, generator=g)
    t = torch.rand(batch, frames, generator=g)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:batch]
    return x, t, Doors(tokens=torch.randn(batch, 5, 12, generator=g), token_mask=mask)


@pytest.mark.parametrize("config", [CONFIG, LOCAL])
def test_at_birth_the_prediction_is_exactly_zero(config):
    torch.manual_seed(0)
    x, t, doors = inputs()
    if config is LOCAL:
        doors = doors.with_(channels=torch.randn(2, 2, 3, 4, 4), vector=torch.randn(2, 3))
    assert not DiT(config)(x, t, doors).any()


def test_one_noise_level_per_clip_means_the_same_level_in_every_frame():
    net, (x, _, doors) = awake(CONFIG), inputs()
    t = torch.tensor([0.2, 0.7])
    torch.testing.assert_close(net(x, t, doors), net(x, t[:, None].expand(2, 3), doors), atol=0, rtol=0)


def test_the_level_of_one_frame_and_its_given_flag_matter():
    net, (x, t, doors) = awake(CONFIG), inputs()
    base = net(x, t, doors)
    other_t = t.clone()
    other_t[:, 1] = 0.0
    given = torch.zeros(2, 3, dtype=torch.bool)
    given[:, 1] = True
    assert (net(x, other_t, doors) - base).abs().max() > 1e-3
    assert (net(x, t, doors, frame_is_given=given) - base).abs().max() > 1e-4


def test_without_a_clock_the_network_does_not_know_the_order_of_frames_and_with_one_it_does():
    net, (x, t, doors) = awake(CONFIG), inputs()
    order = torch.tensor([2, 0, 1])
    still = torch.zeros(2, 3)
    run = lambda x, t, index: net(x, t, doors, frame_index=index)
    torch.testing.assert_close(run(x[:, :, order], t[:, order], still), run(x, t, still)[:, :, order], atol=1e-5, rtol=1e-5)
    clock = torch.arange(3.0).expand(2, 3)
    assert (run(x[:, :, order], t[:, order], clock) - run(x, t, clock)[:, :, order]).abs().max() > 1e-3


def test_only_the_distance_in_time_counts():
    net, (x, t, doors) = awake(CONFIG), inputs()
    clock = torch.arange(3.0).expand(2, 3)
    torch.testing.assert_close(net(x, t, doors, frame_index=clock), net(x, t, doors, frame_index=clock + 37), atol=1e-4, rtol=1e-4)


def test_words_behind_the_mask_are_not_read():
    net, (x, t, doors) = awake(CONFIG), inputs()
    tokens = doors.tokens.clone()
    tokens[1, 3:] += 5.0
    torch.testing.assert_close(net(x, t, doors), net(x, t, doors.with_(tokens=tokens)), atol=0, rtol=0)
    tokens[1, 0] += 5.0
    assert (net(x, t, doors) - net(x, t, doors.with_(tokens=tokens))).abs().max() > 1e-4


def test_what_prepare_computes_once_changes_nothing():
    net, (x, t, doors) = awake(CONFIG), inputs()
    torch.testing.assert_close(net(x, t, net.prepare(doors)), net(x, t, doors), atol=0, rtol=0)


@pytest.mark.parametrize("pattern", ["spatial", "temporal"])
def test_an_attention_pattern_decides_which_tokens_meet(pattern):
    net = awake(DiTConfig(in_channels=4, text_dim=12, dim=32, depth=2, num_heads=2, patterns=(pattern,)))
    x, t, doors = inputs()
    changed = x.clone()
    changed[:, :, 0, :2, :2] += 1.0                          # one patch of frame 0
    moved = (net(changed, t, doors) - net(x, t, doors)).abs().amax((0, 1)) > 1e-5      # (T, H, W)
    assert moved[0, :2, :2].any()
    assert bool(moved[1:].any()) == (pattern == "temporal")
    assert bool(moved[0, 2:, 2:].any()) == (pattern == "spatial")


def test_a_causal_clip_ignores_its_future():
    net, (x, t, doors) = awake(CONFIG), inputs()
    causal = torch.ones(3, 3).tril().bool()
    changed = x.clone()
    changed[:, :, 2] += 1.0
    a, b = (net(y, t, doors, frame_attends=causal) for y in (x, changed))
    torch.testing.assert_close(a[:, :, :2], b[:, :, :2], atol=1e-6, rtol=1e-6)
    assert (a[:, :, 2] - b[:, :, 2]).abs().max() > 1e-3


@pytest.mark.parametrize("door", ["vector", "channels"])
def test_every_further_door_is_heard(door):
    net, (x, t, doors) = awake(LOCAL), inputs()
    doors = doors.with_(vector=torch.ones(2, 3), channels=torch.ones(2, 2, 3, 4, 4))
    louder = doors.with_(**{door: 2 * getattr(doors, door)})
    assert (net(x, t, doors) - net(x, t, louder)).abs().max() > 1e-4


def test_residuals_join_after_their_blocks():
    """What is added after the last block acts as if the block had said it; a zero map says nothing."""
    net, (x, t, doors) = awake(CONFIG), inputs()
    base = net(x, t, doors)
    silent = torch.zeros(2, 32, 3, 2, 2)
    torch.testing.assert_close(net(x, t, doors.with_(residuals=(silent, silent))), base, atol=0, rtol=0)
    one_patch = silent.clone()
    one_patch[:, :, 1, 0, 1] = torch.randn(32, generator=torch.Generator().manual_seed(4))     # frame 1, upper right patch
    moved = (net(x, t, doors.with_(residuals=(silent, one_patch))) - base).abs().amax((0, 1)) > 1e-6
    assert moved[1, :2, 2:].any()
    moved[1, :2, 2:] = False
    assert not moved.any()
    assert (net(x, t, doors.with_(residuals=(one_patch,))) - base).abs().amax((0, 1))[0].max() > 1e-6


def test_a_sample_does_not_depend_on_its_batch():
    net, (x, t, doors) = awake(LOCAL), inputs()
    doors = doors.with_(vector=torch.ones(2, 3), channels=torch.ones(2, 2, 3, 4, 4))
    alone = net(x[1:], t[1:], doors.select(slice(1, 2)))
    torch.testing.assert_close(net(x, t, doors)[1:], alone, atol=1e-5, rtol=1e-5)


def test_every_weight_learns_after_one_step():
    torch.manual_seed(0)
    net, (x, t, doors) = DiT(CONFIG), inputs()
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    for _ in range(3):
        optimiser.zero_grad()
        (net(x, t, doors) - x).square().mean().backward()
        optimiser.step()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_sizes_and_configs_that_cannot_work_say_what_to_try():
    x, t, doors = inputs(size=5)
    with pytest.raises(ValueError, match=r"5x5 is no multiple of 2, .*Try 6x6"):
        awake(CONFIG)(x, t, doors)
    with pytest.raises(ValueError, match="even number of channels"):
        DiTConfig(dim=30, num_heads=4)
    with pytest.raises(ValueError, match="diagonal"):
        DiTConfig(patterns=("diagonal",))
