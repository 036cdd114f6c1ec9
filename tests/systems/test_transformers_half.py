"""The transformers in bf16, and through a step cache that skips nothing: as in float32, within what the format rounds."""

from __future__ import annotations

import pytest
import torch

from autoencoder_peers import randomised
from flipbook import systems
from flipbook.conditions import Text, resolve
from flipbook.sampling import prepare, sample_latents, settle

FRAMES = {"gentron": 3, "latte": 3, "opensora": 6, "walt": 5, "wan": 5}


def latents(system, dtype, **changes):
    settings = settle(system, num_frames=FRAMES[system.method], height=16, width=16, num_inference_steps=2, guidance_scale=2.0, **changes)
    request = resolve((Text("a red circle falls"),), settings.size, system.conditions)
    return sample_latents(prepare(system, dtype=dtype), [request], settings, [5])


@pytest.mark.parametrize("name", list(FRAMES))
def test_half_precision_and_an_exact_step_cache_end_near_float32(name):
    torch.manual_seed(0)
    system = systems.build(name, tiny=True).eval()
    randomised(system.denoiser)
    exact = latents(system, "float32")
    assert (latents(system, "bfloat16") - exact).norm() < 0.15 * exact.norm()
    torch.testing.assert_close(latents(system, "float32", step_cache=0.0), exact, atol=1e-5, rtol=1e-5)
