"""The past in a cache is the past in one pass: chunk by chunk, behind a window, with a sink, at any frame number."""

import pytest
import torch

from flipbook.denoisers.dit import DiT, DiTConfig
from flipbook.nn.attention import attend, attend_past, block_causal, causal, teacher_forcing
from flipbook.nn.doors import Doors
from flipbook.nn.kv_cache import KVCache

CHUNK, CHUNKS, SIZE = 2, 6, 4
PATTERNS = [("full",), ("temporal",), ("spatial", "temporal"), ("full", "identity")]


def network(patterns=("full",), local=True):
    """Every weight random, so that every path shows."""
    torch.manual_seed(0)
    around = {"local_dims": (16,), "local_depths": (1,)} if local else {}
    net = DiT(DiTConfig(in_channels=4, text_dim=12, dim=32, depth=2, num_heads=2, patterns=patterns, **around)).eval()
    for p in net.parameters():
        if p.ndim > 1 and not p.any():
            p.data.normal_(std=0.1)
    return net.requires_grad_(False)


def clip(frames=CHUNK * CHUNKS):
    g = torch.Generator().manual_seed(1)
    clean, noisy = (torch.randn(2, 4, frames, SIZE, SIZE, generator=g) for _ in range(2))
    return clean, noisy, torch.rand(2, frames, generator=g), Doors(tokens=torch.randn(2, 5, 12, generator=g))


def by_chunks(net, window, sink=0, first=0.0, step=1.0):
    """Every chunk of the noisy clip, denoised behind the clean chunks before it."""
    clean, noisy, t, doors = clip()
    cache, out = KVCache(window, sink), []
    for k in range(CHUNKS):
        part = slice(k * CHUNK, (k + 1) * CHUNK)
        index = (first + step * torch.arange(k * CHUNK, (k + 1) * CHUNK, dtype=torch.float64)).expand(2, -1)
        out.append(net(noisy[:, :, part], t[:, part], doors, frame_index=index, cache=cache))
        net.remember(clean[:, :, part], doors, index, cache)
    return torch.cat(out, dim=2), cache


def in_one_pass(net, k, mask):
    """Chunk k in one forward over the whole clip: clean before it, noisy in it; what comes behind is not seen."""
    clean, noisy, t, doors = clip()
    frame = torch.arange(CHUNK * CHUNKS)
    before = frame < k * CHUNK
    x = torch.where(before[:, None, None], clean, noisy)
    out = net(x, t * ~before, doors, frame_is_given=before.expand(2, -1), frame_attends=mask)
    return out[:, :, k * CHUNK : (k + 1) * CHUNK]


@pytest.mark.parametrize("patterns", PATTERNS, ids=str)
@pytest.mark.parametrize("window", [1, 2, 5])
def test_chunks_behind_a_cache_are_those_of_one_pass_under_the_mask(patterns, window):
    net = network(patterns)
    cached, _ = by_chunks(net, window * CHUNK)
    mask = block_causal(CHUNK * CHUNKS, CHUNK, window=window + 1)
    whole = torch.cat([in_one_pass(net, k, mask) for k in range(CHUNKS)], dim=2)
    torch.testing.assert_close(cached, whole, rtol=0, atol=1e-5)


def test_one_pass_over_clean_and_noisy_frames_teaches_every_chunk_of_a_cached_rollout():
    net, (clean, noisy, t, doors) = network(), clip()
    n = clean.shape[2]
    given = torch.arange(2 * n) < n
    index = torch.arange(n).repeat(2).expand(2, -1).float()
    levels = torch.cat([torch.zeros_like(t), t], dim=1)
    both = net(torch.cat([clean, noisy], dim=2), levels, doors, frame_is_given=given.expand(2, -1), frame_index=index, frame_attends=teacher_forcing(n, CHUNK))
    torch.testing.assert_close(by_chunks(net, window=n)[0], both[:, :, n:], rtol=0, atol=1e-5)


def test_a_chunk_ignores_the_noise_of_chunks_behind_it():
    net, (_, noisy, t, doors) = network(), clip()
    mask, later = block_causal(CHUNK * CHUNKS, CHUNK), noisy.clone()
    later[:, :, 4:] += 1
    a, b = (net(x, t, doors, frame_attends=mask) for x in (noisy, later))
    assert torch.equal(a[:, :, :4], b[:, :, :4])
    assert not torch.equal(a[:, :, 4:], b[:, :, 4:])


@pytest.mark.parametrize("step", [1.0, 1 / 3])
def test_far_along_in_a_video_the_positions_are_as_exact_as_at_its_start(step):
    near, _ = by_chunks(network(), 4, step=step)
    far, _ = by_chunks(network(), 4, first=1_000_000.0, step=step)
    torch.testing.assert_close(far, near, rtol=0, atol=1e-5)


def test_the_clock_ticks_between_the_kept_frames_and_the_chunk():
    assert not torch.allclose(by_chunks(network(), 4)[0][:, :, 4:], by_chunks(network(), 4, step=2.0)[0][:, :, 4:], atol=1e-3)


def test_the_cache_stops_growing_when_window_and_sink_are_full():
    sizes = []
    for frames in (6, 8, 12):
        net, cache = network(), KVCache(window=4, sink=1)
        for start in range(0, frames, CHUNK):
            index = torch.arange(start, start + CHUNK).expand(2, -1)
            net.remember(clip()[0][:, :, start : start + CHUNK], None, index, cache)
        sizes.append((cache.frames, cache.numel))
    assert sizes == [(5, sizes[0][1])] * 3


def test_sink_frames_survive_every_roll_and_move_up_to_the_window():
    net, (clean, _, _, doors) = network(), clip()
    cache, first = KVCache(window=2, sink=2), None
    for k in range(CHUNKS):
        part = slice(k * CHUNK, (k + 1) * CHUNK)
        net.remember(clean[:, :, part], doors, torch.arange(k * CHUNK, (k + 1) * CHUNK).expand(2, -1), cache)
        kept = {layer: k[:, :2].clone() for layer, (k, _) in cache._kept.items()}
        first = first or kept
        assert all(torch.equal(kept[layer], first[layer]) for layer in first)
    places = cache.positions(torch.arange(12, 14).expand(2, -1))
    assert places[0].tolist() == [-4, -3, -2, -1, 0, 1]


def test_a_rolled_cache_with_a_sink_is_a_cache_of_its_frames_alone():
    """In a network of one layer keys know nothing of other frames, so those of the sink and the window can be written side by side."""
    torch.manual_seed(0)
    net = network()
    net.blocks = net.blocks[:1]
    clean, noisy, t, doors = clip()
    rolled = KVCache(window=4, sink=2)
    for k in range(CHUNKS - 1):
        part = slice(k * CHUNK, (k + 1) * CHUNK)
        net.remember(clean[:, :, part], doors, torch.arange(k * CHUNK, (k + 1) * CHUNK).expand(2, -1), rolled)
    alone = KVCache(window=6)
    net.remember(torch.cat([clean[:, :, :2], clean[:, :, 6:10]], dim=2), doors, torch.arange(4, 10).expand(2, -1), alone)
    index = torch.arange(10, 12).expand(2, -1)
    a, b = (net(noisy[:, :, 10:], t[:, 10:], doors, frame_index=index, cache=cache) for cache in (rolled, alone))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_reading_leaves_the_cache_as_it_was():
    net, (clean, noisy, t, doors) = network(), clip()
    cache, index = KVCache(window=4), torch.arange(2).expand(2, -1)
    net.remember(clean[:, :, :2], doors, index, cache)
    a, b = (net(noisy[:, :, 2:4], t[:, 2:4], doors, frame_index=index + 2, cache=cache) for _ in range(2))
    assert torch.equal(a, b)
    assert cache.frames == 2


@pytest.mark.parametrize("pattern", ["full", "temporal", "spatial", "identity"])
def test_the_last_frames_behind_a_past_read_as_in_the_whole_clip(pattern):
    g = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(2, 5 * 3, 2, 8, generator=g) for _ in range(3))
    whole = attend(q, k, v, (5, 3), pattern, causal(5) if pattern != "spatial" else None)
    torch.testing.assert_close(attend_past(q[:, -3:], k, v, 3, pattern), whole[:, -3:], rtol=0, atol=1e-6)


def test_what_cannot_work_says_what_to_try():
    net, (clean, _, t, doors) = network(), clip()
    with pytest.raises(ValueError, match=r"window=0.* Try window=12"):
        KVCache(0)
    with pytest.raises(ValueError, match="Leave frame_attends out"):
        net(clean, t, doors, cache=KVCache(2), frame_attends=causal(12))
    with pytest.raises(ValueError, match="no past to read"):
        attend_past(*(torch.zeros(1, 2, 1, 4),) * 3, 1, "grid")
