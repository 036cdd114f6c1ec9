"""Noise paths, what a network predicts, step spacings, noise-level matrices, training times and noise."""

from flipbook.process.matrix import noise_levels, with_given
from flipbook.process.noise import NoiseSource, initial_noise
from flipbook.process.path import EDM, Path, RectifiedFlow, shift_time
from flipbook.process.process import Prediction, Process, expand_t

__all__ = [
    "EDM",
    "NoiseSource",
    "Path",
    "Prediction",
    "Process",
    "RectifiedFlow",
    "expand_t",
    "initial_noise",
    "noise_levels",
    "shift_time",
    "with_given",
]
