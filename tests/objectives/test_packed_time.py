"""Training and stages on latents whose autoencoder packs frames together: what is told and counted is told and counted by latent frame."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clips import batch
from flipbook import systems
from flipbook.conditions import Text
from flipbook.interop.folder import from_pretrained
from flipbook.long.known import BY_FRAMES, Known
from flipbook.long.stage import sample_stage
from flipbook.nn.causal import latent_ends, latent_mask
from flipbook.objectives.base import build_objective

SEEDS = [11, 12, 13, 14]
FRAMES = 9          # three latent ones: the first, and four frames in each of two


def system(**changes):
    """A tiny Wan that takes known frames in the clip itself, and hears everything."""
    torch.manual_seed(0)
    made = systems.build("wan", tiny=True, **changes)
    with torch.no_grad():
        made.denoiser.head.weight.normal_(std=0.1)
    made.conditions = (*made.conditions, BY_FRAMES)
    return made


class Heard:
    """Keeps what the denoiser was last called with."""

    def __init__(self, net, monkeypatch):
        real = net.forward

        def forward(x, t, doors=None, **told):
            self.x, self.t, self.told = x, t, told
            return real(x, t, doors, **told)

        monkeypatch.setattr(net, "forward", forward)


def test_latent_frames_end_where_the_frames_end_that_they_pack():
    assert latent_ends(9, 4) == (0, 4, 8)
    assert latent_ends(3, 1) == (0, 1, 2)
    marked = torch.tensor([[True] * 5 + [False, True, True, True], [False] * 8 + [True]])
    assert latent_mask(marked, (0, 4, 8)).tolist() == [[True, True, False], [False, False, False]]
    with pytest.raises(ValueError, match=r"num_frames=8.*Try num_frames=5 or 9"):
        system().latent_ends(8)


@pytest.mark.parametrize(("rate", "places"), [(None, [0.0, 1.0, 2.0]), (8.0, [0.0, 4.0, 8.0])])
def test_denoising_tells_the_place_and_the_level_of_each_latent_frame(monkeypatch, rate, places):
    made = system()
    made.index_fps = rate
    o, b = build_objective("denoising", made, {"given": 1.0, "drop_text": 0.0}), batch(frames=FRAMES)
    heard = Heard(made.denoiser, monkeypatch)
    losses = o.loss(b, SEEDS)
    given = heard.told["frame_is_given"]
    assert losses.loss.shape == (4,)
    assert heard.x.shape[2] == 3
    assert given.shape == heard.t.shape == (4, 3)
    assert given.any(1).all()
    assert not given.all(1).any()
    assert not heard.t[given].any()
    assert heard.told["frame_index"][0].tolist() == places


def test_denoising_makes_samples_of_as_many_latent_frames_as_the_clips_have():
    made = system()
    made.defaults.update(num_inference_steps=1, sampler="euler")
    clips = build_objective("denoising", made.eval(), {}).samples(batch(2, frames=FRAMES), ["a red circle"], 3)
    assert clips.shape == (1, 3, FRAMES, 16, 16)


def test_known_latents_are_those_of_a_clip_whose_hidden_frames_are_gray_and_only_the_rest_is_counted():
    o = build_objective("conditioned", system(), {"known": {"take": "first", "counts": (1,)}, "drop_text": 0.0})
    b, t = batch(frames=FRAMES), torch.full((4,), 0.5)
    rows = o.rows(b, range(4), SEEDS, t, False)
    assert rows.is_given.tolist() == [[True, False, False]] * 4
    assert torch.equal(rows.counts, ~rows.is_given)
    assert rows.index[0].tolist() == [0.0, 1.0, 2.0]
    torch.testing.assert_close(rows.x[:, :, 0], o.system.autoencoder.encode(b.video[:, :, :1])[:, :, 0], atol=1e-5, rtol=1e-5)
    perfect = o.system.process.target(rows.z0, rows.eps, rows.t).clone()
    perfect[:, :, 0] = 1e3
    assert o.errors(rows, perfect).abs().max() == 0
    other = b.video.clone()
    other[:, :, 1:] = 0.3
    again = o.rows(replace(b, video=other), range(4), SEEDS, t, False)
    assert torch.equal(again.x[:, :, 0], rows.x[:, :, 0])
    two = build_objective("conditioned", system(), {"known": {"take": "first", "counts": (2,)}, "drop_text": 0.0}).rows(b, range(4), SEEDS, t, False)
    assert two.is_given.tolist() == [[True, True, False]] * 4
    torch.testing.assert_close(two.x[:, :, :2], o.system.autoencoder.encode(b.video[:, :, :5]), atol=1e-4, rtol=1e-4)


def test_stills_of_a_network_without_a_switch_are_clips_of_one_frame():
    o = build_objective("conditioned", system(), {"form": "separate", "stills": 1, "drop_text": 0.0})
    b = batch(frames=FRAMES)
    losses = o.loss(b, SEEDS)
    assert torch.isfinite(losses.loss).all()
    still = o.rows(b, [1], SEEDS, torch.full((4,), 0.5), True)
    assert still.z0.shape[2] == 1


def test_a_stage_makes_all_frames_and_keeps_the_known_ones():
    made = system().eval()
    clip = torch.rand(3, 5, 16, 16) * 2 - 1
    asked = {"num_frames": FRAMES, "fps": 8.0, "height": 16, "width": 16, "seeds": [1], "num_inference_steps": 2, "sampler": "euler"}
    out = sample_stage(made, [(Text("a ball"), Known(frames=clip, places=tuple(range(5))))], **asked)
    assert out.shape == (1, 3, FRAMES, 16, 16)
    with torch.no_grad():
        kept = made.autoencoder.decode(made.autoencoder.encode(clip[None]))
    torch.testing.assert_close(out[:, :, :5], kept, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"fill no whole latent frames.*Try the first 5 frames"):
        sample_stage(made, [(Text("a ball"), Known(frames=clip[:, :3], places=(0, 1, 2)))], **asked)


def test_an_autoencoder_of_clips_learns_and_its_normaliser_is_saved_with_it(tmp_path):
    made = system()
    o, b = build_objective("autoencoding", made, {"statistics": 0.5}), batch(frames=FRAMES)
    weights = [p for p in o.trainable().parameters() if p.requires_grad]
    assert {id(p) for p in weights} == {id(p) for p in made.autoencoder.parameters()}
    optimiser = torch.optim.AdamW(weights, lr=3e-3)
    first = o.loss(b, SEEDS).loss.mean().item()
    for _ in range(12):
        optimiser.zero_grad()
        o.loss(b, SEEDS).loss.mean().backward()
        optimiser.step()
    for _ in range(12):
        o.loss(b, SEEDS)
    assert o.loss(b, SEEDS).loss.mean().item() < 0.95 * first
    assert "statistics.latent_std" in o.trainable().state_dict()             # a checkpoint keeps them
    o.save(tmp_path / "model")
    z = from_pretrained(tmp_path / "model").autoencoder.encode(b.video)
    torch.testing.assert_close(z.transpose(0, 1).flatten(1).mean(1), torch.zeros(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(z.transpose(0, 1).flatten(1).std(1), torch.ones(4), atol=0.02, rtol=0)


def test_one_loss_of_a_clip_does_not_depend_on_its_neighbours():
    o, b = build_objective("autoencoding", system(), {}), batch(frames=FRAMES)
    alone = replace(b, video=b.video[2:3], captions=b.captions[2:3], frame_index=b.frame_index[2:3], fps=b.fps[2:3], index=[2], source=["test"])
    torch.testing.assert_close(o.loss(alone, SEEDS[2:3]).loss, o.loss(b, SEEDS).loss[2:3], atol=1e-5, rtol=1e-5)


def test_a_recipe_whose_clips_the_autoencoder_cannot_pack_is_refused_before_training(tmp_path):
    from flipbook.train import train
    from flipbook.training.recipe import parse_recipe

    tiny = {"denoiser": {"dim": 32, "depth": 1, "num_heads": 2, "mlp_dim": 32}, "autoencoder": {"dim": 8}, "text_encoder": {"dim": 32, "num_heads": 2}}
    asked = {"system": "wan", "system_config": tiny, "output": str(tmp_path / "run"), "steps": 1, "num_frames": 8, "height": 16, "width": 16, "batch_size": 1}
    with pytest.raises(ValueError, match=r"num_frames=8.*Try num_frames=5 or 9"):
        train(parse_recipe({**asked, "data": [{"world": "shapes"}], "objective": {"name": "denoising"}}))
