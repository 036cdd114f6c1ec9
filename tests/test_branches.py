"""Branches of a guidance list share a batch where they can, and nobody sees it in the video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbook import branches as module
from flipbook.branches import Branches, Remembered
from flipbook.conditions import TEXT_AND_FRAMES, FirstFrame, Text, resolve
from flipbook.guidance import guide
from flipbook.nn.doors import Doors
from flipbook.process import Process
from flipbook.process.path import RectifiedFlow
from flipbook.sampling import prepare, sample_latents, settle
from flipbook.stepcache import StepCache
from tiny import tiny_system

B, T = 2, 3
FRAMES = {"frame_is_given": torch.tensor([[True, False, False], [False, False, False]]), "frame_index": torch.tensor([[0.0, 1, 2], [0.0, 2, 4]])}


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(B, 4, T, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def t() -> torch.Tensor:
    return torch.tensor([[0.0, 0.5, 0.7], [0.9, 0.9, 0.4]])


class Counted:
    """Counts calls of a network, and the samples of each."""

    def __init__(self, net):
        self.net, self.batches = net, []

    def __call__(self, x, *args, **how):
        self.batches.append(len(x))
        return self.net(x, *args, **how)


def told(seed: int, rows: int = 5) -> Doors:
    return Doors(tokens=torch.randn(B, rows, 32, generator=torch.Generator().manual_seed(seed)))


def asked(doors: dict[str, Doors], **more) -> tuple[Branches, Counted]:
    net = tiny_system().denoiser
    counted = Counted(net)
    return Branches(counted, Process(RectifiedFlow(), predicts="flow"), {name: net.prepare(door) for name, door in doors.items()}, FRAMES, **more), counted


@pytest.mark.parametrize("count", [2, 3])
@torch.no_grad()
def test_branches_of_one_shape_are_one_batch_and_answer_as_they_do_alone(x, t, count):
    names = ["a", "b", "c"][:count]
    together, counted = asked({name: told(k) for k, name in enumerate("abc")})
    answers = together.ask(names, x, t)
    assert counted.batches == [count * B]
    for name in names:
        torch.testing.assert_close(answers[name], together[name](x, t), rtol=0, atol=1e-5)
    assert not torch.allclose(answers["a"], answers["b"], atol=1e-3)                 # and their words matter


@torch.no_grad()
def test_texts_of_two_lengths_and_large_work_are_asked_one_after_the_other(x, t, monkeypatch):
    together, counted = asked({"a": told(0), "b": told(1, rows=6)})
    together.ask(["a", "b"], x, t)
    assert counted.batches == [B, B]
    together, counted = asked({"a": told(0), "b": told(1)})
    monkeypatch.setattr(module, "SMALL", B * T * 16 - 1)
    together.ask(["a", "b"], x, t)
    assert counted.batches == [B, B]


@torch.no_grad()
def test_a_list_asks_what_it_needs_in_one_batch_and_what_it_rescales_by_too(x, t):
    together, counted = asked({name: told(k) for k, name in enumerate("abc")})
    guide(together, [("a", 1.0), ("b", 2.0), ("c", 0.0)])(x, t)                      # the last one cancels
    guide(together, [("a", 1.0), ("b", 2.0), ("c", 0.0)], rescale=0.5)(x, t)         # and is what the deviation is taken from
    guide(together, [("a", 1.0), ("c", 1.0)])(x, t)
    assert counted.batches == [2 * B, 3 * B, B]


@torch.no_grad()
def test_an_estimate_reaches_every_branch(x, t):
    class Reading:
        def __call__(self, x, t, doors, **how):
            thought = 0.0 if doors.estimate is None else doors.estimate
            return x + doors.tokens.mean((1, 2)).reshape(-1, 1, 1, 1, 1) + thought

    last = Remembered()
    together = Branches(Reading(), Process(RectifiedFlow(), predicts="flow"), {"a": told(0), "b": told(1)}, FRAMES, last=last)
    first = together.ask(["a", "b"], x, t)
    last.after(None)(torch.randn(x.shape), 0)
    answers = together.ask(["a", "b"], x, t)
    for name in "ab":
        assert not torch.allclose(answers[name], first[name], atol=1e-3)
        torch.testing.assert_close(answers[name], together[name](x, t), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_variance_is_that_of_its_own_branch(x, t):
    """share(x, t) of the last branch after a common batch is what it says alone, and costs no further call."""

    class Twice:
        def __call__(self, x, t, doors, **how):
            return torch.cat([x, x * 0 + doors.tokens.mean((1, 2)).reshape(-1, 1, 1, 1, 1)], 1)

    counted = Counted(Twice())
    together = Branches(counted, Process(RectifiedFlow(), predicts="flow"), {"a": told(0), "b": told(1)}, FRAMES)
    guide(together, [("a", 1.0), ("b", 3.0)])(x, t)
    share = together["b"].share(x, t)
    assert counted.batches == [2 * B]
    torch.testing.assert_close(share[:, 0, 0, 0, 0], (told(1).tokens.mean((1, 2)) + 1) / 2)


@torch.no_grad()
def test_a_step_cache_serves_the_common_batch(x, t):
    together, _ = asked({"a": told(0), "b": told(1)}, cache=StepCache(10.0, longest=4))
    first = together.ask(["a", "b"], x, t)
    served = together.ask(["a", "b"], x + 0.3, t)
    exact, _ = asked({"a": told(0), "b": told(1)})
    assert all(torch.allclose(first[name], value, atol=1e-5) for name, value in exact.ask(["a", "b"], x, t).items())
    assert not any(torch.allclose(served[name], value, atol=1e-3) for name, value in exact.ask(["a", "b"], x + 0.3, t).items())


def test_latents_are_the_same_together_and_one_after_the_other(monkeypatch):
    ready = prepare(tiny_system(), dtype="float32")
    settings = settle(ready.system)
    picture = np.full((32, 32, 3), 90, np.uint8)
    requests = [resolve((Text(words), FirstFrame(picture)), settings.size, TEXT_AND_FRAMES) for words in ("a red circle falls", "a blue square")]
    together = sample_latents(ready, requests, settings, [1, 2])
    monkeypatch.setattr(module, "SMALL", 0)
    torch.testing.assert_close(together, sample_latents(ready, requests, settings, [1, 2]), rtol=0, atol=1e-5)


def test_a_step_cache_that_skips_nothing_is_the_exact_run_in_a_common_batch_too():
    ready = prepare(tiny_system(), dtype="float32")
    made = {}
    for threshold in (None, 0.0, 10.0):
        settings = settle(ready.system, step_cache=threshold)
        made[threshold] = sample_latents(ready, [resolve((Text("a red circle falls"),), settings.size, TEXT_AND_FRAMES)], settings, [1])
    assert torch.equal(made[0.0], made[None])
    assert not torch.allclose(made[10.0], made[None], atol=1e-3)


def test_joined_doors_hold_the_samples_of_each_one_after_the_other():
    def doors(seed: int, **changes) -> Doors:
        g = torch.Generator().manual_seed(seed)
        made = Doors(
            tokens=torch.randn(B, 5, 8, generator=g), token_mask=torch.rand(B, 5, generator=g) > 0.5, vector=torch.randn(B, 3, generator=g),
            residuals=(torch.randn(B, 2, T, 4, 4, generator=g),), keys_values=((torch.randn(B, 5, 2, 4, generator=g),) * 2,),
        )  # fmt: skip
        return made.with_(**changes)

    one, two = doors(0), doors(1)
    joined = Doors.joined([one, two])
    assert joined is not None
    for rows, whole in ((slice(0, B), one), (slice(B, 2 * B), two)):
        part = joined.select(rows)
        torch.testing.assert_close(vars(part), vars(whole) | {"keys_values": tuple(whole.keys_values)}, rtol=0, atol=0)
    assert joined.channels is None
    for changes in ({"vector": None}, {"residuals": ()}, {"channels": torch.zeros(B, 1, T, 4, 4)}, {"vector": torch.zeros(B, 4)}):
        assert Doors.joined([one, doors(1, **changes)]) is None
