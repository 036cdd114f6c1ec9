"""What a causal model learns from is what it meets when it makes a video."""

from dataclasses import replace

import pytest
import torch

from clips import batch
from flipbook import systems
from flipbook.data.batch import Batch
from flipbook.long.streaming import Rollout, Streaming
from flipbook.nn.doors import Doors
from flipbook.objectives.base import build_objective
from tiny import tiny_system

SMALL = {"chunk": 2, "window": 2, "given": 0.0, "drop_text": 0.0}


def objective(**options):
    torch.manual_seed(0)
    system = systems.build("thumb", tiny=True)
    for p in system.denoiser.parameters():
        if p.ndim > 1 and not p.any():
            p.data.normal_(std=0.1)
    return build_objective("causal", system, SMALL | options)


def longer(frames=6):
    """Clips of six frames, every second one of them further from the one before."""
    b = batch()
    g = torch.Generator().manual_seed(4)
    video = torch.rand(len(b), 3, frames, *b.video.shape[3:], generator=g) * 2 - 1
    return replace(b, video=video, frame_index=torch.arange(frames).float().expand(len(b), -1) * torch.tensor([1.0, 2.0, 1.0, 2.0])[:, None])


def test_with_a_clean_past_the_loss_is_that_of_every_step_of_a_cached_rollout():
    """One pass over the doubled clip, against chunk after chunk behind a cache of clean frames, with the window at work."""
    o, b, seeds = objective(), longer(), [1, 2, 3, 4]
    t = torch.tensor([0.2, 0.5, 0.8, 1.0])
    system = o.system
    with torch.no_grad():
        z0 = system.autoencoder.encode(b.video)
        eps = torch.stack([torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds])
        x = system.process.add_noise(z0, eps, t)
        tokens, mask = system.text_encoder.encode(b.captions)
        rollout = Rollout(system.denoiser, {"text": Doors(tokens=tokens, token_mask=mask)}, system.streaming, frame_step=torch.tensor([1.0, 2.0, 1.0, 2.0]))
        predictions = []
        for start in range(0, 6, 2):
            predictions.append(rollout.network("text")(x[:, :, start : start + 2], t[:, None].expand(-1, 2)))
            rollout.keep(z0[:, :, start : start + 2])
        error = (torch.cat(predictions, dim=2) - system.process.target(z0, eps, t)).square().mean((1, 2, 3, 4))
        torch.testing.assert_close(o.loss(b, seeds, t=t).loss, error, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", ["clean", "noisy"])
def test_a_samples_loss_depends_on_its_seed_and_not_on_its_neighbours(context):
    o, b = objective(context=context, given=0.5, context_noise=0.1), longer()
    together = o.loss(b, [11, 12, 13, 14]).loss
    one = Batch(video=b.video[2:3], captions=b.captions[2:3], frame_index=b.frame_index[2:3], fps=b.fps[2:3], index=b.index[2:3], source=b.source[2:3])
    alone = o.loss(one, [13]).loss
    torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(o.loss(one, [99]).loss, alone)


def test_every_chunk_has_a_level_of_its_own_that_fills_the_range():
    o = objective()
    levels = o._levels(range(512), range(100, 612), frames=6)
    assert torch.equal(levels[:, 0::2], levels[:, 1::2])
    first, second, third = levels[:, ::2].unbind(1)
    assert first.sort().values.diff().max() < 0.02
    for chunk in (second, third):
        assert abs(chunk.mean() - 0.5) < 0.05
        assert chunk.std() == pytest.approx(12**-0.5, rel=0.08)
    assert torch.corrcoef(levels[:, ::2].T).triu(1).abs().max() < 0.12


@pytest.mark.parametrize(("context", "moves"), [("clean", False), ("noisy", True)])
def test_a_later_chunk_reads_the_clean_past_or_the_noisy_one(context, moves, monkeypatch):
    """Another level in the first chunk alone: the last chunk's error moves with it only where the past is noisy."""
    o, b = objective(context=context), longer(4)
    chosen = torch.tensor([0.5, 0.5, 0.6, 0.6]).expand(4, -1)
    monkeypatch.setattr("flipbook.objectives.causal._some_chunks", lambda seeds, frames, chunk: torch.zeros(4, frames, dtype=torch.bool))
    seen = []

    def watch(prediction, *_):
        seen.append(prediction.clone())
        return prediction

    for first in (0.5, 0.1):
        levels = chosen.clone()
        levels[:, :2] = first
        monkeypatch.setattr(o, "_levels", lambda *_, levels=levels: levels)
        handle = o.system.denoiser.register_forward_hook(lambda net, args, out: watch(out))
        o.loss(b, [1, 2, 3, 4])
        handle.remove()
    last = [p[:, :, -2:] for p in seen]
    assert torch.allclose(*last, atol=1e-6) != moves


def test_frames_are_given_in_the_first_chunk_alone(monkeypatch):
    o, b = objective(given=1.0), longer()
    told = []
    o.system.denoiser.register_forward_pre_hook(lambda net, args, kwargs: told.append(kwargs["frame_is_given"]), with_kwargs=True)
    o.loss(b, list(range(4)))
    past, noisy = told[0][:, :6], told[0][:, 6:]
    assert past.all()
    assert noisy[:, :2].any()
    assert not noisy[:, 2:].any()


def test_noise_on_the_past_reaches_later_chunks_and_not_the_first():
    plain, spoiled, b = objective(), objective(context_noise=0.5), longer()
    one_chunk, t = longer(2), torch.full((4,), 0.5)
    torch.testing.assert_close(plain.loss(one_chunk, [1, 2, 3, 4], t=t).loss, spoiled.loss(one_chunk, [1, 2, 3, 4], t=t).loss)
    assert not torch.allclose(plain.loss(b, [1, 2, 3, 4], t=t).loss, spoiled.loss(b, [1, 2, 3, 4], t=t).loss)


def test_the_model_says_of_itself_that_it_streams_and_shows_samples(tmp_path):
    o, b = objective(sink=1), longer()
    assert o.system.streaming == Streaming(chunk=2, window=2, sink=1)
    o.system.defaults = o.system.defaults | {"num_inference_steps": 2}
    clips = o.samples(b, ["a red circle falls", ""], seed=0)
    assert clips.shape == (2, *b.video.shape[1:])
    assert not torch.allclose(clips[0], clips[1])


@pytest.mark.parametrize(("options", "says"), [
    ({"context": "blurred"}, "Try one of clean, noisy"), ({"context_noise": -1}, "Try 0.1"), ({"labels": 0.2}, "Try labels=0"),
    ({"chunks": 2}, r"causal has no option \['chunks'\]"), ({"window": 3}, "whole chunks of 2"),
])  # fmt: skip
def test_options_that_cannot_work_say_what_to_try(options, says):
    with pytest.raises(ValueError, match=says):
        objective(**options)


def test_a_denoiser_that_cannot_remember_is_refused():
    system = replace(tiny_system(), denoiser=torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"cannot stream\. Try init: thumb"):
        build_objective("causal", system, {})
