"""The step cache: where the first block's answer hardly moved, the other blocks add again what they added before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flipbook import branches, systems
from flipbook.generate import generate
from flipbook.sampling import prepare
from flipbook.stepcache import StepCache

SENTENCE = "a red circle moves right on a black background"
SMALL = {"num_frames": 3, "height": 32, "width": 32, "num_inference_steps": 6, "dtype": "float32"}


class Counted(nn.Module):
    """x + 2 x, or a wider answer; counts its calls."""

    def __init__(self, wider: bool = False):
        super().__init__()
        self.calls, self.wider = 0, wider

    def forward(self, x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        self.calls += 1
        y = x + factor * x
        return torch.cat([y, y]) if self.wider else y


class Two(nn.Module):
    """A probe and a block behind it, run by a cache."""

    def __init__(self, wider: bool = False):
        super().__init__()
        self.probe, self.block = Counted(), Counted(wider)

    def ask(self, cache: StepCache, value: float, size: int = 4) -> torch.Tensor:
        return cache.run(self.block, cache.run(self.probe, torch.full((size,), value)))


def test_a_call_is_skipped_only_where_the_first_blocks_answer_moved_by_less_than_the_threshold():
    cache, net = StepCache(0.1), Two()
    assert torch.equal(net.ask(cache, 1.0), torch.full((4,), 9.0))
    torch.testing.assert_close(net.ask(cache, 1.09), torch.full((4,), 3 * 1.09 + 6.0))     # what it added to 3 is added to 3.27
    torch.testing.assert_close(net.ask(cache, 1.2), torch.full((4,), 9 * 1.2))
    assert (net.probe.calls, net.block.calls, cache.ran, cache.skipped) == (3, 2, 5, 1)


def test_small_moves_add_up_since_the_answer_is_compared_with_that_of_the_last_whole_call():
    cache, net = StepCache(0.1, longest=100), Two()
    for k in range(12):
        net.ask(cache, 1 + 0.03 * k)
    assert net.block.calls == 3                                             # at 1, 1.12 and 1.24


def test_a_whole_call_serves_no_more_calls_than_allowed():
    cache, net = StepCache(0.5, longest=2), Two()
    for _ in range(7):
        net.ask(cache, 1.0)
    assert (net.probe.calls, net.block.calls) == (7, 3)                     # calls 1, 4 and 7


def test_threshold_zero_skips_nothing_not_even_what_is_the_same():
    cache, net = StepCache(0.0), Two()
    for _ in range(3):
        net.ask(cache, 1.0)
    assert (net.block.calls, cache.skipped) == (3, 0)


def test_a_block_that_changes_the_size_gives_its_last_answer_again():
    cache, net = StepCache(0.1), Two(wider=True)
    first = net.ask(cache, 1.0)
    assert torch.equal(net.ask(cache, 1.05), first)


def test_another_shape_is_always_run():
    cache, net = StepCache(10.0), Two()
    net.ask(cache, 1.0)
    assert net.ask(cache, 1.0, size=3).shape == (3,)
    assert net.block.calls == 2


def test_a_block_that_has_not_been_run_yet_is_run_in_a_call_that_is_skipped():
    cache, net, late = StepCache(0.5), Two(), Counted()
    net.ask(cache, 1.0)
    x = net.ask(cache, 1.0)
    assert torch.equal(cache.run(late, x, 5.0), 6 * x)
    assert late.calls == 1


def test_caches_beside_each_other_skip_the_same_steps_and_remember_for_themselves():
    """The second branch moves a lot where the first one does not: it follows all the same, with what itself added."""
    one, net, other = StepCache(0.1), Two(), Two()
    two = one.beside()
    for here, there in ((1.0, 1.0), (1.01, 5.0)):
        net.ask(one, here)
        answer = other.ask(two, there)
    torch.testing.assert_close(answer, torch.full((4,), 3 * 5.0 + 6.0))
    assert (net.block.calls, other.block.calls) == (1, 1)
    net.ask(one, 2.0)                                                       # a step that is whole for both
    torch.testing.assert_close(other.ask(two, 5.0), torch.full((4,), 45.0))


def test_a_branch_that_is_asked_alone_decides_for_itself():
    """Outside a guidance interval the other branch is not run: its last decision does not hold for ever."""
    one, net, other = StepCache(0.1), Two(), Two()
    two = one.beside()
    for value in (1.0, 1.01):
        net.ask(one, value)
        other.ask(two, value)
    for value in (2.0, 3.0, 4.0):
        torch.testing.assert_close(other.ask(two, value), torch.full((4,), 9 * value))


@pytest.mark.parametrize("values", [{"threshold": -0.1}, {"threshold": float("nan")}, {"threshold": 0.1, "longest": 0}])
def test_values_that_cannot_work_are_refused(values):
    with pytest.raises(ValueError, match="Try"):
        StepCache(**values)


@pytest.fixture(scope="module", params=["thumb", "bench", "modelscope", "latte"])
def ready(request):
    """Transformers, U-Net with motion modules, U-Net with convolutions over time; random weights everywhere, zero layers too."""
    torch.manual_seed(0)
    system = systems.build(request.param, tiny=True).eval()
    for p in system.denoiser.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    return prepare(system, dtype="float32")


@pytest.fixture
def caches(monkeypatch):
    """The caches of all branches that were asked since the list was last cleared; each is asked for itself, as in larger work."""
    monkeypatch.setattr(branches, "SMALL", 0)
    made, original = [], StepCache.beside
    monkeypatch.setattr(StepCache, "beside", lambda self: made.append(original(self)) or made[-1])
    return made


def frames(ready, **settings):
    [video] = generate(ready, [SENTENCE], **{**SMALL, **settings})
    return torch.from_numpy(video.frames).float()


def test_threshold_zero_is_the_exact_run(ready, caches):
    assert torch.equal(frames(ready, step_cache=0.0), frames(ready))
    assert sum(cache.ran for cache in caches) > 0
    assert sum(cache.skipped for cache in caches) == 0


def test_a_higher_threshold_skips_more_and_is_farther_from_the_exact_run(ready, caches):
    exact, error, share = frames(ready), [], []
    for threshold in (0.02, 10.0):
        caches.clear()
        error.append((frames(ready, step_cache=threshold) - exact).abs().mean().item())
        share.append(sum(c.skipped for c in caches) / sum(c.ran + c.skipped for c in caches))
    assert share[0] < share[1]
    assert share[1] > 0.3
    assert error[0] <= error[1]
    assert error[1] > 0


def test_a_skipped_call_runs_the_first_block_alone(ready, caches):
    """Six steps at a threshold that is never passed: the first and the last are whole."""
    frames(ready, step_cache=1e9, guidance_scale=1.0)
    [cache] = [cache for cache in caches if cache.ran]
    blocks = len(cache.added)
    assert blocks >= 1
    assert (cache.ran, cache.skipped) == (2 * (blocks + 1) + 4, 4 * blocks)


def test_both_branches_of_guidance_skip_the_same_steps_and_remember_for_themselves(ready, caches):
    frames(ready, step_cache=0.3, guidance_scale=3.0)
    one, two = (cache for cache in caches if cache.ran)
    assert (one.ran, one.skipped) == (two.ran, two.skipped)
    assert one.turn is two.turn
    assert any(not torch.equal(one.added[block], two.added[block]) for block in one.added)


def test_the_recipe_of_a_video_tells_the_threshold(ready):
    [video] = generate(ready, [SENTENCE], step_cache=0.2, **SMALL)
    assert video.recipe["settings"]["step_cache"] == 0.2
