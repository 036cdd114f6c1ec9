import pytest
import torch

from clips import batch
from flipbook import systems
from flipbook.objectives.base import build_objective


def objective(**options):
    torch.manual_seed(0)
    return build_objective("autoencoding", systems.build("thumb", tiny=True), options)


def test_the_price_of_a_latent_is_its_divergence_from_the_normal_distribution():
    o, b = objective(), batch()
    frames = b.video.transpose(1, 2).flatten(0, 1)
    mean, log_var = o.system.autoencoder.posterior(frames)
    q = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean((1, 2, 3)).view(4, -1).mean(1)
    torch.testing.assert_close(o.loss(b, [1, 2, 3, 4]).parts["kl"], expected, atol=1e-5, rtol=1e-4)


def test_training_makes_reconstructions_better():
    o, b = objective(), batch()
    optimiser = torch.optim.AdamW(o.trainable().parameters(), lr=3e-3)
    first = o.loss(b, [1, 2, 3, 4]).loss.mean().item()
    for _ in range(30):
        optimiser.zero_grad()
        o.loss(b, [1, 2, 3, 4]).loss.mean().backward()
        optimiser.step()
    assert o.loss(b, [1, 2, 3, 4]).loss.mean().item() < 0.8 * first


def test_the_latent_normaliser_follows_what_training_sees_and_rests_in_validation():
    o, b = objective(statistics=0.5), batch()
    before = o.system.autoencoder.latent_std.clone()
    with torch.no_grad():
        o.loss(b, [1, 2, 3, 4])
    assert torch.equal(o.system.autoencoder.latent_std, before)
    for _ in range(20):
        o.loss(b, [1, 2, 3, 4])
    z = o.system.autoencoder.encode(b.video)
    torch.testing.assert_close(z.mean((0, 2, 3, 4)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.transpose(0, 1).flatten(1).std(1), torch.ones(4), atol=0.02, rtol=0)


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match=r"no option \['beta'\].*kl"):
        objective(beta=1.0)
