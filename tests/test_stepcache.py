"""The step cache: blocks whose input hardly moved add again what they added before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flipbook import systems
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


def test_a_block_is_run_anew_only_when_its_input_moved_by_more_than_the_threshold():
    cache, block, x = StepCache(0.1), Counted(), torch.ones(4)
    assert torch.equal(cache.run(block, x), 3 * x)
    assert torch.equal(cache.run(block, 1.09 * x), 1.09 * x + 2 * x)        # what it added to 1 is added to 1.09
    assert torch.equal(cache.run(block, 1.2 * x), 1.2 * x + 2 * (1.2 * x))
    assert (block.calls, cache.ran, cache.skipped) == (2, 2, 1)


def test_small_moves_add_up_since_the_input_is_compared_with_that_of_the_last_run():
    cache, block = StepCache(0.1, longest=100), Counted()
    for k in range(12):
        cache.run(block, torch.full((4,), 1 + 0.03 * k))
    assert block.calls == 3                                                 # at 1, 1.12 and 1.24


def test_one_answer_serves_no_more_calls_than_allowed():
    cache, block = StepCache(0.5, longest=2), Counted()
    for _ in range(7):
        cache.run(block, torch.ones(4))
    assert block.calls == 3                                                 # calls 1, 4 and 7


def test_a_block_that_changes_the_size_gives_its_last_answer_again():
    cache, block = StepCache(0.1), Counted(wider=True)
    first = cache.run(block, torch.ones(2))
    assert torch.equal(cache.run(block, torch.full((2,), 1.05)), first)


def test_another_shape_is_always_run():
    cache, block = StepCache(10.0), Counted()
    cache.run(block, torch.ones(2))
    cache.run(block, torch.ones(3))
    assert block.calls == 2


def test_two_blocks_do_not_share_answers():
    cache, one, two = StepCache(0.1), Counted(), Counted()
    cache.run(one, torch.ones(2))
    assert torch.equal(cache.run(two, torch.ones(2), 5.0), torch.full((2,), 6.0))


@pytest.mark.parametrize("values", [{"threshold": -0.1}, {"threshold": float("nan")}, {"threshold": 0.1, "longest": 0}])
def test_values_that_cannot_work_are_refused(values):
    with pytest.raises(ValueError, match="Try"):
        StepCache(**values)


@pytest.fixture(scope="module", params=["thumb", "bench", "modelscope"])
def ready(request):
    """Transformer, U-Net with motion modules, U-Net with convolutions over time; random weights everywhere, zero layers too."""
    torch.manual_seed(0)
    system = systems.build(request.param, tiny=True).eval()
    for p in system.denoiser.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    return prepare(system, dtype="float32")


def frames(ready, **settings):
    [video] = generate(ready, [SENTENCE], **{**SMALL, **settings})
    return torch.from_numpy(video.frames).float()


def test_threshold_zero_is_the_exact_run(ready):
    assert torch.equal(frames(ready, step_cache=0.0), frames(ready))


def test_a_higher_threshold_skips_more_and_is_farther_from_the_exact_run(ready, monkeypatch):
    caches: list[StepCache] = []
    monkeypatch.setattr("flipbook.sampling.StepCache", lambda threshold: caches.append(StepCache(threshold)) or caches[-1])
    exact, error, share = frames(ready), [], []
    for threshold in (0.05, 0.6):
        caches.clear()
        error.append((frames(ready, step_cache=threshold) - exact).abs().mean().item())
        share.append(sum(c.skipped for c in caches) / sum(c.ran + c.skipped for c in caches))
    assert share[0] < share[1]
    assert error[0] <= error[1]
    assert error[1] > 0


def test_each_branch_of_guidance_remembers_for_itself(ready, monkeypatch):
    """A cache that both branches shared would answer one with what the other asked."""
    caches: list[StepCache] = []
    monkeypatch.setattr("flipbook.sampling.StepCache", lambda threshold: caches.append(StepCache(threshold)) or caches[-1])
    frames(ready, step_cache=0.3, guidance_scale=3.0)
    assert sum(cache.ran > 0 for cache in caches) == 2


def test_the_recipe_of_a_video_tells_the_threshold(ready):
    [video] = generate(ready, [SENTENCE], step_cache=0.2, **SMALL)
    assert video.recipe["settings"]["step_cache"] == 0.2
