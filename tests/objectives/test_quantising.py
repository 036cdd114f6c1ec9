"""Learning to pack clips into codes."""

from __future__ import annotations

import pytest
import torch

from flipbook import systems
from flipbook.autoencoders.vq import VQAutoencoder
from flipbook.objectives.base import build_objective
from flipbook.objectives.quantising import straight_through
from moving_squares import squares


def objective(seed=0, **options):
    from autoencoders.test_vq import TINY

    torch.manual_seed(seed)
    system = systems.build("thumb", tiny=True)
    system.autoencoder = VQAutoencoder(TINY)
    return build_objective("quantising", system, options)


def gradient_at_the_encoder(o, batch):
    """Of the loss, at what the encoder says."""
    kept = {}
    features = o.system.autoencoder.features

    def spy(x):
        kept["z"] = features(x)
        kept["z"].retain_grad()
        return kept["z"]

    o.system.autoencoder.features = spy
    o.loss(batch, list(range(len(batch)))).loss.sum().backward()
    return kept["z"]


def test_the_encoder_gets_the_decoders_gradient_and_the_pull_to_its_code():
    o, batch = objective(commitment=0.5), squares(2)
    autoencoder = o.system.autoencoder
    autoencoder.codebook.start(autoencoder.features(batch.video), torch.Generator().manual_seed(5))
    before = autoencoder.codebook.vectors.clone()
    z = gradient_at_the_encoder(o, batch)
    vectors = before[torch.cdist(z.detach().movedim(1, -1).flatten(0, -2), before).argmin(1)].view(*z.movedim(1, -1).shape).movedim(-1, 1)
    entering = vectors.clone().requires_grad_()
    ((autoencoder.frames(entering) - batch.video).square().mean((1, 2, 3, 4)) / 0.24).sum().backward()
    pull = 0.5 * 2.0 * (z.detach() - vectors) / z[0].numel()
    torch.testing.assert_close(z.grad, entering.grad + pull, atol=1e-6, rtol=1e-4)
    assert entering.grad.abs().max() > 0
    assert not any(name.startswith("codebook") for name, _ in autoencoder.named_parameters())


def test_straight_through_shows_the_codes_vectors():
    z, vectors = torch.randn(2, 3), torch.randn(2, 3)
    torch.testing.assert_close(straight_through(z, vectors), vectors)


def test_the_codebook_learns_in_training_and_rests_in_validation():
    o, batch = objective(), squares(4)
    before = o.system.autoencoder.codebook.vectors.clone()
    with torch.no_grad():
        o.loss(batch, [1, 2, 3, 4])
    assert torch.equal(o.system.autoencoder.codebook.vectors, before)
    o.loss(batch, [1, 2, 3, 4])
    assert not torch.equal(o.system.autoencoder.codebook.vectors, before)


def test_a_few_updates_make_the_picture_nearer_and_keep_codes_in_use():
    o = objective()
    optimiser = torch.optim.AdamW(o.trainable().parameters(), lr=3e-3)
    losses = []
    for k in range(24):
        batch = squares(2, first=2 * k)
        found = o.loss(batch, batch.index)
        found.loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(found.loss.mean().item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert found.parts["perplexity"] > 2.0
    assert {"psnr", "commitment", "perplexity", "use", "restarts"} == set(found.parts)


def test_an_autoencoder_without_codes_and_unknown_options_are_refused():
    with pytest.raises(ValueError, match="FrameAutoencoder, has no codebook"):
        build_objective("quantising", systems.build("thumb", tiny=True), {})
    with pytest.raises(ValueError, match=r"no option \['beta'\].*commitment"):
        objective(beta=1.0)
