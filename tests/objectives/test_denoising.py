from dataclasses import replace

import numpy as np
import pytest
import torch

from clips import batch
from flipbook import systems
from flipbook.data.batch import Batch
from flipbook.data.labels import LABELS
from flipbook.objectives.base import build_objective
from flipbook.objectives.denoising import DenoisingOptions, Draw, given_frames
from flipbook.objectives.telling import Teller


def rows(b, keep):
    return Batch(video=b.video[keep], captions=[b.captions[i] for i in keep], frame_index=b.frame_index[keep], fps=b.fps[keep],
                 index=[b.index[i] for i in keep], source=[b.source[i] for i in keep])


def objective(**options):
    torch.manual_seed(0)
    system = systems.build("thumb", tiny=True)
    g = torch.Generator().manual_seed(3)
    for p in system.denoiser.parameters():
        if p.ndim > 1 and not p.any():
            p.data.normal_(std=0.1, generator=g)
    return build_objective("denoising", system, options)


def test_the_untrained_loss_is_the_second_moment_of_the_target():
    torch.manual_seed(0)
    fresh = build_objective("denoising", systems.build("thumb", tiny=True), {"given": 0.0})
    b = batch()
    z0 = fresh.system.autoencoder.encode(b.video)
    losses = fresh.loss(b, [1, 2, 3, 4])
    eps = torch.stack([torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(s)) for s in (1, 2, 3, 4)])
    torch.testing.assert_close(losses.loss, (eps - z0).square().mean((1, 2, 3, 4)), atol=1e-5, rtol=1e-5)


def test_a_samples_loss_depends_on_its_seed_and_not_on_its_neighbours():
    o, b = objective(given=0.5), batch()
    together = o.loss(b, [11, 12, 13, 14])
    alone = o.loss(rows(b, [2]), [13])
    torch.testing.assert_close(together.loss[2:3], alone.loss, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(o.loss(rows(b, [2]), [99]).loss, alone.loss)


def test_noise_levels_fill_the_unit_interval_evenly_over_neighbouring_samples():
    o = objective()
    t = o._times(list(range(1000)), [s * 7919 for s in range(1000)])
    counts = torch.histc(t, bins=20, min=0, max=1)
    assert counts.min() > 35
    assert counts.max() < 65


def test_given_frames_are_clean_and_not_counted():
    """A perfect answer on the hidden frames alone brings the loss to zero, whatever is said of the given ones."""
    o, b = objective(given=1.0, drop_text=0.0), batch()
    seeds = [5, 6, 7, 8]
    draws = [Draw.of(s, 3, o.options) for s in seeds]
    z0 = o.system.autoencoder.encode(b.video)
    seen = {}

    class Perfect(torch.nn.Module):
        def forward(self, x, t, doors, *, frame_is_given, frame_index):
            seen.update(x=x, t=t, given=frame_is_given)
            eps = torch.stack([torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds])
            return torch.where(frame_is_given[:, None, :, None, None], torch.full_like(x, 1e3), eps - z0)

    o.system.denoiser = Perfect()
    assert o.loss(b, seeds).loss.abs().max() < 1e-8
    given = torch.stack([d.given for d in draws])
    assert torch.equal(seen["given"], given)
    assert not seen["t"][given].any()
    torch.testing.assert_close(seen["x"].transpose(1, 2)[given], z0.transpose(1, 2)[given], atol=0, rtol=0)


@pytest.mark.parametrize("num_frames", [2, 3, 16])
def test_some_frames_are_given_and_some_are_left(num_frames):
    g = torch.Generator().manual_seed(0)
    for kind in np.linspace(0, 0.999, 200):
        mask = given_frames(num_frames, float(kind), g)
        assert 1 <= int(mask.sum()) < num_frames


def test_conditions_are_dropped_as_often_as_asked():
    options = DenoisingOptions(drop_text=0.2, given=0.4)
    draws = [Draw.of(seed, 8, options) for seed in range(2000)]
    assert np.mean([d.drop_text for d in draws]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([bool(d.given.any()) for d in draws]) == pytest.approx(0.4, abs=0.04)
    assert not any(Draw.of(seed, 1, options).given.any() for seed in range(50))


def test_only_the_named_parts_learn():
    o = objective(train=["denoiser"])
    o.loss(batch(), [1, 2, 3, 4]).loss.mean().backward()
    assert all(p.grad is None for p in o.system.text_encoder.parameters())
    assert all(p.grad is None for p in o.system.autoencoder.parameters())
    assert any(p.grad is not None for p in o.system.denoiser.parameters())


def test_unknown_options_and_parts_are_named():
    with pytest.raises(ValueError, match=r"no option \['drop'\].*drop_text"):
        objective(drop=0.1)
    with pytest.raises(ValueError, match=r"train=\['unet'\].*denoiser"):
        objective(train=["unet"])


def test_labels_are_told_patch_by_patch_in_the_order_of_the_picture():
    """The cross-entropy of place (y side + i, x side + j) is that of sub-place (i, j) of token (y, x), summed by hand."""
    o = objective()
    teller, g = Teller(o.system.denoiser, 4), torch.Generator().manual_seed(0)
    frames, rows_, columns, dim = 2, 2, 3, o.system.denoiser.config.dim
    tokens = torch.randn(3, frames, rows_ * columns, dim, generator=g)
    teller._read(None, (tokens,))
    maps = {name: torch.randint(n, (frames, 4 * rows_, 4 * columns), generator=g) for name, n in LABELS.items()}
    told = teller.loss([{}, {name: one.numpy().astype(np.uint8) for name, one in maps.items()}, {"kinds": maps["kinds"].numpy()}])
    total = {}
    for name, labels in maps.items():
        places = 0.0
        for t, y, x in np.ndindex(frames, 4 * rows_, 4 * columns):
            logits = teller.heads[name](tokens[1, t, y // 4 * columns + x // 4]).view(LABELS[name], 4, 4)[:, y % 4, x % 4]
            places += torch.nn.functional.cross_entropy(logits[None], labels[t, y, x][None]).item()
        total[name] = places / labels.numel()
    assert told[0] == 0
    assert told[1].item() == pytest.approx(sum(total.values()), rel=1e-5)
    assert 0 < told[2] < told[1]


def test_telling_labels_teaches_the_trunk_but_not_the_validation_loss():
    plain, telling, b = objective(given=0.0), objective(given=0.0, labels=0.5), batch()
    side = b.video.shape[-1] // 4
    b = replace(b, extra=[{"labels": {"kinds": np.ones((3, side, side), np.uint8)}}, {}, {}, {}])
    losses = telling.loss(b, [1, 2, 3, 4])
    base = plain.loss(b, [1, 2, 3, 4]).loss
    torch.testing.assert_close(losses.loss - base, 0.5 * losses.parts["labels"], atol=1e-5, rtol=1e-4)
    assert losses.parts["labels"][0] > 0
    losses.parts["labels"].sum().backward()
    assert telling.system.denoiser.blocks[0].mlp[0].weight.grad.abs().max() > 0
    with torch.no_grad():
        torch.testing.assert_close(telling.loss(b, [1, 2, 3, 4]).loss, base, atol=1e-5, rtol=1e-4)


def test_sheets_are_drawn_by_the_systems_own_sampler_with_its_noise():
    o, b = objective(), batch()
    assert o.system.defaults["sampler"] == "euler_ancestral"
    clips = o.samples(b, ["a red circle falls", ""], 3)
    assert clips.shape == (2, *b.video.shape[1:])
    assert torch.equal(clips, o.samples(b, ["a red circle falls", ""], 3))
    o.system.defaults = o.system.defaults | {"sampler": "euler"}
    assert not torch.equal(clips, o.samples(b, ["a red circle falls", ""], 3))
