"""CausVid: a transformer that saw whole clips becomes one that sees what came before, and makes its chunks in a few steps.

First the network learns to denoise chunks, each at a noise level of its own and behind the chunks before it; then the teacher, which may look
at the whole clip, and a critic pull its few-step clips to where the teacher would rather see them (asymmetric distillation).
`recipes/stream-1-causal.yaml` is the first of these for thumb, on a clean past.
"""

from __future__ import annotations

from typing import Any

from flipbook.systems.base import Card, Stage, System
from flipbook.systems.streamed import TINY, StreamedConfig, built, composed

CARD = Card(
    name="causvid",
    title="From Slow Bidirectional to Fast Autoregressive Video Diffusion Models",
    arxiv="2412.07772",
    year=2024,
    authors="Tianwei Yin, Qiang Zhang, Richard Zhang, William T. Freeman, Fredo Durand, Eli Shechtman, Xun Huang",
    reproduces=(
        "The transformer whose chunks see themselves and what came before, each at its own noise level, taught on noisy or on clean pasts in one pass.",
        "Regression on the guided teacher's trajectories, each chunk at one of the student's levels, before distillation.",
        "Distribution matching against a teacher that sees the whole clip, with a critic that learns the student's clips.",
        "One pass of the finished chunk writes the cache; text is read once.",
    ),
    leaves_out=(
        "The student's inputs in distillation are its own rollouts, as Self-Forcing has them, not real clips with noise.",
        "A bridge that decodes and encodes between chunks, which an autoencoder of single frames does not need.",
        "The authors' network: thumb's transformer is student and teacher, with chunks of 4 frames in the place of 3, in 4 steps in the place of 3.",
    ),
    citation="@inproceedings{yin2025causvid, title={From Slow Bidirectional to Fast Autoregressive Video Diffusion Models}, author={Yin, Tianwei and Zhang, "
    "Qiang and Zhang, Richard and Freeman, William T. and Durand, Fredo and Shechtman, Eli and Huang, Xun}, booktitle={CVPR}, year={2025}, "
    "note={arXiv:2412.07772}}",
)

STAGES = (
    Stage(
        name="chunks", trains=("spatial", "temporal"), data="captioned clips, each chunk at a noise level of its own", objective="causal",
        options={"chunk": 4, "window": 12, "context": "noisy", "given": 0.3},
    ),
    Stage(
        name="trajectories", trains=(), data="sentences; where the teacher ends from the same noise", objective="regression",
        options={"steps": 4, "guidance": 4.0, "teacher": "thumb", "given": 0.0},
    ),
    Stage(
        name="few steps", trains=(), data="sentences; the clips are the student's own", objective="matching",
        options={"steps": 4, "guidance": 4.0, "teacher": "thumb", "critic_updates": 5, "given": 0.0},
    ),
)  # fmt: skip

__all__ = ["CARD", "STAGES", "TINY", "StreamedConfig", "build", "compose"]


def compose(**parts: Any) -> System:
    """The system of parts that are there."""
    return composed(CARD, **parts)


def build(config: StreamedConfig | None = None) -> System:
    """The system with fresh weights."""
    return built(CARD, config or StreamedConfig())
