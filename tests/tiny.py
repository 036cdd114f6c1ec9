"""A random-weight system small enough for tests: 12 words, two blocks, a fraction of a megabyte."""

from __future__ import annotations

import torch

from flipbook.autoencoders.frame import FrameAutoencoder, FrameAutoencoderConfig
from flipbook.denoisers.dit import DiT, DiTConfig
from flipbook.encoders.words import WordEncoder, WordEncoderConfig
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import Process
from flipbook.systems.base import System

WORDS = ("a", "red", "blue", "circle", "square", "moves", "right", "left", "on", "black", "background", "falls")


def tiny_system(seed: int = 0) -> System:
    """Every weight random, output layers too, so that all inputs matter."""
    torch.manual_seed(seed)
    system = System(
        name="tiny",
        denoiser=DiT(DiTConfig(in_channels=4, text_dim=32, dim=32, depth=2, num_heads=2)),
        autoencoder=FrameAutoencoder(
            FrameAutoencoderConfig(
                latent_channels=4,
                encoder_dims=(16, 16),
                encoder_blocks=(1, 1),
                decoder_dims=(16, 16, 8),
                decoder_blocks=(1, 1, 1),
            )
        ),
        text_encoder=WordEncoder(WordEncoderConfig(words=WORDS, dim=32, depth=1, num_heads=2)),
        process=Process(RectifiedFlow(shift=3.0), predicts="flow"),
        defaults={
            "num_frames": 4, "fps": 8.0, "height": 32, "width": 32,
            "sampler": "euler", "num_inference_steps": 3, "guidance_scale": 3.0,
        },
        card={"title": "random weights for tests"},
    )  # fmt: skip
    with torch.no_grad():
        for parameter in system.denoiser.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return system.eval()
