"""The autoencoder of clips that looks both ways: what it packs, what stands still, what it sees, what it learns."""

from __future__ import annotations

import pytest
import torch

from flipbook import systems
from flipbook.autoencoders.clip import ClipAutoencoder, ClipAutoencoderConfig
from flipbook.interop.registry import from_config, to_config
from flipbook.objectives.base import build_objective
from moving_squares import squares

TINY = ClipAutoencoderConfig(pack=(2, 4, 4), dim=8, groups=4)


def net(**changes):
    torch.manual_seed(0)
    return ClipAutoencoder(ClipAutoencoderConfig(**vars(TINY) | changes)).eval()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("pack", [(2, 4, 4), (4, 2, 2), (1, 4, 4), (4, 8, 8)])
def test_a_clip_becomes_cells_of_its_boxes_and_comes_back_in_its_shape(pack, split):
    model, x = net(pack=pack, split=split), draw(2, 3, 8, 16, 8)
    z = model.encode(x)
    assert z.shape == (2, 4, 8 // pack[0], 16 // pack[1], 8 // pack[1])
    assert model.decode(z).shape == x.shape


def test_a_clip_that_stands_still_has_latents_and_frames_that_stand_still_to_its_ends():
    """Beyond its ends a still clip goes on as it is. With zeros there its first and last frames are odd."""
    x, z = draw(1, 3, 1, 16, 16).expand(-1, -1, 8, -1, -1), draw(1, 4, 1, 4, 4, seed=1).expand(-1, -1, 4, -1, -1)
    apart = lambda clip: (clip - clip[:, :, :1]).abs().max()
    with torch.no_grad():
        for split in (False, True):
            assert apart(net(split=split).encode(x)) < 1e-5
            assert apart(net(split=split).decode(z)) < 1e-5
        assert apart(net(padding="zeros").encode(x)) > 1e-2
        assert apart(net(padding="zeros").decode(z)) > 1e-2


def test_split_convolutions_have_as_many_weights_as_whole_ones():
    whole, split = (sum(p.numel() for name, p in net(dim=16, split=s).named_parameters() if name.endswith("weight")) for s in (False, True))
    assert 0.95 * whole < split <= whole


def test_the_future_is_seen():
    """The prefix test fails on purpose: this one does not stream, and does not say that it does."""
    model, x = net(), draw(1, 3, 8, 8, 8)
    later = x.clone()
    later[:, :, 7] += 1.0
    assert (model.encode(later) - model.encode(x))[:, :, 0].abs().max() > 1e-4
    assert model.mixes_frames
    assert not hasattr(model, "stream_decode")


def test_latents_are_normalised_and_the_decoder_undoes_it():
    mean, std = (1.0, -2.0, 0.0, 0.5), (2.0, 0.5, 3.0, 1.0)
    plain, model, x = net(), net(latent_mean=mean, latent_std=std), draw(1, 3, 2, 8, 8)
    column = lambda values: torch.tensor(values)[:, None, None, None]
    torch.testing.assert_close(model.encode(x), (plain.encode(x) - column(mean)) / column(std))
    torch.testing.assert_close(model.decode(model.encode(x)), plain.decode(plain.encode(x)), atol=1e-5, rtol=1e-5)
    assert from_config(to_config(model), "here").config == model.config


def test_a_few_updates_make_the_clip_nearer_and_measure_its_latents(tmp_path):
    torch.manual_seed(0)
    system = systems.build("thumb", tiny=True)
    system.autoencoder = net().train()
    o = build_objective("autoencoding", system, {"statistics": 0.5})
    optimiser = torch.optim.AdamW(o.trainable().parameters(), lr=3e-3)
    losses = []
    for k in range(12):
        batch = squares(2, first=2 * k)
        loss = o.loss(batch, batch.index).loss.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    o.save(tmp_path / "model")
    assert systems.load(tmp_path / "model").autoencoder.config.latent_std != TINY.latent_std


def test_what_cannot_be_packed_says_what_can():
    with pytest.raises(ValueError, match=r"num_frames=5.*Try num_frames=4 or 6"):
        net().encode(torch.zeros(1, 3, 5, 8, 8))
    with pytest.raises(ValueError, match="Try 12x8"):
        net().encode(torch.zeros(1, 3, 4, 11, 8))
    for changes, says in (({"pack": (3, 4, 4)}, "power of two"), ({"latent_std": (1.0, 0.0, 1.0, 1.0)}, "no std of 0"), ({"dim": 10}, "Try 8")):
        with pytest.raises(ValueError, match=says):
            net(**changes)
