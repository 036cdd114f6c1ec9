"""The codebook and the autoencoder around it."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.autoencoders.vae import VectorQuantizer

from flipbook.autoencoders.codebook import Codebook
from flipbook.autoencoders.vq import AxialAttention, VQAutoencoder, VQAutoencoderConfig

TINY = VQAutoencoderConfig(num_codes=32, latent_channels=8, dim=16, blocks=1, pack=(2, 4, 4))


def net(seed=0, config=TINY):
    torch.manual_seed(seed)
    return VQAutoencoder(config).eval()


def colours(n, seed, kinds=16):
    """Vectors (1, 3, 1, 1, n) near `kinds` far corners of a cube, and which one each is near."""
    g = torch.Generator().manual_seed(seed)
    places = torch.randn(16, 3, generator=torch.Generator().manual_seed(99)) * 4.0
    which = torch.randint(kinds, (n,), generator=g)
    rows = places[which] + 0.02 * torch.randn(n, 3, generator=g)
    return rows.t()[None, :, None, None], which


def chance(seed):
    return torch.Generator().manual_seed(seed)


def taught(restart_below, updates=60):
    """A codebook whose first batch showed two colours of the sixteen."""
    book = Codebook(16, 3, restart_below=restart_below)
    z, _ = colours(256, 0, kinds=2)
    book.start(z, chance(0))
    for k in range(updates):
        z, _ = colours(256, k + 1)
        book.follow(z, book.nearest(z), chance(k))
    return book


def test_dead_codes_restart_so_that_the_colours_are_shared_out_among_all():
    z, _ = colours(2048, 1000)
    error = lambda book: (book.vectors_of(book.nearest(z)) - z).square().mean().item()
    with_restarts, without = taught(1.0), taught(0.0)
    health = with_restarts.health(with_restarts.nearest(z))
    assert health.perplexity > 0.5 * health.used
    assert health.perplexity > 1.5 * without.health(without.nearest(z)).perplexity
    assert error(with_restarts) < 0.4 * error(without)


def test_a_code_is_the_moving_average_of_what_falls_on_it():
    book = Codebook(4, 2, decay=0.9, restart_below=0.0)
    book.vectors.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]))
    book.sums.copy_(book.vectors)
    book.counts.fill_(1.0)
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 1.0]]).t()[None, :, None, None]
    codes = book.nearest(z)
    assert codes.flatten().tolist() == [0, 0, 1]
    book.follow(z, codes, chance(0))
    torch.testing.assert_close(book.vectors[0], torch.tensor([0.1, 0.1]) / (0.9 + 0.2))
    torch.testing.assert_close(book.vectors[1], (0.9 * torch.tensor([10.0, 0.0]) + 0.1 * torch.tensor([9.0, 1.0])) / 1.0)
    torch.testing.assert_close(book.vectors[2], torch.tensor([0.0, 10.0]))   # nothing fell on it: it stays


def test_a_codebook_starts_at_vectors_of_its_first_batch_and_only_once():
    book = Codebook(8, 3)
    z, _ = colours(64, 3)
    book.start(z, chance(1))
    rows = z[0, :, 0, 0].t()
    assert all((rows == vector).all(1).any() for vector in book.vectors)
    assert len(torch.unique(book.vectors, dim=0)) == 8
    before = book.vectors.clone()
    book.start(z + 1.0, chance(2))
    assert torch.equal(book.vectors, before)


def test_a_first_batch_smaller_than_the_codebook_fills_it_with_neighbours_no_two_alike():
    book = Codebook(16, 3)
    book.start(colours(4, 3)[0], chance(1))
    assert len(torch.unique(book.vectors, dim=0)) == 16


def test_perplexity_is_one_for_a_single_code_and_the_number_of_codes_for_even_use():
    book = Codebook(8, 2)
    assert book.health(torch.full((2, 3), 5)).perplexity == pytest.approx(1.0)
    even = book.health(torch.arange(8).repeat(3))
    assert (even.used, even.size) == (8, 8)
    assert even.perplexity == pytest.approx(8.0)


def test_codes_and_vectors_are_those_of_the_references_quantiser():
    torch.manual_seed(0)
    theirs = VectorQuantizer(32, 8, beta=0.25, sane_index_shape=True)
    book = Codebook(32, 8)
    book.vectors.copy_(theirs.embedding.weight.detach())
    z = torch.randn(2, 8, 5, 6) * 0.02
    vectors, _, (_, _, codes) = theirs(z)
    ours = book.nearest(z[:, :, None])
    assert torch.equal(ours[:, 0], codes)
    torch.testing.assert_close(book.vectors_of(ours)[:, :, 0], vectors, atol=1e-6, rtol=0)


def test_a_clip_becomes_a_grid_of_codes_and_comes_back_in_its_shape():
    model, x = net(), torch.randn(2, 3, 4, 16, 8)
    assert model.codes(x).shape == (2, 2, 4, 2)
    z = model.encode(x)
    assert z.shape == (2, 8, 2, 4, 2)
    assert model.decode(z).shape == x.shape
    assert torch.equal(model.codebook.nearest(z), model.codes(x))           # a code's vector is its own nearest
    deep = VQAutoencoderConfig(num_codes=4, latent_channels=4, dim=8, blocks=1, pack=(4, 8, 8))
    assert net(config=deep).codes(torch.randn(1, 3, 4, 8, 8)).shape == (1, 1, 1, 1)


def test_lengths_and_sides_that_cannot_be_packed_name_the_nearest():
    with pytest.raises(ValueError, match=r"num_frames=5.*Try num_frames=4 or 6"):
        net().encode(torch.zeros(1, 3, 5, 8, 8))
    with pytest.raises(ValueError, match="Try 12x8"):
        net().encode(torch.zeros(1, 3, 4, 11, 8))
    with pytest.raises(ValueError, match="power of two"):
        VQAutoencoderConfig(pack=(3, 4, 4))


def test_a_cell_sees_its_row_its_column_and_its_own_past_and_future():
    torch.manual_seed(0)
    layer = AxialAttention(8, 2)
    x = torch.randn(1, 8, 3, 4, 5)
    changed = x.clone()
    changed[..., 1, 2, 3] += 1.0
    moved = (layer(changed) - layer(x)).abs().amax((0, 1)) > 1e-7
    t, h, w = torch.meshgrid(torch.arange(3), torch.arange(4), torch.arange(5), indexing="ij")
    same = (t == 1).int() + (h == 2).int() + (w == 3).int()
    assert torch.equal(moved, same >= 2)
