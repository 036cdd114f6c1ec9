"""Self-Forcing: a causal student in a few steps, taught on chunks that it made itself behind its own past.

Training rolls out as inference does: each chunk is denoised from noise while its frames read the cache of those before, up to a step drawn by
chance without gradient, that step with one; then the chunk is passed through once more, clean, to be remembered. The frozen teacher, which
may look at the whole clip, and a critic that learns the student's clips say where those should have been.
`recipes/stream-2-distilled.yaml`, then `stream-3-eights.yaml`, make one of thumb's four-step student;
`flipbook generate --stream` runs it for as long as one likes.
"""

from __future__ import annotations

from typing import Any

from flipbook.systems.base import Card, Stage, System
from flipbook.systems.streamed import TINY, StreamedConfig, built, composed

CARD = Card(
    name="self-forcing",
    title="Self Forcing: Bridging the Train-Test Gap in Autoregressive Video Diffusion",
    arxiv="2506.08009",
    year=2025,
    authors="Xun Huang, Zhengqi Li, Guande He, Mingyuan Zhou, Eli Shechtman",
    reproduces=(
        "Rollouts in training as in inference: cached keys and values, one exit step for all chunks, gradient through that step alone, never into the cache.",
        "Regression on the guided teacher's trajectories makes the first few-step student; the recipe of thumb takes progressive distillation in its place.",
        "Distribution matching on the whole clip, with the guided teacher's and the critic's clean clips and a gradient that their distance scales.",
        "Chunks of any length in constant memory: a window of past frames and, if asked for, the first frames for good.",
    ),
    leaves_out=(
        "Wan 2.1 as student and teacher: thumb's transformer is both, with chunks of 4 frames in the place of 3.",
        "Fresh noise between steps: the student takes the sampler's own steps, without.",
        "The losses of score identity and of a discriminator.",
    ),
    citation="@article{huang2025selfforcing, title={Self Forcing: Bridging the Train-Test Gap in Autoregressive Video Diffusion}, author={Huang, Xun and "
    "Li, Zhengqi and He, Guande and Zhou, Mingyuan and Shechtman, Eli}, journal={arXiv:2506.08009}, year={2025}}",
)

STAGES = (
    Stage(
        name="trajectories", trains=(), data="sentences; where the teacher ends from the same noise", objective="regression",
        options={"steps": 4, "guidance": 4.0, "teacher": "thumb", "streaming": {"chunk": 4, "window": 12}, "given": 0.0},
    ),
    Stage(
        name="own rollouts", trains=(), data="sentences; the clips are the student's own", objective="matching",
        options={"steps": 4, "guidance": 4.0, "teacher": "thumb", "streaming": {"chunk": 4, "window": 12}, "critic_updates": 5, "given": 0.0},
    ),
)  # fmt: skip

__all__ = ["CARD", "STAGES", "TINY", "StreamedConfig", "build", "compose"]


def compose(**parts: Any) -> System:
    """The system of parts that are there."""
    return composed(CARD, **parts)


def build(config: StreamedConfig | None = None) -> System:
    """The system with fresh weights."""
    return built(CARD, config or StreamedConfig())
