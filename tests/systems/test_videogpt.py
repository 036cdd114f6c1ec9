"""VideoGPT as a system: asked, saved, replayed and refused like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbook import systems
from flipbook.conditions import Choice, FirstFrame, Text
from flipbook.generate import generate
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.nn.doors import Doors
from flipbook.objectives.base import build_objective
from flipbook.replay import replay
from flipbook.sampling import prepare
from moving_squares import squares

SMALL = {"num_frames": 4, "height": 16, "width": 16, "dtype": "float32"}


def system(seed=0):
    torch.manual_seed(seed)
    built = systems.build("videogpt", tiny=True)
    torch.nn.init.normal_(built.denoiser.head.weight, std=0.5)
    return built.eval()


def test_a_sentence_becomes_a_clip_that_its_seed_decides_alone():
    ready = prepare(system(), dtype="float32")
    told = []
    first, second = generate(ready, ["a red circle falls", "a blue square spins"], seed=3, batch_size=2, progress=lambda *at: told.append(at), **SMALL)
    assert first.frames.shape == (4, 16, 16, 3)
    assert told == [(1, 1)]
    [alone] = generate(ready, "a blue square spins", seed=4, **SMALL)
    assert np.array_equal(alone.frames, second.frames)
    [other] = generate(ready, "a blue square spins", seed=5, **SMALL)
    assert not np.array_equal(alone.frames, other.frames)


def test_temperature_and_top_k_are_heard_and_stand_in_the_recipe():
    ready = prepare(system(), dtype="float32")
    ask = lambda choice, seed=3: generate(ready, [Text("a red circle falls"), choice], seed=seed, **SMALL)[0]
    assert np.array_equal(ask(Choice(temperature=0)).frames, ask(Choice(top_k=1), seed=9).frames)      # both take the likeliest
    assert not np.array_equal(ask(Choice()).frames, ask(Choice(temperature=0)).frames)
    kinds = {row["kind"]: row for row in ask(Choice(temperature=0.7, top_k=5)).recipe["conditions"]}
    assert kinds["Choice"] == {"kind": "Choice", "temperature": 0.7, "top_k": 5}
    with pytest.raises(ValueError, match="drawn in 2 ways"):
        generate(ready, [[Text("a"), Choice(top_k=1)], [Text("b"), Choice(top_k=2)]], batch_size=2, **SMALL)
    with pytest.raises(ValueError, match=r"temperature=-1.*0 or more"):
        Choice(temperature=-1)


def test_a_saved_system_makes_the_same_clip_and_a_file_is_made_again(tmp_path):
    ours = system()
    folder = save_pretrained(ours, tmp_path / "model")
    again = from_pretrained(folder)
    assert list(again.draws) == ["codes"]
    assert again.method == "videogpt"
    [a] = generate(ours, "a red circle falls", **SMALL)
    [b] = generate(prepare(again, dtype="float32", source=str(folder)), "a red circle falls", **SMALL)
    assert np.array_equal(a.frames, b.frames)
    b.write(tmp_path / "clip.mp4")
    assert replay(tmp_path / "clip.mp4").same_file


def test_what_it_cannot_do_is_refused_by_name():
    ready = prepare(system(), dtype="float32")
    for wrong, words in (
        ({"num_frames": 6}, "Try num_frames=4 or 8"), ({"height": 18}, "Try 16 or 20"), ({"sampler": "euler"}, "codes"), ({"best_of": 2}, "knows no noise"),
        ({"step_cache": 0.1}, "Leave step_cache out"), ({"num_frames": 20}, "learned for"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            generate(ready, "a red circle falls", **{**SMALL, **wrong})
    with pytest.raises(ValueError, match="takes Text, Choice"):
        generate(ready, [FirstFrame(np.zeros((16, 16, 3), np.uint8))], **SMALL)
    with pytest.raises(ValueError, match="knows no noise"):
        build_objective("denoising", system(), {}).loss(squares(2), [1, 2])
    with pytest.raises(ValueError, match="share one codebook"):
        systems.build("videogpt", tiny=True, denoiser={"num_codes": 8})


@torch.no_grad()
def test_the_loss_of_the_prior_is_what_the_clips_own_codes_cost():
    o, batch = build_objective("codes", system(), {"drop_text": 0.0}), squares(2)
    parts = o.system
    codes = parts.autoencoder.codes(batch.video)
    tokens, mask = parts.text_encoder.encode(batch.captions)
    parts.denoiser.eval()
    likely = parts.denoiser(parts.autoencoder.encode(batch.video), Doors(tokens=tokens, token_mask=mask)).log_softmax(-1)
    cost = [-sum(likely[b, n, code] for n, code in enumerate(row)) / len(row) for b, row in enumerate(codes.flatten(1).tolist())]
    torch.testing.assert_close(o.loss(batch, [1, 2]).loss, torch.stack(cost))


def test_the_prior_learns_which_code_comes_next_and_nothing_else_moves():
    o = build_objective("codes", system(), {"drop_text": 0.5})
    kept = {key: value.clone() for key, value in o.system.autoencoder.state_dict().items()}
    batch = squares(2)
    optimiser = torch.optim.AdamW([p for p in o.trainable().parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(15):
        found = o.loss(batch, [1, 2])
        found.loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(found.loss.mean().item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(value, kept[key]) for key, value in o.system.autoencoder.state_dict().items())
    sheet = o.samples(batch, ["a square moves"], 0)
    assert sheet.shape == (1, 3, 4, 16, 16)
